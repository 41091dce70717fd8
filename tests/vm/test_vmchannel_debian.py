# SPDX-License-Identifier: BSD-3-Clause
"""outboard-vmchannel over vfio-user or mpqemu and a Debian guest with systemd, whose unit qemu-guest-agent.service runs the stock agent
on a port. Behind stock QEMU's x-pci-proxy-dev, where KVM works, without OUTBOARD_QEMU."""
import json
import os
import pathlib
import random
import socket
import subprocess
import tempfile
import threading

import pytest
from guestlab import Guest, Process, paths
from guestlab.machine import OVERRIDE

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-vmchannel"
AGENT = "org.qemu.guest_agent.0"
LEGACY = "legacy.agent"
HOOKED = "hooked.agent"
PATIENCE_S = 240

pytest.importorskip("guestlab.debian_disk", reason="needs a guest with Debian's systemd")
IS_VFIO = OVERRIDE in os.environ  # a QEMU of 10.1 or later
pytestmark = [] if IS_VFIO else [pytest.mark.irqfd, pytest.mark.long]

# What a client has sent when it vanishes.
REQUESTS = [
    b"", b"\xff", b'{"execute": "guest-', b'{"execute": "guest-info"}\n', b'{"execute": "guest-get-osinfo"}',
    b'{"execute": "guest-set-user-password", "arguments": {"password": "c2Vj', b"," * 4096, b"[" * 500, b"}" * 100, b"\x00\xfe",
    b'{"execute": "guest-exec", "arguments": {"path": "/bin/true"}}\n{"execute": "guest-info"}\n{"exec']  # fmt: skip


class Client:
    """A program of the host at the socket of a port."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(str(path))

    def line(self):
        got = b""
        while not got.endswith(b"\n"):
            part = self.sock.recv(1)
            assert part, got
            got += part
        return got

    def send(self, command, **arguments):
        self.sock.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")

    def ask(self, command, **arguments):
        self.send(command, **arguments)
        answer = json.loads(self.line())
        assert set(answer) == {"return"}, answer
        return answer["return"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


class World:
    def __init__(self, folder, guest):
        self.folder, self.guest = folder, guest

    def client(self, name=AGENT):
        return Client(self.folder / name)

    def state(self, name):
        """Of a port, as the control socket tells it."""
        with Client(self.folder / "control") as client:
            client.sock.sendall(b"status\n")
            while True:
                told = json.loads(client.line())
                if told.get("port") == name and "state" in told:
                    return told["state"]

    def check_unit(self):
        assert self.guest.run("systemctl is-active qemu-guest-agent") == "active\n"
        assert self.guest.run("systemctl show -p NRestarts --value qemu-guest-agent") == "0\n"


@pytest.fixture(scope="module")
def world(shared_logs):
    ours, theirs = socket.socketpair()
    with ours, theirs, tempfile.TemporaryDirectory(prefix="outboard-") as name:
        folder = pathlib.Path(name)
        path = folder / "device" if IS_VFIO else folder / "control"
        options = [f"--port={AGENT},listen:{folder / AGENT}", f"--port={LEGACY},reconnect=legacy,listen:{folder / LEGACY}",
                   f"--port={HOOKED},reconnect=agent,listen:{folder / HOOKED}", f"--control={folder / 'control'}"]  # fmt: skip
        wire = [f"--socket-path={path}", "--wire=vfio-user"] if IS_VFIO else [f"--fd={ours.fileno()}"]
        with Process([PROGRAM, *options, *wire], shared_logs / "vmchannel.log", inherit=[ours]) as process:
            ours.close()
            while not path.exists():
                assert process.running, process.log_tail()
            vfio = {"driver": "vfio-user-pci", "socket": {"type": "unix", "path": str(path)}}
            device = json.dumps(vfio) if IS_VFIO else f"x-pci-proxy-dev,id=ports,fd={theirs.fileno()}"
            with Guest(shared_logs / "guest", debian=True, modules=["virtio_console"], arguments=["-device", device], inherit=[theirs],
                       boot_timeout=PATIENCE_S, memory_mib=1024 if IS_VFIO else 512) as guest:  # fmt: skip
                theirs.close()
                yield World(folder, guest)
            assert process.terminate() == 0


def vanish_and_ask(world, rounds):
    """After each client that has gone, the next one's requests are answered, and nothing else comes."""
    for number in range(rounds):
        with world.client() as gone:
            gone.sock.sendall(REQUESTS[number % len(REQUESTS)])
        with world.client() as client:
            client.sock.sendall(b"\xff")
            client.send("guest-sync-delimited", id=1000 + number)
            assert client.line() == b'\xff{"return": %d}\n' % (1000 + number)
            assert client.ask("guest-info")["version"]
    world.check_unit()


def test_clients_that_vanish(world):
    vanish_and_ask(world, 44)


@pytest.mark.long
def test_a_thousand_clients_that_vanish(world):
    vanish_and_ask(world, 1000)


def check_next(world, name=AGENT):
    """The next client is answered, with nothing else before."""
    with world.client(name) as client:
        client.sock.sendall(b"\xff")
        client.send("guest-sync-delimited", id=4711)
        assert client.line() == b'\xff{"return": 4711}\n'
        assert client.ask("guest-info")["version"]


def test_64_kib_of_commas_and_a_client_that_vanishes(world):
    """They are no request, so the agent never sees them: by itself it takes five seconds for them."""
    with world.client() as gone:
        gone.sock.sendall(b"," * 65536)
    check_next(world)
    world.check_unit()


def test_48_mib_of_a_file_that_nobody_reads(world):
    """The next client waits until the agent has written them, and reads none of them."""
    world.guest.run("truncate -s 48M /run/large")
    with world.client() as client:
        handle = client.ask("guest-file-open", path="/run/large")
        client.send("guest-file-read", handle=handle, count=48 << 20)
        while world.state(AGENT) != "busy":
            pass
    check_next(world)
    with world.client() as client:
        assert client.ask("guest-file-close", handle=handle) == {}
    world.check_unit()


def test_freeze_hook_that_takes_its_time(world):
    """The port is busy for as long as the hook, however many clients go, and the next one is answered then."""
    world.guest.run(f"""mkdir /run/hooked; mkfifo /run/hooked/go; echo '#!/bin/sh
        [ $1 = thaw ] || read -r _ </run/hooked/go' >/run/hooked/hook; chmod +x /run/hooked/hook; systemd-run -q --unit=hooked \
        qemu-ga -m virtio-serial -p /dev/virtio-ports/{HOOKED} -t /run/hooked -F/run/hooked/hook""")
    with world.client(HOOKED) as client:
        assert client.ask("guest-ping") == {}
        client.send("guest-fsfreeze-freeze")
        while world.state(HOOKED) != "busy":
            pass
    with world.client(HOOKED) as gone:
        gone.send("guest-fsfreeze-thaw")  # nobody's any more, and never forwarded
    with world.client(HOOKED) as client:
        client.send("guest-fsfreeze-status")
        assert world.state(HOOKED) == "busy"
        world.guest.run("echo >/run/hooked/go")
        assert json.loads(client.line()) == {"return": "frozen"}
        assert client.ask("guest-fsfreeze-thaw") >= 1
    world.guest.run("systemctl stop hooked")


def test_clients_that_vanish_at_once(world):
    """A burst of them, before anybody waits for an answer."""
    for number in range(100):
        with world.client() as gone:
            gone.sock.sendall(REQUESTS[number % len(REQUESTS)])
    with world.client() as client:
        assert client.ask("guest-ping") == {}
    world.check_unit()


def test_legacy_shows_the_desynchronisation(world):
    """The next client's request is taken for a part of that of the one that has gone: the answer is an error."""
    world.guest.run(f"systemd-run -q --unit=legacy qemu-ga -m virtio-serial -p /dev/virtio-ports/{LEGACY} -t /run")
    with world.client(LEGACY) as client:
        assert client.ask("guest-ping") == {}
        client.sock.sendall(b'{"execute": ')
    with world.client(LEGACY) as client:
        client.send("guest-ping")
        client.sock.sendall(b"}")
        assert b"error" in client.line()
    world.guest.run("systemctl stop legacy")


def ask_as_libvirt(world, rounds):
    """One connection for all; a plain guest-sync before each command."""
    with world.client() as client:
        for _ in range(rounds):
            number = random.randrange(1 << 40)
            assert client.ask("guest-sync", id=number) == number
            assert client.ask("guest-ping") == {}


def ask_as_proxmox(world, rounds):
    """A connection for each command; the thaw comes by another one than the freeze."""
    def ask(command):
        with world.client() as client:
            number = random.randrange(1 << 30)
            client.sock.sendall(b"\xff")
            client.send("guest-sync-delimited", id=number)
            assert client.line() == b'\xff{"return": %d}\n' % number
            return client.ask(command)

    for _ in range(rounds):
        assert ask("guest-ping") == {}
    assert ask("guest-fsfreeze-freeze") >= 1
    assert ask("guest-fsfreeze-status") == "frozen"
    assert ask("guest-fsfreeze-thaw") >= 1
    assert ask("guest-fsfreeze-status") == "thawed"


def ask_by_socat(world, rounds):
    """No synchronisation at all; socat ends its direction behind the request."""
    for _ in range(rounds):
        argv = ["socat", "-t", str(PATIENCE_S), "-", f"UNIX-CONNECT:{world.folder / AGENT}"]
        done = subprocess.run(argv, input=b'{"execute": "guest-ping"}\n', capture_output=True, timeout=PATIENCE_S, check=True)
        assert done.stdout == b'{"return": {}}\n'


def test_three_ways_side_by_side(world):
    failures = []

    def run(way):
        try:
            way(world, 15)
        except Exception as error:  # pylint: disable=broad-except
            failures.append((way.__name__, error))

    threads = [threading.Thread(target=run, args=[way]) for way in (ask_as_libvirt, ask_as_proxmox, ask_by_socat)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    world.check_unit()


def test_agent_is_restarted_by_its_service_manager(world):
    """A client that has a connection sees its end; the next one is answered by the new agent."""
    with world.client() as kept:
        assert kept.ask("guest-ping") == {}
        world.guest.run("systemctl restart qemu-guest-agent")
        assert kept.sock.recv(1) == b""
    with world.client() as client:
        assert client.ask("guest-ping") == {}
    world.check_unit()

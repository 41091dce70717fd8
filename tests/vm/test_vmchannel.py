# SPDX-License-Identifier: BSD-3-Clause
"""outboard-vmchannel with Linux's own driver: behind stock QEMU's x-pci-proxy-dev, or over vfio-user where
OUTBOARD_QEMU names a QEMU that has it. One guest for all; each test has a port of its own."""
import hashlib
import json
import os
import pathlib
import select
import shutil
import socket
import tempfile

import pytest
from agentlab import Client
from guestlab import Guest, Process, paths
from guestlab.initramfs import with_libraries
from guestlab.machine import OVERRIDE

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-vmchannel"
QEMU_GA = "/usr/sbin/qemu-ga"
AGENT = "org.qemu.guest_agent.0"
PATIENCE_S = 120

pytestmark = [] if OVERRIDE in os.environ else [pytest.mark.irqfd]
PORTS = {
    "both": "", "slow": "", "slow-handshake": "reconnect=handshake", "reopen": "", "replug": "", "legacy": "reconnect=legacy",
    "blocked": "", "free": "", "reload": "", "gone": "", "refuse": "busy=refuse", "command": "", AGENT: ""}  # fmt: skip


class Ports:
    """The device's sockets and the guest."""

    def __init__(self, folder, guest):
        self.folder, self.guest = folder, guest

    def path(self, name):
        return self.folder / name

    def node(self, name):
        """The device file of a port, once the guest has it."""
        return self.guest.run(
            f"until grep -lx {name} /sys/class/virtio-ports/*/name 2>/dev/null >/tmp/found; do usleep 10000; done;"
            "basename $(dirname $(cat /tmp/found))"
        ).strip()

    def connect(self, name):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE_S)
        sock.connect(str(self.path(name)))
        return sock

    def status(self):
        with self.connect("control") as sock, sock.makefile("rw") as lines:
            lines.write("status\n")
            lines.flush()
            found = {}
            for line in lines:
                told = json.loads(line)
                if "done" in told:
                    return found
                if "event" not in told:
                    found[told["port"]] = told
            raise AssertionError("the control socket has ended")


def read_all(sock):
    """Everything until the end of the stream."""
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


@pytest.fixture(scope="module")
def ports(shared_logs):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="outboard-"))
    ours, theirs = socket.socketpair()
    options = [f"--port={name},{how + ',' if how else ''}listen:{folder / name}" for name, how in PORTS.items() if name != "command"]
    options += ["--port=command,command:cat", f"--control={folder / 'control'}", f"--console=listen:{folder / 'console'}"]
    vfio = OVERRIDE in os.environ
    path = folder / "device"
    end = [f"--socket-path={path}", "--wire=vfio-user"] if vfio else [f"--fd={ours.fileno()}"]
    with theirs, Process([PROGRAM, *options, *end], shared_logs / "vmchannel.log", inherit=[ours]) as process:
        while not (path if vfio else folder / "control").exists():
            assert process.running, process.log_tail()
        device = {"driver": "vfio-user-pci", "socket": {"type": "unix", "path": str(path)}}
        arguments = ["-device", json.dumps(device) if vfio else f"x-pci-proxy-dev,id=ports,fd={theirs.fileno()}"]
        with Guest(shared_logs / "guest", modules=["virtio_pci", "virtio_console"], arguments=arguments, inherit=[theirs],
                   boot_timeout=PATIENCE_S, memory_mib=512, files=with_libraries(QEMU_GA)) as guest:  # fmt: skip
            yield Ports(folder, guest)
        assert process.terminate() == 0
    assert [entry.name for entry in folder.iterdir() if entry != path] == [], "paths are removed at the end"
    shutil.rmtree(folder)


def test_names(ports):
    for name in PORTS:
        assert ports.node(name).startswith("vport")
    found = set(ports.guest.run("cat /sys/class/virtio-ports/*/name").split())
    assert found == set(PORTS)


def test_both_ways(ports):
    node, data = ports.node("both"), os.urandom(3 << 20)
    with ports.connect("both") as sock:
        ports.guest.run(f"exec 3<>/dev/{node}; head -c {len(data)} <&3 >/tmp/data & echo $! >/tmp/pid")
        sock.sendall(data)
        digest = ports.guest.run("while [ -d /proc/$(cat /tmp/pid) ]; do usleep 10000; done; md5sum </tmp/data").split()[0]
        assert digest == hashlib.md5(data).hexdigest()
    ports.guest.run("rm /tmp/data")
    with ports.connect("both") as sock:
        ports.guest.run("head -c 3000000 /dev/urandom >/tmp/data")
        digest = ports.guest.run(f"cat /tmp/data >/dev/{node} & md5sum </tmp/data").split()[0]
        assert hashlib.md5(read_all(sock)).hexdigest() == digest
    ports.guest.run("rm /tmp/data")


@pytest.mark.parametrize("name", ["slow", "slow-handshake"])
def test_slow_guest_reads_all_then_the_end(ports, name):
    """The host writes 100,000 bytes and closes before the guest has read one; then another peer waits."""
    node, data = ports.node(name), os.urandom(100000)
    ports.guest.run(f"mkfifo /tmp/go; (exec 3</dev/{node}; echo open >/tmp/opened; cat /tmp/go; cat <&3 >/tmp/data; echo $? >/tmp/status) &")
    ports.guest.run("until [ -s /tmp/opened ]; do usleep 10000; done")
    with ports.connect(name) as sock:
        sock.sendall(data)
    with ports.connect(name):
        ports.guest.run("echo >/tmp/go; until [ -s /tmp/status ]; do usleep 10000; done")
        assert ports.guest.run("cat /tmp/status; md5sum </tmp/data").split()[:2] == ["0", hashlib.md5(data).hexdigest()]
    ports.guest.run("rm /tmp/go /tmp/opened /tmp/status /tmp/data")


def test_guest_reopens(ports):
    node = ports.node("reopen")
    with ports.connect("reopen") as sock:
        ports.guest.run(f"until echo first >/dev/{node}; do :; done; echo second >/dev/{node} &")
        assert read_all(sock) == b"first\n"
    with ports.connect("reopen") as sock:
        assert read_all(sock) == b"second\n"


def test_program_that_holds_the_port_learns_of_the_next_peer(ports):
    node = ports.node("replug")
    with ports.connect("replug") as sock:
        ports.guest.run(f"mkfifo /tmp/more; (exec 3<>/dev/{node}; head -c 5 <&3 >/tmp/got; cat /tmp/more; until cat <&3 >>/tmp/got 2>/tmp/error && [ ! -s /tmp/error ] && false; do [ -s /tmp/error ] && break; done; echo $? >/tmp/status) &")
        sock.sendall(b"first")
        ports.guest.run("until [ $(wc -c </tmp/got) = 5 ]; do usleep 10000; done")
    with ports.connect("replug") as sock:
        sock.sendall(b"second")
        ports.guest.run("echo >/tmp/more; until [ -s /tmp/status ]; do usleep 10000; done")
        assert ports.guest.run("cat /tmp/got; cat /tmp/error").startswith("firstcat: read error: No such device")
        node = ports.node("replug")
        assert ports.guest.run(f"head -c 6 /dev/{node}") == "second"
    assert ports.status()["replug"]["replugs"] == 1


def test_legacy_shows_the_defect(ports):
    node = ports.node("legacy")
    with ports.connect("legacy") as sock:
        ports.guest.run(f"(exec 3<>/dev/{node}; echo >/tmp/opened; head -c 11 <&3 >/tmp/got) & until [ -s /tmp/opened ]; do usleep 10000; done; rm /tmp/opened")
        sock.sendall(b"first")
    with ports.connect("legacy") as sock:
        sock.sendall(b"second")
        assert ports.guest.run("until [ $(wc -c </tmp/got) = 11 ]; do usleep 10000; done; cat /tmp/got") == "firstsecond"


def test_blocked_port_stops_no_other(ports):
    blocked, free = ports.node("blocked"), ports.node("free")
    with ports.connect("blocked") as idle, ports.connect("free") as sock:
        ports.guest.run(f"head -c 8000000 /dev/zero >/dev/{blocked} & echo $! >/tmp/pid")
        assert select.select([idle], [], [], PATIENCE_S)[0]
        ports.guest.run(f"head -c 2000000 /dev/zero >/dev/{free} &")
        assert len(read_all(sock)) == 2000000
        ports.guest.run("[ -d /proc/$(cat /tmp/pid) ]")
        assert len(read_all(idle)) == 8000000


def test_others_are_refused(ports):
    ports.node("refuse")
    with ports.connect("refuse") as first:
        with ports.connect("refuse") as second:
            assert second.recv(1) == b""
        first.sendall(b"x")


def test_command(ports):
    node = ports.node("command")
    assert ports.guest.run(f"exec 3<>/dev/{node}; echo question >&3; head -c 9 <&3") == "question\n"


def test_console(ports):
    hold = "exec 3<>/dev/hvc0; stty raw -echo <&3;"
    with ports.connect("console") as sock:
        ports.guest.run(f"until [ -c /dev/hvc0 ]; do usleep 10000; done; {hold} echo hello >&3")
        assert sock.recv(6) == b"hello\n"
        sock.sendall(b"line\n")
        assert ports.guest.run(f"{hold} head -n 1 <&3") == "line\n"
    # Nobody reads: the guest is not held up.
    ports.guest.run(f"{hold} head -c 200000 /dev/zero >&3")
    assert ports.status()["console"]["dropped"] >= 100000


def test_size_of_the_console(ports):
    with ports.connect("control") as sock:
        sock.sendall(b"resize 90 40\n")
        ports.guest.run("exec 3<>/dev/hvc0; until stty size <&3 | grep -qE '40 90|90 40'; do usleep 10000; done")


class Agent:
    def __init__(self, ports):
        self.ports = ports

    def start(self):
        node = self.ports.node(AGENT)
        self.ports.guest.run(f"{QEMU_GA} -m virtio-serial -p /dev/{node} -t /tmp >/tmp/ga.log 2>&1 & echo $! >/tmp/ga.pid")

    def stop(self):
        self.ports.guest.run("kill $(cat /tmp/ga.pid); while [ -d /proc/$(cat /tmp/ga.pid) ]; do usleep 10000; done")


@pytest.fixture
def agent(ports):
    running = Agent(ports)
    running.start()
    yield running
    running.stop()


def ask_sync(ports, number):
    """What a client reads whose first word is guest-sync-delimited."""
    with ports.connect(AGENT) as sock:
        request = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
        sock.sendall(b"\xff" + json.dumps(request).encode() + b"\n")
        got = b""
        while not got.endswith(b"\n"):
            part = sock.recv(4096)
            assert part, got
            got += part
        return got


REQUESTS = [
    b"", b"\xff", b'{"execute": "guest-', b'{"execute": "guest-info"}\n', b'{"execute": "guest-get-osinfo"}',
    b'{"execute": "guest-set-user-password", "arguments": {"password": "c2Vj', b"," * 4096, b"[" * 500, b"}" * 100,
    b'{"execute": "guest-exec", "arguments": {"path": "/bin/true"}}\n{"execute": "guest-info"}\n{"exec']  # fmt: skip


def test_clients_of_a_stock_agent_that_vanish(ports, agent):
    """After each, the next one's first request is answered, and nothing else."""
    for number in range(200):
        with ports.connect(AGENT) as sock:
            sock.sendall(REQUESTS[number % len(REQUESTS)])
        assert ask_sync(ports, 1000 + number) == b'\xff{"return": %d}\n' % (1000 + number)
    with Client(ports.path(AGENT)) as client:
        assert client.ask("info")["version"].startswith("7.2")
    assert ports.status()[AGENT]["replugs"] == 0


def test_agent_comes_again(ports, agent):
    """A client that has asked it sees its end; who asks while it is away waits."""
    with Client(ports.path(AGENT)) as kept:
        assert kept.ask("ping") == {}
        agent.stop()
        assert kept.sock.recv(1) == b""
    with Client(ports.path(AGENT)) as early:
        early.send("guest-ping")
        agent.start()
        assert early.answer() == {}


def test_driver_goes(ports):
    node = ports.node("reload")
    with ports.connect("reload") as sock:
        ports.guest.run(f"until echo words >/dev/{node}; do :; done; exec 3<>/dev/{node}")
        assert read_all(sock) == b"words\n"
    with ports.connect("reload") as sock:
        ports.guest.run(f"(exec 3<>/dev/{node}; echo more >&3; echo >/tmp/written; cat <&3) & until [ -s /tmp/written ]; do usleep 10000; done")
        assert sock.recv(5) == b"more\n"
        device = ports.guest.run(f"basename $(readlink -f /sys/class/virtio-ports/{node}/device)").strip()
        ports.guest.run(f"echo {device} >/sys/bus/virtio/drivers/virtio_console/unbind")
        assert read_all(sock) == b""
    with ports.connect("reload") as sock:
        sock.sendall(b"again")
        ports.guest.run(f"echo {device} >/sys/bus/virtio/drivers/virtio_console/bind")
        node = ports.node("reload")
        assert ports.guest.run(f"head -c 5 /dev/{node}") == "again"

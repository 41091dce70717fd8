# SPDX-License-Identifier: BSD-3-Clause
"""The sockets of `outboard run` and ctl, of outboard-agent and outboard-vmchannel, none of which wants descriptors, with each
animal of the zoo on what is sent there: on a kernel that refuses descriptors for the program (Linux 6.16), and on one
that does not. The socket of notify messages is one that no kernel refuses them for."""
import contextlib
import json
import os
import pathlib
import socket
import subprocess

import pytest
from agentlab import AGENT
from controllab import Control
from guestlab import paths
from machinelab import OUTBOARD
from virtio_bus import VfioBus
from virtio_driver import READ, VERSION_1, WRITE, VirtioPci

VMCHANNEL = paths.BUILD / "root/libexec/outboard/outboard-vmchannel"
PATIENCE_S = 30
MACHINE = """
[machine]
  program = "sh"
  arguments = "-c 'exec sleep 1000' %socket:rng0%"
  control = "{folder}/control"
[device "rng0"]
  program = "rng"
  socket-path = "{folder}/rng"
"""


@pytest.fixture
def connect(cleanup, folder):
    def start(name):
        sock = cleanup.enter_context(socket.socket(socket.AF_UNIX))
        sock.settimeout(PATIENCE_S)
        sock.connect(str(folder / name))
        return sock

    return start


@pytest.fixture
def listen(cleanup, folder):
    def start(name):
        listener = cleanup.enter_context(socket.create_server(str(folder / name), family=socket.AF_UNIX))
        listener.settimeout(PATIENCE_S)
        return listener

    return start


@pytest.fixture
def machine(spawn, cleanup, folder, environment):
    """A process of outboard run with one device, and a client of its control socket."""
    (folder / "machine").write_text(MACHINE.format(folder=folder))
    process = spawn([OUTBOARD, "run", folder / "machine"], env=environment | {"XDG_RUNTIME_DIR": str(folder)})
    client = cleanup.enter_context(Control(folder / "control", process))
    client.want_events()
    while client.ask("list")[0]["state"] == "starting":
        client.wait_for_event("DEVICE_READY")
    return process, client


def test_the_control_socket_of_a_machine(machine, offering, connect, end):
    process, client = machine
    offer = offering(process)
    for data in (b"{", b'{"execute": "list"}\n', b"nonsense\n", b'{"execute": "capabilities", "arguments": {"enable": ["events"]}}\n'):
        hostile = connect("control")
        offer(hostile, data)
        assert client.ask("status")["pid"] == process.pid
        hostile.close()
        assert [device["device"] for device in client.ask("list")] == ["rng0"]
    end(process)


def notify_socket(pid):
    """The name of the datagram socket at which outboard run hears its device. A device in its cell has forgotten it."""
    sockets = set()
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            sockets.add(os.readlink(fd))
    rows = [line.split() for line in pathlib.Path("/proc/net/unix").read_text().splitlines()]
    (name,) = {row[7] for row in rows if row[4] == "0002" and len(row) > 7 and f"socket:[{row[6]}]" in sockets}
    return name


def test_the_notify_socket_of_a_machine(machine, offering, end, cleanup):
    process, client = machine
    notify = cleanup.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    notify.connect(notify_socket(process.pid).replace("@", "\0", 1))
    offer = offering(process)
    for data in (b"READY=1\nSTATUS=hostile", b"FDSTORE=1\nFDNAME=disk", b"BARRIER=1", b"MAINPID=1"):
        offer(notify, data)
        assert client.ask("status")["pid"] == process.pid
    end(process)


def test_a_command_at_a_hostile_control_socket(listen, folder, environment, animals, offering):
    answers = {"outboard": {"version": "1", "machine": "one", "pid": 1, "capabilities": []}}, {"return": [], "id": 1}, {"return": []}
    with listen("hostile") as listener:
        process = subprocess.Popen([OUTBOARD, "ctl", f"--vm={folder}/hostile", "list"], env=os.environ | environment)
        with contextlib.closing(listener.accept()[0]) as sock:
            for answer in answers:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    offering(process)(sock, json.dumps(answer).encode() + b"\n")
        for animal in animals.made:
            animal.close()
        process.wait(PATIENCE_S)


def test_the_socket_of_an_agent(spawn, offering, connect, end, folder, environment):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.settimeout(PATIENCE_S)
        notify.bind(str(folder / "notify"))
        argv = [AGENT, "--method=unix-listen", f"--path={folder}/agent", f"--statedir={folder}"]
        process = spawn(argv, env=environment | {"NOTIFY_SOCKET": notify.getsockname()})
        assert b"READY=1" in notify.recv(100), process.log_tail()
    offer, client = offering(process), connect("agent")
    for data in (b"\xff", b'{"execute":', b'{"execute": "guest-ping"}\n', b"nonsense\n"):
        hostile = connect("agent")
        offer(hostile, data)
        client.sendall(b'{"execute": "guest-sync", "arguments": {"id": 7}}\n')
        assert b'"return": 7' in client.recv(100)
        hostile.close()
    end(process)


@pytest.fixture
def channel(spawn, cleanup, listen, folder, environment):
    """A process of outboard-vmchannel with a port for each kind of socket, the driver's function, and the server that a port
    has connected to."""
    listener = listen("server")
    ours, theirs = socket.socketpair()
    ports = [f"--port=one,listen:{folder}/one", f"--port=two,connect:{folder}/server", f"--control={folder}/control", "--max-ports=4"]
    process = spawn([VMCHANNEL, f"--fd={theirs.fileno()}", "--wire=vfio-user", *ports], inherit=[theirs], env=environment)
    bus = VfioBus(ours)
    cleanup.callback(bus.close)
    pci = VirtioPci(bus)
    queues = pci.start(VERSION_1 | 2, size=8)

    def say(port, event, value):
        message = port.to_bytes(4, "little") + event.to_bytes(2, "little") + value.to_bytes(2, "little")
        queues[3].add([(pci.memory.put(message), 8, READ)])
        queues[3].kick()
        queues[3].wait()

    for _ in range(8):
        queues[2].add([(pci.memory.take(64), 64, WRITE)])
    queues[2].kick()
    say(0xFFFFFFFF, 0, 1)
    for port in (1, 2):
        say(port, 3, 1)
        say(port, 6, 1)
    return process, pci, cleanup.enter_context(listener.accept()[0])


def read_port(pci, port, wanted):
    """Bytes that the guest reads from a port."""
    queue, got = pci.queues[2 * port + 2], b""
    while len(got) < len(wanted):
        address = pci.memory.take(64)
        queue.add([(address, 64, WRITE)])
        queue.kick()
        got += pci.memory.read(address, queue.wait()[1])
    assert got == wanted


def test_the_sockets_of_ports(channel, offering, connect, end):
    process, pci, server = channel
    offer = offering(process)
    client = connect("one")
    for _ in range(2):
        offer(client, b"data")
        read_port(pci, 1, b"data")
        offer(server, b"data")
        read_port(pci, 2, b"data")
    control = connect("control")
    offer(control, b"{")
    offer(control, b'"execute": "status"}\n')
    assert control.recv(100)
    client.close()
    end(process)

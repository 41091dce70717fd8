# SPDX-License-Identifier: BSD-3-Clause
"""Many streams, and what outboard-vmchannel and outboard-vsock need for them. One blocked stream among many stops none of the others. It is blocked in both directions: neither end reads, and both
have written as much as goes. ./dev bench crowd measures what it costs the others."""
import contextlib
import resource
import socket
import subprocess

import pytest
from guestlab import paths
from vmchannel_driver import ALL_PORTS, DEVICE_READY, PORT_ADD, PORT_OPEN, PORT_READY, TO_GUEST, Driver
from vsock_driver import CREDIT_REQUEST, CREDIT_UPDATE, NO_RECEIVE, NO_SEND, REQUEST, RESPONSE, RW, SHUTDOWN, VsockDriver
from vsock_host import PATIENCE_S, HostSockets

PROGRAMS = paths.BUILD / "root/libexec/outboard"
PORTS = 500
CONNECTIONS = 1000
CID = 5


@pytest.fixture(autouse=True)
def files():
    """The host's ends are this process's."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def write_all(sock):
    """Writes until the socket takes nothing; how many bytes went."""
    written = 0
    sock.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while True:
            written += sock.send(bytes(1 << 16))
    sock.settimeout(PATIENCE_S)
    return written


def open_ports(driver, folder, cleanup):
    """All ports, opened by the guest and by a program of the host each: the sockets."""
    driver.say(ALL_PORTS, DEVICE_READY, 1)
    socks, opened = [], set()
    for number in range(PORTS):
        driver.offer(TO_GUEST)
        port, event, *_ = driver.hear()
        assert (port, event) == (1 + number, PORT_ADD)
        socks.append(cleanup.enter_context(socket.socket(socket.AF_UNIX)))
        socks[-1].settimeout(PATIENCE_S)
        socks[-1].connect(f"{folder}/{number}")
    for number in range(PORTS):
        driver.say(1 + number, PORT_READY, 1)
    while len(opened) < PORTS:
        driver.offer(TO_GUEST)
        port, event, value, _ = driver.hear()
        if (event, value) == (PORT_OPEN, 1):
            opened.add(port)
    for number in range(PORTS):
        driver.say(1 + number, PORT_OPEN, 1)
    return socks


def test_one_port_of_500(attach, folder, cleanup):
    options = [f"--port=port-{number},listen:{folder}/{number}" for number in range(PORTS)]
    pci = attach("vfio-user-doorbells", PROGRAMS / "outboard-vmchannel", *options, f"--max-ports={PORTS + 1}")
    driver = Driver(pci)
    socks = open_ports(driver, folder, cleanup)
    blocked = socks[PORTS // 2]
    ring = 5 + 2 * (PORTS // 2)
    for _ in range(8):
        driver.send(ring, bytes(65536))
    written = write_all(blocked)
    for turn in range(2):
        for number, sock in enumerate(socks):
            if sock is blocked:
                continue
            word = b"%d-%d" % (turn, number)
            token = driver.send(5 + 2 * number, word)
            assert driver.queues[5 + 2 * number].wait() == (token, 0)
            assert sock.recv(100) == word
            sock.sendall(word)
            driver.offer(4 + 2 * number)
            assert driver.receive(4 + 2 * number) == word
    assert len(driver.queues[ring].in_flight) > 0, "it was not blocked"
    left = 8 * 65536
    while left:
        left -= len(blocked.recv(1 << 16))
    while written:
        driver.offer(ring - 1, 4096)
        written -= len(driver.receive(ring - 1))
    assert pci.process.terminate() == 0  # its paths are removed then


def test_one_connection_of_1000(attach, folder, cleanup):
    """The guest answers each question for its room, as Linux does; so the device must not ask again at once."""
    host = HostSockets(folder / "host", cleanup)
    options = [f"--guest-cid={CID}", f"--host-socket={host.path}", f"--connections={CONNECTIONS}"]
    pci = attach("vfio-user-doorbells", PROGRAMS / "outboard-vsock", *options)
    guest = VsockDriver(pci, CID)
    listener = host.listen(80)
    socks = []
    for number in range(CONNECTIONS):
        guest.connect(1000 + number, 80, buf_alloc=65536)
        socks.append(host.accept(listener))
    guest.send(RW, 1000, 80, bytes(65536), buf_alloc=65536)
    write_all(socks[0])
    got = 0
    while (packet := guest.take()).op == RW:  # until the device has no room and asks
        got += packet.length
        guest.forwarded[1000, 80] = 0
    assert got == 65536 and packet.op == CREDIT_REQUEST
    for number in range(1, CONNECTIONS):
        guest.send(CREDIT_UPDATE, 1000, 80, buf_alloc=65536)
        word = b"%d" % number
        guest.send(RW, 1000 + number, 80, word)
        assert socks[number].recv(100) == word
        socks[number].sendall(word)
        packet = guest.take()
        while packet.dst_port == 1000:  # a question a second
            assert packet.op == CREDIT_REQUEST
            packet = guest.take()
        assert (packet.op, packet.dst_port, packet.payload) == (RW, 1000 + number, word)
    assert pci.process.terminate() == 0


@pytest.mark.parametrize("options, ports, vectors, ring", [([], 31, 65, 32), (["--max-ports=511", "--ring-size=64"], 511, 128, 64)])
def test_sizes(attach, folder, options, ports, vectors, ring):
    """Two queues for each port that there may be and for the messages; Linux takes no more than 128 vectors well."""
    pci = attach("vfio-user", PROGRAMS / "outboard-vmchannel", f"--port=one,listen:{folder}/one", *options)
    assert (pci.config(4, 4), pci.num_queues, len(pci.bus.events)) == (ports, 2 * (ports + 1), vectors)
    for number in range(pci.num_queues):
        pci.set(22, 2, number)
        assert pci.get(24, 2) == ring
    assert pci.process.terminate() == 0


def test_limit_of_files_that_ports_need(attach, spawn, folder):
    """The soft limit is raised, and the hard one is refused with the number."""
    options = [f"--port=port-{number},listen:{folder}/{number}" for number in range(PORTS)]
    argv = [PROGRAMS / "outboard-vmchannel", f"--max-ports={PORTS + 1}", *options]
    pci = attach("vfio-user", "/usr/bin/prlimit", "--nofile=128:8192", *argv)
    assert pci.num_queues == 2 * (PORTS + 2)
    assert pci.process.terminate() == 0
    process = spawn(["/usr/bin/prlimit", "--nofile=128:128", *argv, f"--socket-path={folder}/device"], name="low")
    assert process.wait(PATIENCE_S) != 0
    assert "limit of open files: got 128, expected 3074 for these ports" in process.log_tail()


def test_programs_of_the_host_by_socat(attach, spawn, folder, cleanup):
    """At the guest's port of the host, and as a client that sends the line."""
    host = HostSockets(folder / "host", cleanup)
    pci = attach("vfio-user", PROGRAMS / "outboard-vsock", f"--guest-cid={CID}", f"--host-socket={host.path}")
    guest = VsockDriver(pci, CID)
    listener = spawn(["socat", f"UNIX-LISTEN:{host.path}_80", "EXEC:cat"], name="listener")
    while not (folder / "host_80").exists():
        assert listener.running, listener.log_tail()
    guest.connect(1000, 80)
    guest.send(RW, 1000, 80, b"there and back")
    assert guest.read(14) == b"there and back"
    guest.send(SHUTDOWN, 1000, 80, flags=NO_SEND)
    assert guest.expect(SHUTDOWN, dst_port=1000).flags & NO_SEND
    with subprocess.Popen(["socat", "-t", str(PATIENCE_S), "-", f"UNIX-CONNECT:{host.path}"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as client:  # fmt: skip
        client.stdin.write(b"CONNECT 22\nquestion")
        client.stdin.close()
        packet = guest.take()
        while packet.op != REQUEST:
            packet = guest.take()
        guest.send(RESPONSE, 22, packet.src_port)
        assert guest.read(8) == b"question"
        guest.send(RW, 22, packet.src_port, b"answer")
        guest.send(SHUTDOWN, 22, packet.src_port, flags=NO_SEND | NO_RECEIVE)
        assert client.stdout.read() == b"OK %d\nanswer" % packet.src_port
    assert pci.process.terminate() == 0

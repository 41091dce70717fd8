# SPDX-License-Identifier: BSD-3-Clause
"""One blocked stream among many stops none of the others. It is blocked in both directions: neither end reads, and both
have written as much as goes. ./dev bench crowd measures what it costs the others."""
import contextlib
import resource
import socket

import pytest
from guestlab import paths
from vmchannel_driver import ALL_PORTS, DEVICE_READY, PORT_ADD, PORT_OPEN, PORT_READY, TO_GUEST, Driver
from vsock_driver import CREDIT_REQUEST, CREDIT_UPDATE, RW, VsockDriver
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

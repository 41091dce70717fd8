# SPDX-License-Identifier: BSD-3-Clause
"""outboard-vmchannel, driven over each wire by a driver that splits and orders its buffers as no stock driver does."""
import json
import os
import shutil
import socket
import tempfile

import pytest
from guestlab import paths
from virtio_bus import MpqemuBus, VfioBus
from virtio_driver import INDIRECT_DESC, RING_PACKED, VirtioPci
from vmchannel_driver import (
    ALL_PORTS, DEVICE_READY, FROM_GUEST, PORT_ADD, PORT_NAME, PORT_OPEN, PORT_READY, PORT_REMOVE, TO_GUEST, Driver, OnePort)  # fmt: skip

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-vmchannel"
PATIENCE_S = 60


@pytest.fixture
def folder(cleanup):
    name = tempfile.mkdtemp(prefix="outboard-")
    cleanup.callback(shutil.rmtree, name, ignore_errors=True)
    return name


@pytest.fixture
def connect(folder, cleanup):
    def start(name):
        sock = cleanup.enter_context(socket.socket(socket.AF_UNIX))
        sock.settimeout(PATIENCE_S)
        sock.connect(f"{folder}/{name}")
        return sock

    return start


@pytest.fixture(params=[0, RING_PACKED, INDIRECT_DESC], ids=["split", "packed", "indirect"])
def driver(attach, wire, folder, request):
    options = ["--max-ports=4", f"--port=one,listen:{folder}/one", f"--port=two,reconnect=handshake,listen:{folder}/two"]
    return Driver(attach(wire, PROGRAM, *options, f"--control={folder}/control"), request.param)


def open_port(driver, port, name):
    """DEVICE_READY to PORT_OPEN 1 of a port of two, with one buffer for messages at a time."""
    heard = []
    driver.say(ALL_PORTS, DEVICE_READY, 1)
    for _ in range(2):
        driver.offer(TO_GUEST)
        heard.append(driver.hear())
    assert sorted(heard) == [(1, PORT_ADD, 1, b""), (2, PORT_ADD, 1, b"")]
    driver.say(port, PORT_READY, 1)
    driver.offer(TO_GUEST)
    assert driver.hear() == (port, PORT_NAME, 1, name)


def test_bytes_both_ways(driver, connect):
    open_port(driver, 1, b"one")
    sock = connect("one")
    driver.offer(TO_GUEST)
    assert driver.hear() == (1, PORT_OPEN, 1, b"")
    sock.sendall(b"early")
    driver.say(1, PORT_OPEN, 1)
    driver.offer(4, length=3)
    assert driver.receive(4) == b"ear"
    driver.offer(4)
    assert driver.receive(4) == b"ly"
    driver.send(5, b"a", b"bc", b"defg")
    assert sock.recv(100) == b"abcdefg"


def test_host_closes_with_one_buffer_at_a_time(driver, connect):
    open_port(driver, 2, b"two")
    driver.say(2, PORT_OPEN, 1)
    data = os.urandom(1000)
    with connect("two") as sock:
        sock.sendall(data)
    driver.offer(TO_GUEST)
    assert driver.hear() == (2, PORT_OPEN, 1, b"")
    got = b""
    while len(got) < len(data):
        driver.offer(6, length=100)
        got += driver.receive(6)
    assert got == data
    driver.offer(6)
    driver.offer(TO_GUEST)
    assert driver.hear() == (2, PORT_OPEN, 0, b"")


def test_guest_closes_with_bytes_in_its_ring(driver, connect):
    """PORT_OPEN 0 ends a session exactly: what is behind it is the next one's."""
    open_port(driver, 1, b"one")
    first = connect("one")
    driver.offer(TO_GUEST)
    assert driver.hear() == (1, PORT_OPEN, 1, b"")
    driver.say(1, PORT_OPEN, 1)
    driver.send(5, b"first")
    driver.say(1, PORT_OPEN, 0)
    driver.say(1, PORT_OPEN, 1)
    driver.send(5, b"second")
    assert first.recv(100) == b"first"
    assert first.recv(100) == b""
    assert connect("one").recv(100) == b"second"


def test_reset_ends_the_session(driver, connect):
    open_port(driver, 1, b"one")
    sock = connect("one")
    driver.say(1, PORT_OPEN, 1)
    driver.send(5, b"words")
    assert sock.recv(100) == b"words"
    driver.pci.reset()
    assert sock.recv(100) == b""


@pytest.mark.parametrize("driver", [0], indirect=True)
@pytest.mark.parametrize("end", ["reconnect", "reset"])
def test_next_peer_gets_no_old_output(driver, connect, end):
    """The guest's ring is full of output that the peer has not read; the guest holds the port open."""
    open_port(driver, 1, b"one")
    first = connect("one")
    driver.offer(TO_GUEST)
    assert driver.hear() == (1, PORT_OPEN, 1, b"")
    driver.say(1, PORT_OPEN, 1)
    for _ in range(8):
        driver.send(5, bytes(131072))
    driver.send(FROM_GUEST, b"")  # all above was looked at
    driver.queues[FROM_GUEST].wait()
    if end == "reconnect":
        first.close()
        second = connect("one")
        for event, value in [(PORT_OPEN, 0), (PORT_REMOVE, 1), (PORT_ADD, 1)]:
            driver.offer(TO_GUEST)
            assert driver.hear()[1:3] == (event, value)
        for _ in range(8):
            driver.queues[5].wait()
    else:
        driver.pci.reset()
        assert set(iter(lambda: first.recv(1 << 20), b"")) and first.recv(1) == b""
        second = connect("one")
        driver = Driver(driver.pci, 0)
        driver.say(ALL_PORTS, DEVICE_READY, 1)
        heard = set()
        while len(heard) < 2:
            driver.offer(TO_GUEST)
            heard.add(driver.hear()[:2])
        assert heard == {(1, PORT_ADD), (2, PORT_ADD)}
    driver.say(1, PORT_READY, 1)
    for event in (PORT_NAME, PORT_OPEN):
        driver.offer(TO_GUEST)
        assert driver.hear()[1:3] == (event, 1)
    driver.say(1, PORT_OPEN, 1)
    driver.send(5, b"new")
    assert second.recv(100) == b"new"


@pytest.mark.parametrize("wire, bus_of", [("mpqemu", MpqemuBus), ("vfio-user", VfioBus)])
def test_peer_reads_the_rest_when_the_vmm_has_gone(spawn, connect, folder, wire, bus_of):
    """Nothing polls the device then. The listener stays, and the next VMM's guest gets the next peer."""
    process = spawn([PROGRAM, "--max-ports=4", f"--port=one,listen:{folder}/one", f"--socket-path={folder}/device", f"--wire={wire}"])
    while not os.path.exists(f"{folder}/device"):
        assert process.running, process.log_tail()
    bus = bus_of(connect("device"))
    driver = OnePort(VirtioPci(bus), b"one")
    first = connect("one")
    driver.wait_open()
    driver.open()
    for _ in range(8):
        driver.send(driver.OUTPUT, b"f" * 131072)
    driver.send(FROM_GUEST, b"")  # all above was looked at
    driver.queues[FROM_GUEST].wait()
    bus.close()
    length = 0
    while data := first.recv(1 << 16):
        assert set(data) == set(b"f")
        length += len(data)
    assert length == 8 * 131072
    second = connect("one")
    second.sendall(b"early")
    bus = bus_of(connect("device"))
    try:
        driver = OnePort(VirtioPci(bus), b"one")
        driver.wait_open()
        driver.open()
        assert driver.read(5) == b"early"
    finally:
        bus.close()


def test_messages_that_mean_nothing(driver, connect):
    for port, event, value in [(1, PORT_OPEN, 1), (0, PORT_READY, 1), (77, PORT_OPEN, 1), (1, 99, 99), (ALL_PORTS, DEVICE_READY, 0)]:
        driver.say(port, event, value)
    driver.send(FROM_GUEST, b"\x01")
    driver.queues[FROM_GUEST].wait()
    open_port(driver, 1, b"one")
    with connect("control") as control, control.makefile("rw") as lines:
        lines.write("status\nnonsense\n")
        lines.flush()
        told = [json.loads(lines.readline()) for _ in range(4)]
    assert [line.get("port") for line in told[:2]] == ["one", "two"]
    assert told[2] == {"done": "status"} and "expected 'status'" in told[3]["error"]

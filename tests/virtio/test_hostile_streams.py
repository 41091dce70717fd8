# SPDX-License-Identifier: BSD-3-Clause
"""Guests that break the rules of the rings, of the console's messages or of the socket device's packets, against outboard-vmchannel and
outboard-vsock. A broken ring stops the device until its driver resets it; wrong messages and packets do not. The next
driver, or the next stream, is served."""
import pytest
import test_hostile as rules
from guestlab import paths
from virtio_driver import INDIRECT_DESC, NEEDS_RESET, READ, RING_PACKED, VERSION_1, WRITE
from vmchannel_driver import (
    ALL_PORTS, CONTROL, DEVICE_READY, FROM_GUEST, MULTIPORT, PORT_ADD, PORT_NAME, PORT_OPEN, PORT_READY, PORT_REMOVE, RESIZE, OnePort)  # fmt: skip
from vsock_driver import (
    CREDIT_UPDATE, HEADER, NO_RECEIVE, NO_SEND, REQUEST, RESPONSE, RST, RW, SEQPACKET_FEATURE, SHUTDOWN, STREAM, VsockDriver)  # fmt: skip
from vsock_host import HostSockets

PROGRAMS = paths.BUILD / "root/libexec/outboard"
CID = 5
NAME = "port"
HELD = (rules.same_chain_again, rules.more_than_the_queue_takes, rules.same_list_again)  # of the echo device
BROKEN = [(deed, 0) for deed in rules.BOTH + rules.SPLIT if deed not in HELD]
BROKEN += [(deed, RING_PACKED) for deed in rules.BOTH + rules.PACKED if deed not in HELD]
IDS = [f"{deed.__name__}-{'packed' if kind else 'split'}" for deed, kind in BROKEN]


class Ports:
    """outboard-vmchannel with one port."""

    features, queues = MULTIPORT, {"output": OnePort.OUTPUT, "control": FROM_GUEST}

    def __init__(self, attach, folder, cleanup):
        self.host = HostSockets(folder / "port", cleanup)
        self.pci = attach("vfio-user", PROGRAMS / "outboard-vmchannel", "--max-ports=2", f"--port={NAME},listen:{self.host.path}")

    def check(self):
        """A driver of before or a new one: a session, with bytes each way."""
        sock = self.host.make()
        sock.connect(str(self.host.path))
        driver = OnePort(self.pci, NAME.encode())
        driver.wait_open()
        driver.open()
        driver.write(b"question")
        assert sock.recv(100) == b"question"
        sock.sendall(b"answer")
        assert driver.read(6) == b"answer"


class Connections:
    """outboard-vsock."""

    features, queues = SEQPACKET_FEATURE, {"transmit": 1}

    def __init__(self, attach, folder, cleanup):
        self.host = HostSockets(folder / "host", cleanup)
        self.pci = attach("vfio-user", PROGRAMS / "outboard-vsock", f"--guest-cid={CID}", f"--host-socket={self.host.path}")
        self.listener = self.host.listen(80)

    def check(self):
        guest = VsockDriver(self.pci, CID)
        guest.connect(2000, 80)
        sock = self.host.accept(self.listener)
        guest.send(RW, 2000, 80, b"question")
        assert sock.recv(100) == b"question"
        sock.sendall(b"answer")
        assert guest.read(6) == b"answer"


@pytest.mark.parametrize("kind, queue", [(Ports, "output"), (Ports, "control"), (Connections, "transmit")],
                         ids=["vmchannel-output", "vmchannel-control", "vsock-transmit"])  # fmt: skip
@pytest.mark.parametrize("deed, packed", BROKEN, ids=IDS)
def test_broken_rings(attach, folder, cleanup, kind, queue, deed, packed):
    device = kind(attach, folder, cleanup)
    pci = device.pci
    pci.start(VERSION_1 | INDIRECT_DESC | packed | device.features, size=16)
    broken = pci.queues[device.queues[queue]]
    reason = deed(pci, broken)
    pci.notify(broken)
    rules.wait_failed(pci)
    log = pci.process.log.read_text()
    reason = reason.partition(" 1024 descriptors")[0]  # the limit of the queue comes first
    assert "the device is stopped until its driver resets it" in log and reason in log
    device.check()


@pytest.mark.parametrize("segments", [65, 16])
def test_chain_of_more_buffers_than_a_port_takes(attach, folder, cleanup, segments):
    """Linux sends up to 17 in a chain; 64 are taken."""
    device = Ports(attach, folder, cleanup)
    pci = device.pci
    pci.start(VERSION_1 | INDIRECT_DESC | MULTIPORT, size=16)
    queue = pci.queues[OnePort.OUTPUT]
    queue.add([(pci.memory.put(b"x"), 1, READ)] * segments, indirect=True)
    pci.notify(queue)
    if segments > 64:
        rules.wait_failed(pci)
        assert "got more than 64 descriptors" in pci.process.log.read_text()
    else:
        queue.wait()
    device.check()


MESSAGES = [
    (1, PORT_OPEN, 1), (1, PORT_OPEN, 0), (0, PORT_READY, 1), (2, PORT_READY, 1), (ALL_PORTS, PORT_OPEN, 1), (0x8000, PORT_READY, 1),
    (1, PORT_READY, 0), (1, PORT_READY, 0xFFFF), (1, PORT_OPEN, 0xFFFF), (1, PORT_ADD, 1), (1, PORT_REMOVE, 1), (1, PORT_NAME, 1),
    (1, RESIZE, 1), (1, 0xFFFF, 0xFFFF), (ALL_PORTS, DEVICE_READY, 0), (ALL_PORTS, DEVICE_READY, 2), (1, DEVICE_READY, 0)]  # fmt: skip


def test_messages_of_a_port_in_any_order(attach, folder, cleanup):
    """Each one, before the driver is ready and behind it, and each pair."""
    device = Ports(attach, folder, cleanup)
    driver = OnePort(device.pci, NAME.encode())
    for first in MESSAGES:
        for second in MESSAGES:
            driver.say(*first)
            driver.say(*second)
    for length in (0, 1, 7, 9, 4096):
        driver.send(FROM_GUEST, bytes(length or 1))
        driver.queues[FROM_GUEST].wait()
    assert not device.pci.status & NEEDS_RESET
    device.check()


def test_buffers_of_the_wrong_direction(attach, folder, cleanup):
    """They come back unused: a readable one for input, a writable one for output or for a message."""
    device = Ports(attach, folder, cleanup)
    driver = OnePort(device.pci, NAME.encode())
    address = driver.memory.take(64)
    for number, flags in ((OnePort.INPUT, READ), (OnePort.OUTPUT, WRITE), (FROM_GUEST, WRITE)):
        token = driver.queues[number].add([(address, 64, flags)])
        driver.queues[number].kick()
        assert driver.queues[number].wait() == (token, 0)
    device.check()


def test_messages_without_end(attach, folder, cleanup):
    """A driver that sends them as fast as they are taken lets registers and bytes of a port have their turn."""
    device = Ports(attach, folder, cleanup)
    sock = device.host.make()
    sock.connect(str(device.host.path))
    driver = OnePort(device.pci, NAME.encode())
    driver.wait_open()
    driver.open()
    queue = driver.queues[FROM_GUEST]
    message = driver.memory.put(CONTROL.pack(77, PORT_OPEN, 1))
    for turn in range(100):
        while queue.in_flight and queue.take():
            pass
        for _ in range(queue.size - len(queue.in_flight)):
            queue.add([(message, CONTROL.size, READ)])
        queue.notify(queue)
        driver.write(b"%3d" % turn)
        assert sock.recv(3) == b"%3d" % turn


def header(**fields):
    packet = {"src_cid": CID, "dst_cid": 2, "src_port": 1000, "dst_port": 80, "len": 0, "type": STREAM, "op": RW, "flags": 0,
              "buf_alloc": 65536, "fwd_cnt": 0} | fields  # fmt: skip
    return HEADER.pack(*packet.values())


# What the guest sends on an open connection, and whether that is reset.
PACKETS = {
    "short": (bytes(43), False),
    "empty": (b"", False),
    "another guest's": (header(src_cid=6, op=RST), False),
    "more than the chain has": (header(len=1000) + bytes(10), True),
    "more than 64 KiB": (header(len=65537), True),
    "no bytes of 2^32 - 1": (header(len=0xFFFFFFFF), True),
    "no operation": (header(op=0), True),
    "an unknown operation": (header(op=8), True),
    "the other type": (header(type=2), True),
    "a second request": (header(op=REQUEST), True),
    "a response unasked": (header(op=RESPONSE), True),
    "all flags": (header(op=SHUTDOWN, flags=0xFFFFFFFF), True),
    "an update of nothing": (header(op=CREDIT_UPDATE, buf_alloc=0, fwd_cnt=0xFFFFFFFF), False),
}


@pytest.mark.parametrize("name", PACKETS)
def test_packets(attach, folder, cleanup, name):
    device = Connections(attach, folder, cleanup)
    guest = VsockDriver(device.pci, CID)
    guest.connect(1000, 80)
    sock = device.host.accept(device.listener)
    packet, resets = PACKETS[name]
    token = guest.transmit.add([(guest.memory.put(packet or b"x"), len(packet) or 1, READ)])
    guest.transmit.kick()
    assert guest.transmit.wait() == (token, 0)
    if resets:
        guest.expect(RST, src_port=80, dst_port=1000)
        assert sock.recv(1) == b""
    else:
        guest.send(RW, 1000, 80, b"word")
        assert sock.recv(100) == b"word"
    assert not device.pci.status & NEEDS_RESET
    device.check()


def test_more_bytes_than_there_is_credit_for(attach, folder, cleanup):
    device = Connections(attach, folder, cleanup)
    guest = VsockDriver(device.pci, CID)
    room = guest.connect(1000, 80).buf_alloc
    sock = device.host.accept(device.listener)
    sock.setsockopt(1, 8, 4096)  # SO_RCVBUF
    sent = 0
    while sent < room + (1 << 20):  # what the socket takes gives room, until it takes no more
        guest.send(RW, 1000, 80, bytes(65536))
        sent += 65536
        if (found := guest.receive.take()) and HEADER.unpack(guest.memory.read(guest.buffers[found[0]], HEADER.size))[6] == RST:
            break
    else:
        pytest.fail("the device takes more than it has room for")
    device.check()


def test_bytes_behind_the_end_of_sending(attach, folder, cleanup):
    device = Connections(attach, folder, cleanup)
    guest = VsockDriver(device.pci, CID)
    guest.connect(1000, 80)
    guest.send(SHUTDOWN, 1000, 80, flags=NO_SEND)
    guest.send(RW, 1000, 80, b"late")
    guest.expect(RST)
    guest.send(RST, 1000, 80)  # has no answer
    guest.connect(1000, 80)
    guest.send(SHUTDOWN, 1000, 80, flags=NO_SEND | NO_RECEIVE)
    guest.expect(RST)


def test_receive_buffers_without_room_for_a_byte(attach, folder, cleanup):
    device = Connections(attach, folder, cleanup)
    receive, transmit, _ = device.pci.start(VERSION_1 | SEQPACKET_FEATURE)
    receive.add([(device.pci.memory.take(44), 44, WRITE)])
    receive.kick()
    transmit.add([(device.pci.memory.put(header(op=REQUEST, dst_port=99)), HEADER.size, READ)])
    transmit.kick()
    rules.wait_failed(device.pci)
    assert "got a receive buffer of 44 bytes, expected more than the 44 of a header" in device.pci.process.log.read_text()
    device.check()

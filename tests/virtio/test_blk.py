# SPDX-License-Identifier: BSD-3-Clause
"""outboard-blk, driven over each wire through the branches of the specification that stock drivers do not take."""
import os
import struct

import pytest
from guestlab import paths
from virtio_driver import (
    EVENT_IDX, IN_ORDER, INDIRECT_DESC, NEEDS_RESET, NOTIFICATION_DATA, READ, RING_PACKED, RING_RESET, VERSION_1, WRITE)  # fmt: skip

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-blk"
SECTOR, SECTORS = 512, 4096
HEADER = struct.Struct("<IIQ")
RANGE = struct.Struct("<QII")
IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES, SECURE_ERASE = 0, 1, 4, 8, 11, 13, 14
OK, IOERR, UNSUPP = 0, 1, 2
FLUSH_FEATURE, WCE, ZONED = 1 << 9, 1 << 11, 1 << 17
PCI = ["mpqemu", "vfio-user", "vfio-user-intx", "vfio-user-doorbells"]
WIRES = [*PCI, "vhost-user"]
RINGS = pytest.mark.parametrize("packed", [0, RING_PACKED], ids=["split", "packed"])


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(SECTORS * SECTOR))
    return path


@pytest.fixture
def start(attach, image):
    """start(wire, option...): the disk's driver."""
    return lambda wire, *options: attach(wire, PROGRAM, f"--image={image},serial=TESTS", "--queues=2", *options)


def cut(pci, data, lengths, flags):
    """Descriptors of these lengths, and one for the rest, in fresh memory with these bytes."""
    segments, at = [], 0
    for length in [*lengths, len(data)]:
        piece = data[at : at + length]
        at += len(piece)
        if piece:
            segments.append((pci.memory.put(piece, 1), len(piece), flags))
    return segments


def request(pci, kind, sector=0, data=b"", room=0, *, out=(), back=(), number=0, **how):
    """One request: its status, and what was read. out, back: the lengths of the readable and the writable descriptors."""
    queue = pci.queues[number]
    readable = cut(pci, HEADER.pack(kind, 0, sector) + data, out or (16,), READ)
    writable = cut(pci, b"\xaa" * room + b"\xff", back or (room,), WRITE)
    segments = readable + writable
    tail = how.pop("tail", None)
    token = queue.add(segments[:tail], tail=segments[tail:]) if tail else queue.add(segments, **how)
    queue.kick()
    assert queue.wait() == (token, room + 1)
    read = b"".join(pci.memory.read(address, length) for address, length, _ in writable)
    return read[-1], read[:-1]


@pytest.mark.parametrize("wire", WIRES)
@RINGS
@pytest.mark.parametrize("extra", [0, EVENT_IDX, INDIRECT_DESC | EVENT_IDX], ids=["plain", "event", "all"])
def test_header_and_status_lie_where_the_driver_likes(start, image, wire, packed, extra):
    """In pieces of a byte, together with data, in a table, or in a table behind direct descriptors; several times around the ring."""
    pci = start(wire)
    pci.start(VERSION_1 | FLUSH_FEATURE | packed | extra)
    before = image.read_bytes()
    framings = [{}, {"out": [1] * 16, "back": [1, 2, 509]}, {"out": [3, 13, 7], "back": [SECTOR + 1]}, {"out": [16 + SECTOR]}]
    if extra & INDIRECT_DESC:
        framings += [{"indirect": True}, {"out": [1, 15], "tail": 1}, {"out": [16], "tail": 2, "back": [100, 412]}]
    for turn in range(12):
        framing = framings[turn % len(framings)]
        data = bytes([turn + 1]) * SECTOR
        read = {name: value for name, value in framing.items() if name != "out" or len(value) > 2}
        assert request(pci, IN, turn, room=SECTOR, number=turn % 2, **read) == (OK, before[turn * SECTOR : (turn + 1) * SECTOR])
        written = {name: value for name, value in framing.items() if name not in ("back", "tail")}
        assert request(pci, OUT, turn, data, number=turn % 2, **written) == (OK, b"")
        assert request(pci, IN, turn, room=SECTOR, **read) == (OK, data)
    assert request(pci, FLUSH) == (OK, b"")
    assert image.read_bytes() == b"".join(bytes([turn + 1]) * SECTOR for turn in range(12)) + before[12 * SECTOR :]


@pytest.mark.parametrize("wire", WIRES)
@RINGS
def test_each_kind_of_request(start, image, wire, packed):
    pci = start(wire)
    pci.start(VERSION_1 | FLUSH_FEATURE | packed)
    assert request(pci, GET_ID, room=20) == (OK, b"TESTS" + bytes(15))
    assert request(pci, GET_ID, room=3) == (OK, b"TES")
    assert request(pci, WRITE_ZEROES, data=RANGE.pack(1, 2, 0) + RANGE.pack(5, 1, 1)) == (OK, b"")
    zeroed = image.read_bytes()
    assert zeroed[SECTOR : 3 * SECTOR] + zeroed[5 * SECTOR : 6 * SECTOR] == bytes(3 * SECTOR)
    assert request(pci, DISCARD, data=RANGE.pack(8, 8, 0)) == (OK, b"")
    assert request(pci, IN, 8, room=8 * SECTOR) == (OK, bytes(8 * SECTOR))


@pytest.mark.parametrize("wire", WIRES)
def test_requests_that_can_not_be(start, image, wire):
    pci = start(wire)
    pci.start(VERSION_1 | FLUSH_FEATURE)
    before = image.read_bytes()
    for kind in (SECURE_ERASE, 15, 0xFFFFFFFF):
        assert request(pci, kind, data=RANGE.pack(0, 1, 0))[0] == UNSUPP
    assert request(pci, IN, SECTORS, room=SECTOR) == (IOERR, bytes(SECTOR)), "no byte of ours is in the answer"
    assert request(pci, IN, 2**64 - 1, room=SECTOR)[0] == IOERR
    assert request(pci, IN, SECTORS - 1, room=2 * SECTOR)[0] == IOERR
    assert request(pci, IN, 0, room=SECTOR - 1)[0] == IOERR
    assert request(pci, OUT, SECTORS, bytes(SECTOR))[0] == IOERR
    assert request(pci, OUT, 0, bytes(SECTOR + 1))[0] == IOERR
    assert request(pci, WRITE_ZEROES, data=RANGE.pack(0, 1, 2))[0] == UNSUPP
    assert request(pci, DISCARD, data=RANGE.pack(0, 1, 1))[0] == UNSUPP, "UNMAP is of write zeroes alone"
    for data in (b"", b"x", RANGE.pack(0, 0, 0), RANGE.pack(SECTORS, 1, 0), RANGE.pack(0, 1 << 31, 0), RANGE.pack(9, 1, 0) * 33):
        assert request(pci, WRITE_ZEROES, data=data)[0] == IOERR
    assert image.read_bytes() == before


@pytest.mark.parametrize("wire", WIRES)
def test_features_that_do_not_fit_are_refused(start, wire):
    pci = start(wire)
    for wrong in (VERSION_1 | ZONED, VERSION_1 | IN_ORDER, VERSION_1 | 1 << 62, VERSION_1 | 1 << 15):
        assert not pci.offered & wrong & ~VERSION_1
        assert not pci.negotiate(wrong)
    pci.start(VERSION_1)
    assert request(pci, IN, room=SECTOR)[0] == OK


@pytest.mark.parametrize("wire", PCI)
@RINGS
def test_a_queue_is_reset_by_itself(start, wire, packed):
    pci = start(wire)
    pci.start(VERSION_1 | RING_RESET | packed)
    for size in (8, 64, 4):
        assert request(pci, IN, room=SECTOR, number=1)[0] == OK
        pci.reset_queue(pci.queues[1])
        assert request(pci, IN, room=SECTOR, number=0)[0] == OK, "the other queue goes on"
        pci.queues[1] = pci.make_queue(1, size)
    assert request(pci, OUT, 7, b"z" * SECTOR, number=1)[0] == OK
    assert request(pci, IN, 7, room=SECTOR) == (OK, b"z" * SECTOR)


@pytest.mark.parametrize("wire", PCI)
def test_the_generation_counts_what_the_driver_may_have_seen_in_halves(start, image, wire):
    """The capacity has eight bytes, which are read in two accesses; the cache's switch is the driver's own doing."""
    pci = start(wire)
    pci.start(VERSION_1 | FLUSH_FEATURE | WCE)
    pci.bus.take_interrupts()
    first = pci.generation
    assert (pci.config(0, 4), pci.config(4, 4), pci.config(32, 1)) == (SECTORS, 0, 1)
    assert pci.generation == first
    with image.open("r+b") as file:
        file.truncate(2 * SECTORS * SECTOR)
    pci.wait_for_interrupt()
    assert pci.generation != first
    assert pci.config(0, 4) == 2 * SECTORS
    assert request(pci, IN, 2 * SECTORS - 1, room=SECTOR) == (OK, bytes(SECTOR))


@pytest.mark.parametrize("wire", PCI)
@RINGS
def test_notifications_have_data(start, wire, packed):
    pci = start(wire)
    if wire == "vfio-user-doorbells":
        pytest.skip("an eventfd carries no data")
    pci.start(VERSION_1 | NOTIFICATION_DATA | packed)
    for sector in range(5):
        assert request(pci, IN, sector, room=SECTOR)[0] == OK


@pytest.mark.parametrize("wire", PCI)
@pytest.mark.parametrize("segments", [[(8, READ), (1, WRITE)], [(16, READ)], [(1, WRITE)]], ids=["header", "status", "readable"])
def test_a_request_that_can_not_be_answered_stops_the_device(start, wire, segments):
    pci = start(wire)
    pci.start(VERSION_1)
    pci.queues[0].add([(pci.memory.take(length), length, flags) for length, flags in segments])
    pci.queues[0].kick()
    while not pci.status & NEEDS_RESET:
        pass
    assert "expected at least 16 to read and 1 to write" in pci.process.log.read_text()
    pci.start(VERSION_1)
    assert request(pci, IN, room=SECTOR)[0] == OK

# SPDX-License-Identifier: BSD-3-Clause
"""Drivers that break the rules of the rings: the device stops, says why, and serves the next driver."""
import time

import pytest
from guestlab import paths
from virtio_bus import MEMORY_LEN, PATIENCE_S
from virtio_driver import (
    AVAIL, DESC, EVENT_IDX, INDIRECT, INDIRECT_DESC, NEEDS_RESET, NEXT, READ, RING_PACKED, USED, VERSION_1, WRITE)  # fmt: skip

PROGRAM = paths.BUILD / "release/tests/virtio/echo"


def too_far_ahead(pci, queue):
    pci.memory.set_number(queue.driver + 2, queue.size + 1, 2)
    return "avail.idx: got 17, expected at most 16 more than 0"


def head_outside(pci, queue):
    queue.show(queue.size)
    return "a descriptor: got number 16, expected less than 16"


def next_outside(pci, queue):
    queue.set_descriptor(0, 0x1000, 1, NEXT, 0xFFFF)
    queue.show(0)
    return "a descriptor: got number 65535, expected less than 16"


def circle(pci, queue):
    queue.set_descriptor(0, 0x1000, 1, NEXT, 1)
    queue.set_descriptor(1, 0x1000, 1, NEXT, 0)
    queue.show(0)
    return "a chain: got more descriptors than the ring has, 16"


def readable_behind_writable(pci, queue):
    queue.add([(0x1000, 1, WRITE), (0x1000, 1, READ)])
    return "got a device-readable one behind a device-writable one"


def too_long(pci, queue):
    queue.add([(0x1000, 0xFFFFFFFF, READ), (0x1000, 2, READ)])
    return "a chain: got more than 2^32 bytes"


def outside_of_memory(pci, queue):
    queue.add([(MEMORY_LEN - 1, 2, READ)])
    return f"got 0x{MEMORY_LEN - 1:x} with 2 bytes, which is not the guest's memory"


def around_the_end(pci, queue):
    queue.add([(2**64 - 1, 2, READ)])
    return "with 2 bytes, which is not the guest's memory"


def same_chain_again(pci, queue):
    """Of queue 1, which holds what it gets: more chains than the ring has room for."""
    held = pci.queues[1]
    held.add([(0x1000, 1, WRITE)])
    for _ in range(held.size - 1):
        held.show(0)
    pci.notify(held)
    pci.get(20, 1)
    held.show(0)
    pci.notify(held)
    return "the ring: got more chains than its 64 entries hold"


def more_than_the_queue_takes(pci, queue):
    held = pci.queues[1]
    held.add([(0x1000, 1, WRITE)] * 9)
    pci.notify(held)
    return "a chain: got more than 8 descriptors"


def empty_table(pci, queue):
    queue.add([(0x1000, 0, INDIRECT)])
    return "an indirect table: got 0 bytes"


def odd_table(pci, queue):
    queue.add([(0x1000, 24, INDIRECT)])
    return "an indirect table: got 24 bytes"


def nested_table(pci, queue):
    queue.add([(0x1000, 1, INDIRECT)], indirect=True)
    return "an indirect table: got one inside of it"


def table_with_next(pci, queue):
    table, length = queue.table([(0x1000, 1, READ)])
    queue.add([(table, length, INDIRECT), (0x1000, 1, READ)])
    return "a descriptor: got both INDIRECT and NEXT"


def table_outside_of_memory(pci, queue):
    pci.memory.write(MEMORY_LEN - 16, queue.table_entry(0x1000, 1, NEXT, 1))
    queue.add([(MEMORY_LEN - 16, 32, INDIRECT)])
    return f"got 0x{MEMORY_LEN:x} with 16 bytes, which is not the guest's memory"


def table_that_leads_outside(pci, queue):
    table = pci.memory.put(DESC.pack(0x1000, 1, NEXT, 5))
    queue.add([(table, 16, INDIRECT)])
    return "an indirect table: got next 5, expected less than 1"


def table_in_a_circle(pci, queue):
    table = pci.memory.put(DESC.pack(0x1000, 1, NEXT, 0))
    queue.add([(table, 16, INDIRECT)])
    return "a chain: got more than 1024 descriptors"


def list_without_end(pci, queue):
    for at in reversed(range(queue.size)):  # a device that polls the ring sees the first one last
        pci.memory.write(queue.desc + 16 * at, DESC.pack(0x1000, 1, 0, NEXT | AVAIL))
    return "a chain: got more descriptors than the ring has, 16"


def same_list_again(pci, queue):
    """A packed ring around which the driver goes twice while queue 1 holds what it gets."""
    held = pci.queues[1]
    for at in range(held.size):
        pci.memory.write(held.desc + 16 * at, DESC.pack(0x1000, 1, 1, AVAIL | WRITE))
    pci.notify(held)
    pci.get(20, 1)
    for at in range(held.size):
        pci.memory.write(held.desc + 16 * at, DESC.pack(0x1000, 1, 1, USED | WRITE))
    pci.notify(held)
    return "the ring: got more chains than its 64 entries hold"


BOTH = [
    readable_behind_writable, too_long, outside_of_memory, around_the_end, more_than_the_queue_takes, empty_table, odd_table,
    nested_table, table_with_next, table_outside_of_memory]  # fmt: skip
SPLIT = [
    too_far_ahead, head_outside, next_outside, circle, same_chain_again, table_that_leads_outside, table_in_a_circle]  # fmt: skip
PACKED = [list_without_end, same_list_again]
CASES = [(deed, 0) for deed in BOTH + SPLIT] + [(deed, RING_PACKED) for deed in BOTH + PACKED]


def works(pci):
    queue = pci.queues[0]
    room = pci.memory.take(8)
    token = queue.add([(pci.memory.put(b"ehello"), 6, READ), (room, 8, WRITE)])
    queue.kick()
    return queue.wait() == (token, 5) and pci.memory.read(room, 5) == b"hello"


def wait_failed(pci):
    deadline = time.monotonic() + PATIENCE_S
    while not pci.status & NEEDS_RESET:
        assert time.monotonic() < deadline, "the device goes on"


@pytest.mark.parametrize("deed, packed", CASES, ids=[f"{deed.__name__}-{'packed' if kind else 'split'}" for deed, kind in CASES])
def test_the_device_stops_and_says_why(attach, deed, packed):
    pci = attach("vfio-user", PROGRAM)
    features = VERSION_1 | INDIRECT_DESC | packed
    pci.start(features)
    reason = deed(pci, pci.queues[0])
    pci.notify(pci.queues[0])
    wait_failed(pci)
    log = pci.process.log.read_text()
    assert "echo: the device is stopped until its driver resets it: queue " in log
    assert reason in log
    pci.start(features)
    assert works(pci)


@pytest.mark.parametrize("packed", [0, RING_PACKED], ids=["split", "packed"])
@pytest.mark.parametrize("part", ["desc", "driver", "device"])
@pytest.mark.parametrize("address", [MEMORY_LEN - 16, 2**64 - 4096, 1 << 40])
def test_rings_outside_of_memory(attach, wire, packed, part, address):
    pci = attach(wire, PROGRAM)
    assert pci.negotiate(VERSION_1 | packed)
    for number in range(2):
        queue = pci.make_queue(number)
    size = queue.size
    pci.reset()
    pci.negotiate(VERSION_1 | packed)
    setattr(queue, part, address + (16 if packed and part != "desc" and address == MEMORY_LEN - 16 else 0))
    assert size == queue.size
    pci.enable(queue)
    pci.status = 15
    wait_failed(pci)
    assert "which is not the guest's memory" in pci.process.log.read_text()
    pci.start(VERSION_1 | packed)
    assert works(pci)


@pytest.mark.parametrize("part", ["desc", "driver", "device"])
def test_rings_that_are_not_aligned(attach, part):
    pci = attach("vfio-user", PROGRAM)
    pci.start()
    queue = pci.queues[0]
    pci.negotiate(VERSION_1)
    setattr(queue, part, getattr(queue, part) + 1)
    pci.enable(queue)
    pci.status = 15
    wait_failed(pci)
    assert "got a size or an alignment that can't be" in pci.process.log.read_text()


def test_accesses_of_any_width_and_place(attach, wire):
    """Registers, the bytes between them, queues that do not exist, the end of the BAR: nothing of it stops the device."""
    pci = attach(wire, PROGRAM)
    pci.start()
    places = [*range(64), 64, 0xFFF, 0x1000, 0x1001, 0x2000, 0x2007, 0x20FF, 0x3000, 0x3004, 0x3008, 0x3FF8]
    for value in (0, 0xFFFFFFFF, 0x5A5A5A5A):
        for place in places:
            for size in (1, 2, 4):
                if (place + size - 1) // 0x1000 == place // 0x1000:
                    pci.get(place, size)
                    pci.set(place, size, value & (1 << 8 * size) - 1)
    pci.start()
    assert works(pci)


def test_an_indirect_table_that_was_not_negotiated(attach):
    pci = attach("vfio-user", PROGRAM)
    pci.start()
    queue = pci.queues[0]
    queue.add([(pci.memory.put(b"e"), 1, READ)], indirect=True)
    queue.kick()
    wait_failed(pci)
    assert "got INDIRECT, which was not negotiated" in pci.process.log.read_text()


@pytest.mark.parametrize("packed", [0, RING_PACKED], ids=["split", "packed"])
def test_a_driver_that_never_stops_lets_others_have_their_turn(attach, packed):
    """Chains that come as fast as they are used: the other queue and the registers are served all the same."""
    pci = attach("vfio-user-doorbells", PROGRAM)
    pci.start(VERSION_1 | packed | EVENT_IDX)
    queue = pci.queues[0]
    address = pci.memory.put(b"x")
    for _ in range(200):
        while queue.in_flight and queue.take():
            pass
        for _ in range(queue.size - len(queue.in_flight)):
            queue.add([(address, 1, READ)])
        queue.notify(queue)
        assert pci.num_queues == 2

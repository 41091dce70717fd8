# SPDX-License-Identifier: BSD-3-Clause
"""The virtio-pci function and the life of its queues over each wire, with tests/virtio/echo.c behind it."""
import time

import pytest
from guestlab import paths
from virtio_bus import PATIENCE_S
from virtio_driver import (
    ACKNOWLEDGE, COMMON, DEVICE, DRIVER, DRIVER_OK, EVENT_IDX, FEATURES_OK, IN_ORDER, INDIRECT_DESC, ISR, NEEDS_RESET,
    NOTIFICATION_DATA, NO_VECTOR, READ, RING_PACKED, RING_RESET, VERSION_1, WRITE)  # fmt: skip

PROGRAM = paths.BUILD / "release/tests/virtio/echo"
RINGS = pytest.mark.parametrize("packed", [0, RING_PACKED], ids=["split", "packed"])
RELEASE = 0x72  # written to the configuration space: as command 'r'
LIBRARY = VERSION_1 | INDIRECT_DESC | EVENT_IDX | RING_PACKED | RING_RESET | NOTIFICATION_DATA


@pytest.fixture
def echo(attach, wire):
    return lambda *options: attach(wire, PROGRAM, *options)


def command(pci, text, room=64, pieces=None):
    """Sends a command on queue 0: its answer. pieces: how long each readable and each writable descriptor is."""
    queue = pci.queues[0]
    readable, writable = pieces or ([len(text)], [room])
    segments, at = [], 0
    for length in readable:
        segments.append((pci.memory.put(text[at : at + length], 1), length, READ))
        at += length
    rooms = [(pci.memory.take(length, 1), length, WRITE) for length in writable]
    token = queue.add(segments + rooms)
    queue.kick()
    got, written = queue.wait()
    assert got == token
    return b"".join(pci.memory.read(address, length) for address, length, _ in rooms)[:written]


def hold(pci, count):
    """Puts chains into queue 1, where they are held: tokens and addresses."""
    queue = pci.queues[1]
    made = []
    for _ in range(count):
        address = pci.memory.put(b"\xff", 1)
        made.append((queue.add([(address, 1, WRITE)]), address))
    queue.kick()
    command(pci, b"e")
    return made


def test_the_function_is_a_virtio_one(echo):
    pci = echo()
    assert pci.bus.config_read(0, 4) == 0x106A1AF4
    assert pci.bus.config_read(8, 1) == 1
    assert pci.bus.config_read(0x2E, 2) >= 0x40
    assert set(pci.structures) == {1, 2, 3, 4, 5}
    assert pci.structures[COMMON][2] >= 64
    assert pci.offered == LIBRARY | 7
    assert pci.num_queues == 2
    assert pci.status == 0
    pci.set(22, 2, 2)
    assert (pci.get(24, 2), pci.get(26, 2)) == (0, NO_VECTOR), "there is no queue 2"
    pci.set(22, 2, 1)
    assert (pci.get(24, 2), pci.get(28, 2), pci.get(30, 2)) == (64, 0, 1)


@pytest.mark.parametrize("features", [7, VERSION_1 | 8, VERSION_1 | 1 << 24, VERSION_1 | IN_ORDER, VERSION_1 | 2, VERSION_1 | 1 << 62])
def test_features_that_do_not_fit_are_refused(echo, features):
    pci = echo()
    assert not pci.negotiate(features)
    pci.status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK
    assert not pci.status & DRIVER_OK, "without FEATURES_OK it is not kept"
    assert pci.negotiate(VERSION_1 | 3)
    pci.set(8, 4, 0)
    pci.set(12, 4, 0)
    assert pci.get(12, 4) == 3, "features are settled"


def test_registers_that_do_not_fit_are_not_taken(echo):
    pci = echo()
    pci.negotiate(VERSION_1)
    pci.set(22, 2, 0)
    for size in (0, 3, 32, 0xFFFF):
        pci.set(24, 2, size)
        assert pci.get(24, 2) == 16
    pci.set(26, 2, 100)
    assert pci.get(26, 2) == NO_VECTOR
    pci.set(16, 2, 3)
    assert pci.get(16, 2) == NO_VECTOR, "there are three vectors"
    pci.set(24, 2, 8)
    pci.set(32, 4, 0x1000)
    pci.set(28, 2, 1)
    pci.set(24, 2, 4)
    pci.set(32, 4, 0x2000)
    assert (pci.get(24, 2), pci.get(32, 4), pci.get(28, 2)) == (8, 0x1000, 1), "an enabled queue stays as it is"
    pci.set(58, 2, 1)
    assert pci.get(28, 2) == 1, "RING_RESET was not negotiated"
    pci.reset()
    pci.set(22, 2, 0)
    assert (pci.get(24, 2), pci.get(32, 4), pci.get(28, 2)) == (16, 0, 0)


@RINGS
@pytest.mark.parametrize("pieces", [([1, 1, 30], [32]), ([32], [1, 2, 3, 26]), ([5] * 6 + [2], [4] * 8)])
def test_no_assumption_on_framing(echo, packed, pieces):
    pci = echo()
    pci.start(VERSION_1 | packed)
    text = bytes(range(31))
    for _ in range(5):
        assert command(pci, b"e" + text, pieces=pieces) == text


def test_the_window_reaches_the_registers(echo):
    pci = echo()
    bar, start, _ = pci.structures[COMMON]
    assert pci.read_window(bar, start + 18, 2) == 2
    pci.write_window(bar, start + 20, 1, ACKNOWLEDGE)
    assert pci.status == ACKNOWLEDGE
    assert pci.read_window(bar, start + 20, 1) == ACKNOWLEDGE
    for wrong in ((bar, 0xFFFFFFF0, 4), (bar, start + 1, 2), (5, start, 4), (bar, start, 3)):
        pci.aim(*wrong)
        pci.bus.config_read(pci.window + 16, 4)
        pci.bus.config_write(pci.window + 16, 4, 0x55)
    assert pci.status == ACKNOWLEDGE


def test_configuration_space_and_its_generation(echo):
    pci = echo()
    pci.start(VERSION_1 | 5)
    pci.bus.take_interrupts()
    first = pci.generation
    assert [pci.config(at, 4) for at in (0, 4, 8, 12)] == [0, 0, 0, 5]
    assert pci.config(0, 2) == pci.config(6, 2) == 0
    pci.set(8, 4, 0xCAFE, DEVICE)
    assert pci.config(8, 4) == 0xCAFE
    pci.set(0, 4, 7, DEVICE)
    assert pci.config(0, 4) == 0, "read only"
    settled = pci.generation
    assert settled == pci.generation, "reading changes nothing"
    pci.isr_seen = 0
    command(pci, b"c")
    assert pci.generation == settled + 1 != first
    assert pci.config(0, 4) == pci.config(4, 4) == 1
    assert (pci.isr_seen | pci.get(0, 1, ISR)) & 2, "the ISR byte says so, with MSI-X too"
    assert pci.get(0, 1, ISR) == 0


def test_interrupts(echo):
    pci = echo()
    pci.start(VERSION_1)
    pci.bus.take_interrupts()
    queue = pci.queues[0]
    token = queue.add([(pci.memory.put(b"e"), 1, READ)])
    queue.kick()
    if pci.bus.msix:
        assert pci.bus.wait_for_interrupt() == [1]
        assert pci.get(0, 1, ISR) == 0
    else:
        assert pci.bus.wait_for_interrupt() == [0]
        assert pci.get(0, 1, ISR) == 1, "the bit is there before the interrupt"
        assert pci.get(0, 1, ISR) == 0, "and a read clears it"
        pci.bus.end_interrupt()
    assert queue.take() == (token, 0)
    pci.set(22, 2, 0)
    pci.set(26, 2, NO_VECTOR)
    queue.add([(pci.memory.put(b"e"), 1, READ)])
    queue.kick()
    while not queue.take():
        pci.get(20, 1)
    assert bool(pci.bus.take_interrupts()) == (not pci.bus.msix), "no vector is no interrupt"


@RINGS
@pytest.mark.parametrize("event", [0, EVENT_IDX], ids=["flags", "event"])
def test_suppressed_interrupts_do_not_come(echo, packed, event):
    pci = echo()
    pci.start(VERSION_1 | packed | event)
    queue = pci.queues[0]
    command(pci, b"e")
    queue.want_no_interrupt()
    pci.get(0, 1, ISR)
    pci.bus.take_interrupts()
    pci.bus.end_interrupt()
    for _ in range(20):
        token = queue.add([(pci.memory.put(b"e"), 1, READ)])
        queue.notify(queue)
        while not (found := queue.take()):
            pci.get(20, 1)
        assert found[0] == token
    assert pci.get(0, 1, ISR) == 0
    assert pci.bus.take_interrupts() == []
    queue.want_interrupt()
    queue.add([(pci.memory.put(b"e"), 1, READ)])
    queue.kick()
    assert pci.bus.wait_for_interrupt()


@RINGS
def test_one_interrupt_for_chains_that_are_completed_together(echo, packed):
    pci = echo()
    pci.start(VERSION_1 | packed | EVENT_IDX)
    made = hold(pci, 40)
    queue = pci.queues[1]
    command(pci, b"r")
    order = [queue.wait()[0] for _ in range(40)]
    assert order == [token for token, _ in reversed(made)], "the newest first"
    assert [pci.memory.read(address, 1)[0] for _, address in made] == list(range(39, -1, -1))


@RINGS
def test_chains_that_are_returned_are_taken_again(echo, packed):
    pci = echo()
    pci.start(VERSION_1 | packed | EVENT_IDX)
    for _ in range(3):
        made = hold(pci, 30)
        command(pci, b"b")
        more = hold(pci, 30)
        command(pci, b"r")
        tokens = {pci.queues[1].wait()[0] for _ in range(60)}
        assert tokens == {token for token, _ in made + more}


@RINGS
def test_in_order(echo, packed):
    """The device completes the newest first; the driver sees the oldest first."""
    pci = echo("--in-order")
    assert pci.offered & IN_ORDER
    pci.start(VERSION_1 | IN_ORDER | packed)
    for _ in range(4):
        made = hold(pci, 20)
        command(pci, b"r")
        assert [pci.queues[1].wait()[0] for _ in made] == [token for token, _ in made]


@RINGS
def test_a_reset_waits_for_chains_that_are_held(echo, packed):
    pci = echo("--slow")
    pci.start(VERSION_1 | packed)
    made = hold(pci, 3)
    pci.status = 0
    assert pci.status != 0, "the device has chains still"
    pci.status = ACKNOWLEDGE
    assert pci.status & DRIVER_OK, "nothing else is taken meanwhile"
    pci.set(8, 4, RELEASE, DEVICE)
    while pci.status:
        pass
    assert pci.queues[1].take() is None, "chains that end behind the reset are not shown"
    pci.start(VERSION_1 | packed)
    made = hold(pci, 2)
    command(pci, b"r")
    assert {pci.queues[1].wait()[0] for _ in made} == {token for token, _ in made}


@RINGS
def test_a_queue_is_reset_by_itself(echo, packed):
    pci = echo()
    pci.start(VERSION_1 | RING_RESET | packed)
    for size in (64, 16, 4):
        hold(pci, 4)
        pci.reset_queue(pci.queues[1])
        assert (pci.get(28, 2), pci.get(24, 2), pci.get(32, 4)) == (0, 64, 0), "as at first"
        assert command(pci, b"eother") == b"other", "the other queue goes on"
        pci.queues[1] = pci.make_queue(1, size)
        made = hold(pci, 4)
        command(pci, b"r")
        assert {pci.queues[1].wait()[0] for _ in made} == {token for token, _ in made}


def test_a_queue_reset_waits_for_chains_that_are_held(echo):
    pci = echo("--slow")
    pci.start(VERSION_1 | RING_RESET)
    hold(pci, 2)
    pci.set(22, 2, 1)
    pci.set(58, 2, 1)
    assert (pci.get(58, 2), pci.get(28, 2)) == (1, 1)
    command(pci, b"r")
    pci.set(22, 2, 1)
    while pci.get(58, 2):
        pass
    assert pci.get(28, 2) == 0
    assert pci.queues[1].take() is None, "what ended behind the reset is not told"


def test_a_device_that_fails_says_so(echo):
    pci = echo()
    pci.start()
    pci.bus.take_interrupts()
    queue = pci.queues[0]
    queue.add([(pci.memory.put(b"f"), 1, READ)])
    queue.kick()
    while not pci.status & NEEDS_RESET:
        pass
    assert pci.bus.wait_for_interrupt()
    assert "echo: the device is stopped until its driver resets it: it was told to" in pci.process.log.read_text()
    pci.start()
    assert command(pci, b"eagain") == b"again"


def test_kicks_before_driver_ok_are_found_then(echo):
    pci = echo()
    pci.negotiate(VERSION_1)
    pci.queues = [pci.make_queue(number) for number in range(2)]
    queue = pci.queues[0]
    room = pci.memory.take(8)
    token = queue.add([(pci.memory.put(b"eearly"), 6, READ), (room, 8, WRITE)])
    queue.notify(queue)
    assert queue.take() is None
    pci.status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK
    assert queue.wait() == (token, 5)
    assert pci.memory.read(room, 5) == b"early"


def test_bus_mastering_gates_the_rings(echo):
    pci = echo()
    pci.start()
    pci.bus.config_write(4, 2, pci.bus.config_read(4, 2) & ~4)
    queue = pci.queues[0]
    token = queue.add([(pci.memory.put(b"e"), 1, READ)])
    queue.notify(queue)
    for _ in range(20):
        pci.get(20, 1)
    assert queue.take() is None
    pci.bus.config_write(4, 2, pci.bus.config_read(4, 2) | 4)
    assert queue.wait() == (token, 0)


def test_a_reset_of_the_function(echo):
    pci = echo()
    pci.start()
    hold(pci, 3)
    pci.bus.reset()
    assert (pci.status, pci.get(12, 4)) == (0, 0)
    pci.start()
    assert command(pci, b"eagain") == b"again"


def test_private_memory_is_suspected(echo):
    """The rings are empty though the driver has notified them, as they are if the device maps other memory."""
    pci = echo()
    pci.start()
    pci.notify(pci.queues[0])
    said = "queue 0: the driver has notified it, and it is empty: the VMM may keep the guest's memory private"
    deadline = time.monotonic() + PATIENCE_S
    while said not in pci.process.log.read_text():
        assert time.monotonic() < deadline, "nothing is said"
        pci.get(20, 1)
    pci.notify(pci.queues[1])
    assert command(pci, b"ehello") == b"hello"
    pci.set(8, 4, 1, DEVICE)
    assert pci.process.log.read_text().count("the driver has notified it") == 1, "it is said once"

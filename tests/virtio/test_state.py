# SPDX-License-Identifier: BSD-3-Clause
"""The state of a virtio device goes from one process to another in the midst of its rings."""
import migration
import pytest
from guestlab import paths
from virtio_driver import EVENT_IDX, INDIRECT_DESC, IN_ORDER, NEEDS_RESET, READ, RING_PACKED, RING_RESET, VERSION_1, WRITE

PROGRAM = paths.BUILD / "release/tests/virtio/echo"
RINGS = pytest.mark.parametrize("packed", [0, RING_PACKED], ids=["split", "packed"])


def echo(pci, text):
    queue = pci.queues[0]
    room = pci.memory.take(len(text))
    token = queue.add([(pci.memory.put(b"e" + text, 1), 1 + len(text), READ), (room, len(text), WRITE)])
    queue.kick()
    assert queue.wait() == (token, len(text))
    return pci.memory.read(room, len(text))


def release(pci, count):
    pci.queues[0].add([(pci.memory.put(b"r"), 1, READ)])
    pci.queues[0].kick()
    return {pci.queues[1].wait()[0] for _ in range(count)}


def move(pci, other, state):
    """The machine of one goes on with the process of the other, which has loaded the state."""
    other.memory.write(0, pci.memory.read(0, pci.memory.free))
    other.memory.free = pci.memory.free
    migration.load(other.bus.client, state)
    other.features = pci.features
    other.queues = pci.queues
    for queue in other.queues:
        queue.memory, queue.notify, queue.wait_for_interrupt = other.memory, other.notify, other.wait_for_interrupt
    return other


def save(pci):
    migration.go(pci.bus.client, migration.STOP)
    return migration.save(pci.bus.client)


@RINGS
@pytest.mark.parametrize("wire", ["vfio-user", "vfio-user-intx"])
@pytest.mark.parametrize("extra", [0, EVENT_IDX | INDIRECT_DESC], ids=["plain", "all"])
def test_a_device_moves_with_chains_in_flight(attach, wire, packed, extra):
    pci = attach(wire, PROGRAM)
    pci.start(VERSION_1 | packed | extra | RING_RESET)
    for turn in range(3):
        for number in range(5 + turn):
            assert echo(pci, bytes([number]) * 20) == bytes([number]) * 20
        held = {pci.queues[1].add([(pci.memory.take(1), 1, WRITE)]) for _ in range(7)}
        pci.queues[1].kick()
        assert echo(pci, b"held") == b"held"
        state = save(pci)
        pci = move(pci, attach(wire, PROGRAM), state)
        assert pci.status == 15
        assert release(pci, 7) == held
        pci.queues[0].wait()
    assert not pci.status & NEEDS_RESET


def test_chains_that_are_done_out_of_order_move_too(attach):
    """IN_ORDER: the oldest is still held when the newer ones are done."""
    pci = attach("vfio-user", PROGRAM, "--in-order")
    pci.start(VERSION_1 | IN_ORDER)
    tokens = [pci.queues[1].add([(pci.memory.take(1), 1, WRITE)]) for _ in range(5)]
    pci.queues[1].kick()
    assert echo(pci, b"held") == b"held"
    pci = move(pci, attach("vfio-user", PROGRAM, "--in-order"), save(pci))
    pci.queues[0].add([(pci.memory.put(b"r"), 1, READ)])
    pci.queues[0].kick()
    assert [pci.queues[1].wait()[0] for _ in tokens] == tokens


def test_a_state_that_can_not_be_is_refused(attach):
    """Each byte of the state is turned over; the device refuses it or goes on, and is never killed by it."""
    pci = attach("vfio-user", PROGRAM)
    pci.start(VERSION_1 | RING_PACKED)
    echo(pci, b"once")
    state = save(pci)
    other = attach("vfio-user", PROGRAM)
    client = other.bus.client
    refused = 0
    for at in range(len(state)):
        changed = state[:at] + bytes([state[at] ^ 0xFF]) + state[at + 1 :]
        migration.go(client, migration.RESUMING)
        migration.write(client, changed)
        try:
            migration.go(client, migration.STOP)
            migration.go(client, migration.RUNNING)
        except Exception:  # noqa: BLE001: refused by the wire
            refused += 1
        if migration.state(client) == migration.ERROR:
            other.bus.client.ask(13)
    assert refused > 100
    assert other.process.running

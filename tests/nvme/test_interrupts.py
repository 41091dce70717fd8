# SPDX-License-Identifier: BSD-3-Clause
"""--interrupts: MSI instead of MSI-X, or INTx alone."""
import pytest
import vfio_user
from driver import (
    DOORBELLS, INTMC, INTMS, INVALID_FIELD, SUCCESS, VECTOR, Controller, Disk, Queue, pattern,
)  # fmt: skip
from migration import STOP_COPY, go, read_all
from vfio_machine import KINDS, VECTORS

READ = 0x02
SET_FEATURES, GET_FEATURES, VECTOR_CONFIGURATION = 0x09, 0x0A, 0x09
ONE_OF_EACH = pytest.mark.parametrize("interrupts", list(KINDS))


def capabilities(read):
    """The ids of the function's capabilities; read: one byte of configuration space."""
    at, ids = read(0x34), []
    while at:
        ids.append(read(at))
        at = read(at + 1)
    return ids


def read_block(machine, disk):
    """Reads one block; what take_interrupt() gave for it."""
    address = machine.pages(1)
    command = disk.start(READ, disk.queue.number, address, 512)
    told = machine.take_interrupt()
    assert disk.queue.wait(command).status == SUCCESS
    machine.end_interrupt()
    assert machine.read(address, 512) == pattern(512 * disk.queue.number, 512)
    return told


def read_unseen(machine, disk):
    """Reads a block and finds the completion without an interrupt; the queue's head stays where it was."""
    disk.start(READ, 0, machine.pages(1), 512)
    while not disk.queue.peek():
        machine.register(INTMS)
    machine.register(INTMS)


@ONE_OF_EACH
def test_what_the_function_has(guest_of, image, interrupts):
    client = guest_of(f"--image={image}", interrupts=interrupts).client
    found = capabilities(lambda offset: client.read(vfio_user.CONFIG, offset, 1)[0])
    assert found == {"msix": [0x11], "msi": [0x05], "intx": []}[interrupts]
    counts = {name: client.irq_info(KINDS[name])[3] for name in KINDS}
    assert counts == {"msix": 0, "msi": 0, "intx": 1, interrupts: VECTORS[interrupts]}
    assert client.read(vfio_user.CONFIG, 0x3D, 1) == b"\x01", "INTA"


@ONE_OF_EACH
def test_mpqemu_has_intx_alone(machine, image, interrupts):
    guest = machine(image, options=[f"--interrupts={interrupts}"])
    assert capabilities(lambda offset: guest.proxy.config_read(offset, 1)) == []
    disk = Disk(Controller(guest).create_queue())
    address = guest.pages(1)
    command = disk.start(READ, 0, address, 512)
    guest.take_interrupt()
    assert disk.queue.wait(command).status == SUCCESS
    assert guest.read(address, 512) == pattern(0, 512)


@ONE_OF_EACH
def test_vectors_that_there_are_not(guest_of, image, interrupts):
    machine = guest_of(f"--image={image}", interrupts=interrupts)
    nvme, count = Controller(machine), VECTORS[interrupts]
    queue = Queue(machine, 1)
    assert nvme.create_cq(queue, vector=count) == nvme.create_cq(queue, vector=0xFFFF) == VECTOR
    assert nvme.create_cq(queue, vector=count - 1) == SUCCESS
    for command in (SET_FEATURES, GET_FEATURES):
        for vector, status in [(count, INVALID_FIELD), (count - 1, SUCCESS)]:
            assert nvme.admin.run(command, d10=VECTOR_CONFIGURATION, d11=vector).status == status


@pytest.mark.parametrize("granted", [1, 4, 32])
def test_msi(guest_of, image, granted):
    """A guest that was granted fewer vectors than there are gets those of all queues."""
    machine = guest_of(f"--image={image}", interrupts="msi", granted=granted)
    nvme = Controller(machine)
    disks = [Disk(nvme.create_queue(number, entries=8)) for number in range(1, 65)]
    for event in machine.events:
        event.take()
    for number in (1, 2, 31, 32, 64):
        assert read_block(machine, disks[number - 1]) == [min(number, 31) % granted]


def test_msi_masked_in_configuration_space(guest_of, image):
    machine = guest_of(f"--image={image}", interrupts="msi")
    disk = Disk(Controller(machine).create_queue(3))
    at = machine.client.read(vfio_user.CONFIG, 0x34, 1)[0]
    machine.config(at + 0x10, b"\x08\x00\x00\x00")
    read_unseen(machine, disk)
    assert machine.events[3].take() == 0
    assert machine.client.read(vfio_user.CONFIG, at + 0x14, 4) == b"\x08\x00\x00\x00", "pending"
    machine.config(at + 0x10, bytes(4))
    assert machine.events[3].wait() == 1


def test_msi_masked_by_the_controller(guest_of, image):
    """Sections 3.1.3 and 3.1.4: INTMS and INTMC are for MSI as well as for INTx."""
    machine = guest_of(f"--image={image}", interrupts="msi")
    disk = Disk(Controller(machine).create_queue(3))
    machine.set_register(INTMS, 1 << 3)
    read_unseen(machine, disk)
    machine.set_register(INTMC, 1 << 4)
    assert machine.events[3].take() == 0
    machine.set_register(INTMC, 1 << 3)
    assert machine.events[3].wait() == 1
    disk.queue.take()
    machine.set_register(INTMS, 1 << 3)
    machine.set_register(INTMC, 1 << 3)
    assert machine.events[3].take() == 0, "there is nothing to tell of"


def test_intx_alone(guest_of, image):
    machine = guest_of(f"--image={image}", interrupts="intx")
    nvme = Controller(machine)
    disks = [Disk(nvme.create_queue(number, entries=8)) for number in range(1, 65)]
    machine.events[0].take()
    machine.end_interrupt()
    for number in (1, 64):
        assert read_block(machine, disks[number - 1]) == [0]
    queue = disks[0].queue
    read_unseen(machine, disks[0])
    assert machine.events[0].wait() == 1
    machine.end_interrupt()
    assert machine.events[0].wait() == 1, "the level is up still"
    assert queue.take() == 1
    machine.end_interrupt()
    machine.register(DOORBELLS)
    assert machine.events[0].take() == 0


@pytest.mark.parametrize("interrupts", ["msi", "intx"])
def test_saved_and_loaded(guest_of, attach, image, interrupts):
    options = [f"--image={image}", f"--interrupts={interrupts}"]
    machine = guest_of(options[0], interrupts=interrupts)
    disk = Disk(Controller(machine).create_queue(3))
    machine.set_register(INTMS, 1 << machine.vector(3))
    command = disk.start(READ, 3, machine.pages(1), 512)
    go(machine.client, STOP_COPY)
    data = read_all(machine.client, 4096)
    machine.process.kill()
    machine.client.close()
    for event in machine.events:
        event.take()
    machine.resume(*attach(*options), data)
    while not disk.queue.peek():
        machine.register(INTMS)
    assert not any(event.take() for event in machine.events), "masked still"
    machine.set_register(INTMC, 1 << machine.vector(3))
    assert machine.take_interrupt() == [machine.vector(3)]
    assert disk.queue.wait(command).status == SUCCESS


@ONE_OF_EACH
def test_a_state_of_another_kind_is_refused(guest_of, refused, image, interrupts):
    machine = guest_of(f"--image={image}", interrupts=interrupts)
    Controller(machine).create_queue()
    go(machine.client, STOP_COPY)
    data = read_all(machine.client, 4096)
    machine.process.kill()
    machine.client.close()
    for other in KINDS.keys() - {interrupts}:
        says = refused(data, f"--image={image}", f"--interrupts={other}")
        assert "configuration space in the state does not match this device; start it with the options of the saved device" in says

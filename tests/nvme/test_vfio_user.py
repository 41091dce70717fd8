# SPDX-License-Identifier: BSD-3-Clause
"""outboard-nvme over vfio-user: MSI-X, and memory that comes and goes region by region."""
import vfio_user
from driver import DATA_TRANSFER, MEMORY_LEN, PAGE, SUCCESS, Controller, Disk, pattern

LONGEST = 512 << 10
READ = 0x02


def test_each_queue_has_a_vector_of_its_own(guest):
    machine = guest()
    nvme = Controller(machine)
    disks = [Disk(nvme.create_queue(number, entries=8)) for number in range(1, 65)]
    for event in machine.events:
        event.take()
    for number in (1, 2, 33, 64):
        disk = disks[number - 1]
        address = machine.pages(1)
        command = disk.start(READ, number, address, 512)
        assert machine.take_interrupt() == [number]
        assert disk.queue.wait(command).status == SUCCESS
        assert machine.read(address, 512) == pattern(512 * number, 512)


def test_a_masked_vector_is_told_when_it_is_unmasked(guest):
    machine = guest()
    disk = Disk(Controller(machine).create_queue(1))
    machine.events[1].take()
    machine.client.set_irqs(vfio_user.MSIX, vfio_user.NONE | vfio_user.MASK, 1, 1)
    disk.start(READ, 0, machine.pages(1), 512)
    while not disk.queue.peek():
        machine.register(0)
    assert machine.events[1].take() == 0
    machine.client.set_irqs(vfio_user.MSIX, vfio_user.NONE | vfio_user.UNMASK, 1, 1)
    assert machine.events[1].wait() == 1


def test_unmapping_waits_for_io_in_flight(guest):
    machine, half = guest(",direct"), MEMORY_LEN // 2
    machine.client.unmap(0, MEMORY_LEN)
    machine.client.map(0, half, fds=[machine.memory_fd])
    machine.client.map(half, half, fds=[machine.memory_fd], offset=half)
    disk = Disk(Controller(machine).create_queue(1))
    buffers = [half + LONGEST * i for i in range(20)]
    commands = [disk.start(READ, i, address, LONGEST) for i, address in enumerate(buffers)]
    machine.client.unmap(half, half)
    for address in buffers:
        machine.write(address, b"\x55" * LONGEST)
    for _ in range(100):
        machine.register(0)
    assert all(machine.read(address, LONGEST) == b"\x55" * LONGEST for address in buffers)
    assert {disk.queue.wait(command).status for command in commands} <= {SUCCESS, DATA_TRANSFER}
    assert disk.run(READ, 0, buffers[0], PAGE) == DATA_TRANSFER


def test_reset(guest):
    machine = guest()
    disk = Disk(Controller(machine).create_queue(1))
    disk.start(READ, 0, machine.pages(LONGEST // PAGE), LONGEST)
    assert machine.client.ask(vfio_user.DEVICE_RESET).payload == b""
    assert machine.register(0x1C) == machine.register(0x14) == 0

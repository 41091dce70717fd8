# SPDX-License-Identifier: BSD-3-Clause
"""outboard-nvme over vfio-user: MSI-X, and memory that comes and goes region by region."""
import os
import select
import socket

import pytest
import vfio_user
from driver import (
    BAR, DATA_TRANSFER, MEMORY_LEN, PAGE, PATIENCE_S, PROGRAM, SUCCESS, Controller, Disk, Machine, pattern,
)  # fmt: skip

VECTORS = 65
TABLE = 0x2000
LONGEST = 512 << 10
READ = 0x02


class VfioMachine(Machine):
    """A machine whose VMM speaks vfio-user, and whose guest takes MSI-X."""

    def __init__(self, client):
        super().__init__(client)
        self.client = client
        self.events = [vfio_user.Event() for _ in range(VECTORS)]

    def close(self):
        super().close()
        vfio_user.close_all([event.fd for event in self.events])

    def connect(self):
        self.client.negotiate()
        self.client.map(0, MEMORY_LEN, fds=[self.memory_fd])
        for first in range(0, VECTORS, 8):
            events = self.events[first : first + 8]
            flags = vfio_user.EVENTFD | vfio_user.TRIGGER
            self.client.set_irqs(vfio_user.MSIX, flags, first, len(events), fds=[event.fd for event in events])
        self.config(0x10, BAR.to_bytes(8, "little"))
        self.config(0x04, b"\x06\x04")
        at = self.client.read(vfio_user.CONFIG, 0x34, 1)[0]
        assert self.client.read(vfio_user.CONFIG, at, 1) == b"\x11"
        assert int.from_bytes(self.client.read(vfio_user.CONFIG, at + 2, 2), "little") == VECTORS - 1
        for vector in range(VECTORS):
            self.set_register(TABLE + 16 * vector + 12, 0)
        self.config(at + 2, b"\x00\x80")

    def config(self, offset, data):
        self.client.write(vfio_user.CONFIG, offset, data)

    def register(self, offset, size=4):
        return int.from_bytes(self.client.read(0, offset, size), "little")

    def set_register(self, offset, value, size=4):
        self.client.write(0, offset, value.to_bytes(size, "little"))

    @staticmethod
    def vector(queue):
        return queue

    def take_interrupt(self):
        ready = select.select([event.fd for event in self.events], [], [], PATIENCE_S)[0]
        assert ready, "no interrupt"
        return [self.events.index(event) for event in self.events if event.fd in ready and event.take()]

    def end_interrupt(self):
        """Edges need none."""


@pytest.fixture
def guest(spawn, cleanup, image):
    """guest(image properties): a VfioMachine with a running controller."""

    def start(properties=""):
        ours, theirs = socket.socketpair()
        options = [f"--fd={theirs.fileno()}", "--wire=vfio-user", f"--image={image}{properties}"]
        spawn([PROGRAM, *options], name=f"nvme-{os.urandom(4).hex()}", inherit=[theirs])
        client = vfio_user.Client(ours)
        cleanup.callback(client.close)
        made = VfioMachine(client)
        cleanup.callback(made.close)
        made.connect()
        return made

    return start


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

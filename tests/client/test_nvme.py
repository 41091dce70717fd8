# SPDX-License-Identifier: BSD-3-Clause
"""The client as the VMM of a guest with an NVMe driver: registers, DMA and interrupts over every wire."""
import errno
import os
import select
import socket

import pytest
from driver import (
    CC, CSTS, IMAGE_LEN, LBA_RANGE, MEMORY_LEN, PATIENCE_S, PROGRAM, SUCCESS, Controller, Disk, Machine, pattern,
)  # fmt: skip
from outboard_client import ALIVE, CONFIG, MSIX, fails_with

VECTORS = 65
BLOCK = 512
READ = 0x02


class ClientMachine(Machine):
    """A machine whose VMM is the client library, and whose guest takes INTx."""

    def __init__(self, vmm):
        super().__init__(vmm)
        self.vmm = vmm

    def connect(self):
        self.vmm.publish_memory((0, MEMORY_LEN, 0, self.memory_fd))
        self.info = self.vmm.probe()
        self.vmm.place_bars()
        self.enable_interrupts()

    def enable_interrupts(self):
        self.vmm.emulate_intx()

    def register(self, offset, size=4):
        return self.vmm.bar_read(0, offset, size)

    def set_register(self, offset, value, size=4):
        self.vmm.bar_write(0, offset, size, value)

    def take_interrupt(self):
        while self.interrupts == self.vmm.interrupts:
            assert select.select([self.vmm], [], [], PATIENCE_S)[0], "no interrupt"
            self.vmm.dispatch()
        self.interrupts = self.vmm.interrupts

    def end_interrupt(self):
        self.vmm.intx_eoi()


class MsixMachine(ClientMachine):
    """One whose guest takes MSI-X: a vector a queue."""

    def __init__(self, vmm):
        super().__init__(vmm)
        self.events = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(VECTORS)]

    def close(self):
        super().close()
        for event in self.events:
            os.close(event)

    def enable_interrupts(self):
        assert self.info.vectors[MSIX] == VECTORS
        self.vmm.set_vectors(MSIX, 0, VECTORS, self.events)
        at = self.vmm.config_read(0x34, 1)
        assert self.vmm.config_read(at, 1) == 0x11
        self.vmm.config_write(at + 2, 2, 0x8000)

    @staticmethod
    def vector(queue):
        return queue

    def take_interrupt(self):
        ready = select.select(self.events, [], [], PATIENCE_S)[0]
        assert ready, "no interrupt"
        for event in ready:
            os.eventfd_read(event)
        self.interrupts += 1

    def end_interrupt(self):
        """Edges need none."""


MACHINES = {
    "mpqemu": ("mpqemu", ClientMachine),
    "mpqemu-v8": ("mpqemu-v8", ClientMachine),
    "vfio-user": ("vfio-user", ClientMachine),
    "vfio-user-msix": ("vfio-user", MsixMachine),
}


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(pattern(0, IMAGE_LEN))
    return path


@pytest.fixture
def start(spawn, client, cleanup, image):
    """start(wire, kind of machine, **client options): a machine with a running controller."""

    def make(wire, kind, **options):
        ours, theirs = socket.socketpair()
        argv = [PROGRAM, f"--fd={theirs.fileno()}", f"--wire={wire.removesuffix('-v8')}", f"--image={image}"]
        process = spawn(argv, name=f"nvme-{os.urandom(4).hex()}", inherit=[theirs])
        made = kind(client(ours, wire=wire, timeout_ms=PATIENCE_S * 1000, **options))
        cleanup.callback(made.close)
        made.process = process
        made.connect()
        return made

    return make


@pytest.fixture(params=MACHINES.values(), ids=MACHINES)
def machine(request, start):
    return start(*request.param)


def test_a_driver_reads_and_writes(machine, image):
    disk = Disk(Controller(machine).create_queue())
    assert disk.read(0, 64 << 10) == pattern(0, 64 << 10)
    written = os.urandom(1 << 20)
    for offset in range(0, len(written), 128 << 10):
        assert disk.write((1 << 20 | offset) // BLOCK, written[offset : offset + (128 << 10)]) == SUCCESS
    assert disk.flush() == SUCCESS
    assert disk.read(2048, 1 << 19) == written[: 1 << 19]
    assert image.read_bytes()[1 << 20 : 2 << 20] == written
    assert disk.run(READ, IMAGE_LEN // BLOCK, machine.pages(1), BLOCK) == LBA_RANGE
    assert machine.vmm.states == []


def test_a_completion_that_nobody_looks_for_is_told_by_an_interrupt(machine):
    disk = Disk(Controller(machine).create_queue())
    page = machine.pages(1)
    for block in range(8):
        command = disk.start(READ, block, page, BLOCK)
        while command not in disk.queue.early:  # more than one where an interrupt of before has not been taken
            machine.take_interrupt()
            disk.queue.take()
            machine.end_interrupt()
        assert disk.queue.wait(command).status == SUCCESS
        assert machine.read(page, BLOCK) == pattern(block * BLOCK, BLOCK)


def test_a_reset_with_io_in_flight(machine):
    disk = Disk(Controller(machine).create_queue())
    length = 512 << 10
    address = machine.pages(length // 4096)
    for _ in range(8):
        disk.start(READ, 0, address, length)
    machine.vmm.reset()
    machine.connect()
    assert machine.register(CSTS) == machine.register(CC) == 0
    disk = Disk(Controller(machine).create_queue())
    assert disk.read(8, BLOCK) == pattern(8 * BLOCK, BLOCK)
    assert machine.vmm.state == ALIVE


def test_memory_that_moves(machine):
    disk = Disk(Controller(machine).create_queue())
    half = MEMORY_LEN // 2
    machine.vmm.publish_memory((0, half, 0, machine.memory_fd), (2 * MEMORY_LEN, half, half, machine.memory_fd))
    assert disk.read(0, 4096) == pattern(0, 4096)
    far = 2 * MEMORY_LEN
    assert disk.run(READ, 16, far, 4096) == SUCCESS
    assert machine.read(half, 4096) == pattern(16 * BLOCK, 4096)
    assert disk.run(READ, 16, half, 4096) != SUCCESS  # where it was


def test_posted_writes_are_doorbells(start):
    machine = start("vfio-user", MsixMachine, posted_writes=True)
    disk = Disk(Controller(machine).create_queue())
    for block in range(64):
        assert disk.read(block, BLOCK) == pattern(block * BLOCK, BLOCK)


def test_a_masked_vector_keeps_its_signal(start):
    machine = start("vfio-user", MsixMachine)
    disk = Disk(Controller(machine).create_queue())
    while select.select([machine.events[1]], [], [], 0)[0]:
        os.eventfd_read(machine.events[1])
    machine.vmm.mask_vectors(MSIX, 1, 1)
    disk.start(READ, 0, machine.pages(1), BLOCK)
    while not disk.queue.peek():
        machine.register(0)
    assert not select.select([machine.events[1]], [], [], 0)[0]
    machine.vmm.mask_vectors(MSIX, 1, 1, False)
    assert select.select([machine.events[1]], [], [], PATIENCE_S)[0]


def test_vectors_that_there_are_not(start):
    machine = start("vfio-user", MsixMachine)
    for start_at, count in [(VECTORS, 1), (0, VECTORS + 1), (2**32 - 1, 2)]:
        fails_with(errno.EINVAL, machine.vmm.trigger_vectors, MSIX, start_at, count)
    fails_with(errno.EBADF, machine.vmm.set_vectors, MSIX, 0, 1, [1 << 20])
    machine.vmm.set_vectors(MSIX, 3, 2)
    machine.vmm.trigger_vectors(MSIX, 2, 2)
    assert select.select([machine.events[2]], [], [], PATIENCE_S)[0]
    assert not select.select([machine.events[3]], [], [], 0)[0]
    machine.vmm.set_vectors(MSIX, 0, 0)
    assert machine.vmm.read_bytes(CONFIG, 0, 4) == bytes.fromhex("f41af110")

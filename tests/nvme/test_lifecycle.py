# SPDX-License-Identifier: BSD-3-Clause
"""Enabling, disabling, resets, interrupts and changing memory, also in the middle of I/O."""
import os
import socket

import pytest
from driver import (
    ACQ, AQA, ASQ, CAP, CC, CFS, CSTS, DATA_TRANSFER, DOORBELLS, ENABLE, INTMC, INTMS, MEMORY_LEN, PAGE, RDY,
    SUCCESS, VS, Controller, Disk, Queue, pattern,
)  # fmt: skip

READ, WRITE = 0x02, 0x01
SHUTDOWN = 1 << 14
SHUTDOWN_DONE = 2 << 2
LONGEST = 512 << 10


def test_pci_identity(machine, image):
    proxy = machine(image).proxy
    assert proxy.config_read(0x08, 4) >> 8 == 0x010802
    proxy.config_write(0x10, 4, 0xFFFFFFFF)
    assert -(proxy.config_read(0x10, 4) & ~0xF) & 0xFFFFFFFF == 0x4000
    assert proxy.config_read(0x3D, 1) == 1


def test_registers_after_power_on(machine, image):
    guest = machine(image)
    cap = guest.register(CAP, 8)
    assert cap & 0xFFFF == 4095 and cap >> 16 & 1 and cap >> 37 & 1
    assert cap >> 32 & 0xF == 0 and cap >> 48 & 0xFF == 0
    assert guest.register(CAP) | guest.register(CAP + 4) << 32 == cap
    assert guest.register(VS) == 0x00010400
    assert [guest.register(offset) for offset in (CC, CSTS, AQA, INTMS)] == [0, 0, 0, 0]
    assert guest.register(0x3FFC) == 0


def test_registers_keep_what_is_writable(machine, image):
    guest = machine(image)
    for offset, size, value, kept in [
        (AQA, 4, 0xFFFFFFFF, 0x0FFF0FFF), (ASQ, 8, 2**64 - 1, 2**64 - PAGE), (ACQ, 8, 0x123456789, 0x123456000),
        (CAP, 8, 0, guest.register(CAP, 8)), (VS, 4, 0, 0x00010400), (CSTS, 4, 0xFFFFFFFF, 0),
    ]:  # fmt: skip
        guest.set_register(offset, value, size)
        assert guest.register(offset, size) == kept
    guest.set_register(ASQ, 0x1000, 4)
    guest.set_register(ASQ + 4, 0x2, 4)
    assert guest.register(ASQ, 8) == 0x200001000
    for size in (1, 2):  # narrower than registers are written
        guest.set_register(AQA, 0, size)
    assert guest.register(AQA) == 0x0FFF0FFF
    assert guest.register(AQA + 1, 1) == 0x0F


@pytest.mark.parametrize("cc", [ENABLE | 1 << 7, ENABLE | 1 << 4, ENABLE | 7 << 4, ENABLE | 1 << 11])
def test_what_is_not_offered_fails_the_controller(machine, image, cc):
    guest = machine(image)
    guest.set_register(AQA, 31 << 16 | 31)
    guest.set_register(CC, cc)
    assert guest.register(CSTS) == CFS
    guest.set_register(CC, 0)
    assert guest.register(CSTS) == 0
    assert Controller(guest).identify(1)


@pytest.mark.parametrize("where", [MEMORY_LEN, 2**64 - PAGE])
@pytest.mark.parametrize("register", [ASQ, ACQ])
def test_admin_queues_outside_of_memory(machine, image, register, where):
    guest = machine(image)
    admin = Queue(guest, 0, 32)
    guest.set_register(AQA, 31 << 16 | 31)
    guest.set_register(ASQ, admin.sq, 8)
    guest.set_register(ACQ, admin.cq, 8)
    guest.set_register(register, where, 8)
    guest.set_register(CC, ENABLE)
    admin.submit(0x06, prp1=guest.pages(1), d10=1)
    nvme = object.__new__(Controller)
    nvme.machine = guest
    nvme.wait_status(CFS, CFS)
    nvme.disable()
    assert Controller(guest).identify(1)


def start_reads(nvme, count=40):
    disk = Disk(nvme.create_queue(1))
    buffers = [nvme.machine.pages(LONGEST // PAGE) for _ in range(count)]
    for i, address in enumerate(buffers):
        disk.start(READ, i, address, LONGEST)
    return buffers


def nothing_writes(machine, buffers):
    """Fills the buffers and looks, some round trips later, whether all is as it was."""
    for address in buffers:
        machine.write(address, b"\x55" * LONGEST)
    for _ in range(200):
        machine.register(VS)
    return all(machine.read(address, LONGEST) == b"\x55" * LONGEST for address in buffers)


def test_disable_in_the_middle_of_io(controller, image):
    nvme = controller(f"{image},direct")
    buffers = start_reads(nvme)
    nvme.disable()
    assert nothing_writes(nvme.machine, buffers)
    nvme.admin = nvme.enable()
    assert Disk(nvme.create_queue(1)).read(0, 512) == pattern(0, 512)


def test_reset_in_the_middle_of_io(controller, image):
    nvme = controller(f"{image},direct")
    buffers = start_reads(nvme)
    machine = nvme.machine
    machine.proxy.ask(machine.proxy.reset())
    machine.place()
    assert machine.register(CC) == machine.register(CSTS) == machine.register(AQA) == 0
    assert nothing_writes(machine, buffers)
    assert Controller(machine).identify(1)


def test_queues_deleted_in_the_middle_of_io(controller, image):
    nvme = controller(f"{image},direct")
    buffers = start_reads(nvme)
    assert nvme.delete_sq(1) == SUCCESS
    assert nothing_writes(nvme.machine, buffers)
    assert nvme.delete_cq(1) == SUCCESS
    assert Disk(nvme.create_queue(1)).read(0, 512) == pattern(0, 512)


def test_memory_taken_back_in_the_middle_of_io(controller, image):
    """The upper half of memory goes while reads into it are in flight; what was there is not touched any more."""
    nvme = controller(f"{image},direct")
    machine, half = nvme.machine, MEMORY_LEN // 2
    machine.map([(0, half, 0), (half, half, half)])
    disk = Disk(nvme.create_queue(1))
    machine.free = half
    buffers = [machine.pages(LONGEST // PAGE) for _ in range(20)]
    machine.free = half // 2
    commands = [disk.start(READ, i, address, LONGEST) for i, address in enumerate(buffers)]
    machine.map([(0, half, 0)])
    machine.register(VS)  # answered after the memory has changed
    assert nothing_writes(machine, buffers)
    statuses = {disk.queue.wait(command).status for command in commands}
    assert statuses <= {SUCCESS, DATA_TRANSFER}
    assert disk.run(READ, 0, buffers[0], 512) == DATA_TRANSFER
    machine.map([(0, MEMORY_LEN, 0)])
    assert disk.run(READ, 0, buffers[0], 512) == SUCCESS


def test_memory_that_comes_back_the_same_disturbs_nothing(controller, image):
    nvme = controller(f"{image},direct")
    disk = Disk(nvme.create_queue(1))
    address = nvme.machine.pages(LONGEST // PAGE)
    for _ in range(20):
        command = disk.start(READ, 0, address, LONGEST)
        nvme.machine.map([(0, MEMORY_LEN, 0)])
        assert disk.queue.wait(command).status == SUCCESS


def test_no_memory_at_all_fails_the_controller(controller, image):
    nvme = controller(image)
    nvme.machine.map([])
    nvme.admin.submit(0x06, prp1=PAGE, d10=1)
    nvme.wait_status(CFS, CFS)
    nvme.machine.map([(0, MEMORY_LEN, 0)])
    nvme.disable()
    nvme.admin = nvme.enable()
    assert nvme.identify(1)


def test_shutdown_flushes_and_ends(controller, image):
    nvme = controller(image)
    disk = Disk(nvme.create_queue(1))
    data = os.urandom(4096)
    assert disk.write(0, data) == SUCCESS
    nvme.machine.set_register(CC, ENABLE | SHUTDOWN)
    assert nvme.wait_status(0xC, SHUTDOWN_DONE) == RDY | SHUTDOWN_DONE
    assert image.read_bytes()[:4096] == data
    nvme.machine.set_register(CC, 0)
    assert nvme.wait_status(RDY, 0) == 0
    nvme.admin = nvme.enable()
    assert Disk(nvme.create_queue(1)).read(0, 4096) == data


def test_interrupt_is_up_while_completions_wait(controller, image):
    nvme = controller(image)
    machine = nvme.machine
    queue = nvme.create_queue(1)
    while machine.interrupt_is_up():
        nvme.admin.take()
    commands = [queue.put(READ, 1, machine.pages(1), d12=0) for _ in range(3)]
    queue.ring()
    machine.take_interrupt()
    machine.set_register(INTMS, 1)
    assert not machine.interrupt_is_up()
    assert machine.register(INTMS) == machine.register(INTMC) == 1
    machine.set_register(INTMC, 1)
    assert machine.interrupt_is_up()
    for command in commands:
        queue.wait(command)
    assert not machine.interrupt_is_up()


def test_the_end_of_an_interrupt_with_completions_left_raises_it_again(controller, image):
    nvme = controller(image)
    machine = nvme.machine
    queue = nvme.create_queue(1)
    while machine.interrupt_is_up():
        nvme.admin.take()
    queue.submit(READ, 1, machine.pages(1), d12=0)
    machine.take_interrupt()
    machine.end_interrupt()  # nothing was taken
    machine.take_interrupt()
    assert queue.take() == 1


def test_polled_queue_raises_no_interrupt(controller, image):
    nvme = controller(image)
    queue = Queue(nvme.machine, 1)
    assert nvme.create_cq(queue, flags=1) == SUCCESS
    assert nvme.create_sq(queue) == SUCCESS
    while nvme.machine.interrupt_is_up():
        nvme.admin.take()
    queue.submit(READ, 1, nvme.machine.pages(1), d12=0)
    while not queue.peek():
        nvme.machine.register(CSTS)
    assert not nvme.machine.interrupt_is_up()


def test_no_bus_master_no_dma(controller, image):
    nvme = controller(image)
    machine = nvme.machine
    machine.proxy.config_write(0x04, 2, 0x0002)
    page = machine.pages(1)
    nvme.admin.submit(0x06, prp1=page, d10=1)
    nvme.wait_status(CFS, CFS)
    assert machine.read(page, PAGE) == bytes(PAGE)


def test_the_peer_goes_in_the_middle_of_io(controller, image):
    nvme = controller(f"{image},direct")
    start_reads(nvme)
    nvme.machine.proxy.sock.shutdown(socket.SHUT_RDWR)
    assert nvme.machine.process.wait() == 0


def test_the_end_by_sigterm(controller, image):
    nvme = controller(image)
    start_reads(nvme)
    assert nvme.machine.process.terminate() == 0


def test_write_doorbell_while_disabled(machine, image):
    guest = machine(image)
    guest.set_register(DOORBELLS, 1)
    assert Controller(guest).identify(1)

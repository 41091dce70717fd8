# SPDX-License-Identifier: BSD-3-Clause
"""Shadow doorbells of outboard-nvme, by a driver that writes registers only when the event index asks for it."""
import os
import random
import struct

import pytest
import vfio_user
from driver import DOORBELLS, IMAGE_LEN, INVALID_FIELD, PAGE, SUCCESS, Controller, Disk, Queue, pattern

IDENTIFY_CONTROLLER = 1
OACS, OACS_SHADOW = 256, 1 << 8
DOORBELL_BUFFER = 0x7C
READ, WRITE = 0x02, 0x01


class ShadowQueue(Queue):
    """A queue whose doorbells are in memory."""

    doorbells = events = None

    def ring(self):
        self._set(2 * self.number, self.tail)

    def take(self):
        machine = self.machine
        self.machine = _Quiet(machine)  # Queue.take() would write the register
        taken = super().take()
        self.machine = machine
        if taken:
            self._set(2 * self.number + 1, self.head)
        return taken

    def _set(self, index, value):
        """Section 7.13 of the specification, with Linux's arithmetic."""
        at = 4 * index
        (old,) = struct.unpack("<I", self.machine.read(self.doorbells + at, 4))
        self.machine.write(self.doorbells + at, struct.pack("<I", value))
        os.sched_yield()  # a system call, which orders the two accesses
        (event,) = struct.unpack("<I", self.machine.read(self.events + at, 4))
        if (value - event - 1) & 0xFFFF < (value - old) & 0xFFFF:
            self.machine.set_register(DOORBELLS + at, value)


class _Quiet:
    """A machine whose registers are not written."""

    def __init__(self, machine):
        self.read = machine.read

    def set_register(self, offset, value):
        pass


def create_shadow_queue(controller, entries=64):
    identity = controller.identify(IDENTIFY_CONTROLLER)
    assert struct.unpack_from("<H", identity, OACS)[0] & OACS_SHADOW
    queue = ShadowQueue(controller.machine, 1, entries)
    assert controller.create_cq(queue) == controller.create_sq(queue) == SUCCESS
    queue.doorbells, queue.events = controller.machine.pages(1), controller.machine.pages(1)
    assert controller.admin.run(DOORBELL_BUFFER, prp1=queue.doorbells, prp2=queue.events).status == SUCCESS
    queue.controller = controller
    return queue


@pytest.fixture
def shadow_queue(controller):
    """shadow_queue(image, entries): a ShadowQueue of a controller with that image."""
    return lambda image, entries=64: create_shadow_queue(controller(image), entries)


def test_pages_must_be_pages(controller, image):
    made = controller(image)
    page = made.machine.pages(2)
    for prp1, prp2 in ((page + 8, page + PAGE), (page, page + PAGE + 2048)):
        assert made.admin.run(DOORBELL_BUFFER, prp1=prp1, prp2=prp2).status == INVALID_FIELD


@pytest.mark.parametrize("entries", [2, 5, 64])
def test_one_command_at_a_time(shadow_queue, image, entries):
    """Each wakes a controller that may or may not have gone to sleep; none is missed."""
    disk = Disk(shadow_queue(image, entries))
    for i in range(500):
        assert disk.read(i % 100, 512) == pattern(512 * (i % 100), 512)
        disk.machine.free -= PAGE


def test_bursts_of_any_length(shadow_queue, image):
    queue = shadow_queue(image)
    machine = queue.machine
    pages = [machine.pages(1) for _ in range(60)]
    numbers = random.Random(7)
    for _ in range(60):
        burst = {}
        for page in pages[: numbers.randrange(1, len(pages))]:
            block = numbers.randrange(IMAGE_LEN // 512)
            burst[queue.put(READ, 1, page, d10=block)] = page, block
            if numbers.random() < 0.3:
                queue.ring()
        queue.ring()
        for command, (page, block) in burst.items():
            assert queue.wait(command).status == SUCCESS
            assert machine.read(page, 512) == pattern(512 * block, 512)
    machine.interrupt_is_up()  # any message has the controller look at the heads
    assert not machine.interrupt_is_up()


def test_a_doorbell_that_ends_intx_lowers_it(guest_of, image):
    """QEMU without KVM takes the write for the end of the interrupt, and tells of it in the next message. A level that is up
    still would then interrupt a guest that has nothing to read, and nothing to write, again and again."""
    machine = guest_of(f"--image={image}", interrupts="intx")
    client, event = machine.client, machine.events[0]
    queue = create_shadow_queue(Controller(machine))
    event.take()
    machine.end_interrupt()
    for _ in range(20):
        queue.put(READ, 1, machine.pages(1))
        queue.ring()
        assert event.wait() == 1
        messages = []
        client.send_raw = lambda data, fds=(): messages.append(data)
        machine.set_register = lambda at, value: client.post(0, at, struct.pack("<I", value))
        assert queue.take() == 1
        unmask = vfio_user.IRQ_SET.pack(20, vfio_user.NONE | vfio_user.UNMASK, vfio_user.INTX, 0, 1)
        id = client.send(vfio_user.SET_IRQS, unmask)
        del client.send_raw, machine.set_register
        assert len(messages) == 2, "the event index asks for every change of the head"
        client.send_raw(b"".join(messages))
        assert client.receive().id == id
        assert event.take() == 0


def test_a_disabled_controller_forgets_them(shadow_queue, image):
    queue = shadow_queue(image)
    made, machine = queue.controller, queue.machine
    made.disable()
    machine.write(queue.events, b"\xaa" * PAGE)
    made.admin = made.enable()
    disk = Disk(made.create_queue())
    machine.write(queue.doorbells, b"\x07\0\0\0" * 16)
    assert disk.read(3, 512) == pattern(3 * 512, 512)
    assert machine.read(queue.events, PAGE) == b"\xaa" * PAGE

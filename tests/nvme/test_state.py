# SPDX-License-Identifier: BSD-3-Clause
"""The controller's state, saved by one process and loaded by another, with I/O in flight."""
import os
import random
import select
import struct

import pytest
import vfio_user
from driver import (
    ABORTED, CSTS, DOORBELLS, IMAGE_LEN, INTMS, PAGE, RDY, SUCCESS, Controller, Disk, pattern,
)  # fmt: skip
from migration import (
    DEVICE_STATE, FEATURE, RESUMING, RUNNING, SET, STOP, STOP_COPY, go, read_all, write,
)  # fmt: skip

READ, WRITE, FLUSH, COMPARE = 0x02, 0x01, 0x00, 0x05
EVENT, ABORT, SET_FEATURES, GET_FEATURES = 0x0C, 0x08, 0x09, 0x0A
BLOCK = 512
SLOT = 16384  # bytes that one command of the load works on


def save(machine):
    """Stops and saves; the process is then killed, as a machine that goes away would."""
    go(machine.client, STOP_COPY)
    data = read_all(machine.client, 4096)
    machine.process.kill()
    machine.client.close()
    return data


def ask_for(client, wanted):
    """Asks for a state without waiting until it is reached; the id of the message."""
    return client.send(FEATURE, struct.pack("<IIII", 16, SET | DEVICE_STATE, wanted, 0))


class Load:
    """Commands at depth on several queues, each on a slot of its own, whose outcome is known."""

    def __init__(self, machine, controller, image_len=IMAGE_LEN, seed=0):
        self.machine = machine
        self.random = random.Random(seed)
        self.queues = [controller.create_queue(number, entries=48) for number in range(1, 5)]
        self.slots = list(range(image_len // SLOT))
        self.random.shuffle(self.slots)
        self.expected = {}  # what the image holds in the slots that were written
        self.started = []

    def start(self, count):
        """Starts so many commands on each queue, in bursts of any length."""
        for queue in self.queues:
            for _ in range(count):
                self.put(Disk(queue), self.slots.pop())
                if self.random.random() < 0.3:
                    queue.ring()
            queue.ring()

    def put(self, disk, slot):
        while disk.queue.submitted - disk.queue.completed >= disk.queue.entries - 1:
            disk.queue.ring()
            if not disk.queue.take():
                self.machine.take_interrupt()
        address = self.machine.pages(SLOT // PAGE + 1)
        opcode = self.random.choice((READ, WRITE, WRITE, COMPARE))
        held = pattern(slot * SLOT, SLOT)
        if opcode == WRITE:
            held = self.expected[slot] = self.random.randbytes(SLOT)
        if opcode != READ:
            self.machine.write(address, held)
        prp1, prp2 = self.lists(address)
        command = disk.queue.put(opcode, 1, prp1, prp2, d10=slot * (SLOT // BLOCK), d12=SLOT // BLOCK - 1)
        self.started.append((disk.queue, command, opcode, address, held))

    def lists(self, address):
        """PRPs with a list behind the data, so that a command that begins anew reads it again."""
        pages = [address + PAGE * number for number in range(1, SLOT // PAGE)]
        at = address + SLOT
        self.machine.write(at, struct.pack(f"<{len(pages)}Q", *pages))
        return address, at

    def finish(self):
        """Waits for all, and looks at what each has left."""
        for queue, command, opcode, address, held in self.started:
            assert queue.wait(command).status == SUCCESS
            if opcode == READ:
                assert self.machine.read(address, SLOT) == held
        for queue in self.queues:
            queue.run(FLUSH, 1)
            assert queue.completed == queue.submitted, "each command is completed once"
            assert not queue.early

    def settle(self):
        """Waits until nothing is in flight."""
        for queue in self.queues:
            while queue.completed < queue.submitted:
                if not queue.take():
                    self.machine.take_interrupt()

    def check(self, path):
        data = path.read_bytes()
        for slot in range(len(data) // SLOT):
            held = self.expected.get(slot, pattern(slot * SLOT, SLOT))
            assert data[slot * SLOT :][:SLOT] == held, f"slot {slot}"


@pytest.mark.parametrize("properties", ["", ",direct"])
def test_io_goes_on_in_another_process(guest_of, attach, image, properties):
    option = f"--image={image}{properties}"
    machine = guest_of(option)
    load = Load(machine, Controller(machine))
    for _ in range(4):
        load.start(15)
        data = save(machine)
        machine.resume(*attach(option), data)
        load.start(15)
    load.finish()
    assert machine.process.terminate() == 0
    load.check(image)


def test_io_that_is_really_in_flight(guest_of, attach, nbdkit, gate, image):
    """All commands are with the server when the controller is asked to stop, which it does when they have ended."""
    uri, _ = nbdkit(gate.options[0], "file", image, gate.options[1])
    machine = guest_of(f"--image={uri},serial=MOVES")
    load = Load(machine, Controller(machine))
    for _ in range(3):
        load.settle()
        gate.shut()
        load.start(20)
        ask_for(machine.client, STOP_COPY)
        assert not any(queue.peek() for queue in load.queues)
        assert not select.select([machine.client.socket], [], [], 0)[0], "answered, though commands are in flight"
        gate.open()
        machine.client.receive()
        data = read_all(machine.client, 4096)
        machine.process.kill()
        machine.client.close()
        machine.resume(*attach(f"--image={uri},serial=MOVES"), data)
    load.finish()
    assert machine.process.terminate() == 0
    load.check(image)


def test_commands_that_the_stopped_controller_was_told_of(guest_of, attach, image):
    """Doorbells that ring while the controller is stopped count when it runs again, wherever that is."""
    machine = guest_of(f"--image={image}")
    load = Load(machine, Controller(machine))
    go(machine.client, STOP)
    load.start(40)
    assert all(not queue.peek() for queue in load.queues)
    data = save(machine)
    machine.resume(*attach(f"--image={image}"), data)
    load.finish()
    machine.process.terminate()
    load.check(image)


def test_nothing_is_touched_once_the_controller_has_stopped(guest_of, nbdkit, image):
    uri, _ = nbdkit("--filter=delay", "file", image, "rdelay=50ms")
    machine = guest_of(f"--image={uri}")
    load = Load(machine, Controller(machine))
    load.start(40)
    go(machine.client, STOP)
    memory = bytes(machine.memory)
    for event in machine.events:
        event.take()
    for _ in range(200):
        machine.register(CSTS)
    assert bytes(machine.memory) == memory
    assert not any(event.take() for event in machine.events)
    go(machine.client, RUNNING)
    load.finish()


def test_what_is_asked_while_the_controller_stops_is_answered_behind(guest_of, nbdkit, gate, image):
    uri, _ = nbdkit(gate.options[0], "file", image, gate.options[1])
    machine = guest_of(f"--image={uri}")
    disk = Disk(Controller(machine).create_queue())
    client = machine.client
    gate.shut()
    command = disk.start(READ, 0, machine.pages(1), PAGE)
    stop = ask_for(client, STOP)
    asked = [client.send(vfio_user.REGION_READ, vfio_user.ACCESS.pack(CSTS, 0, 4)) for _ in range(3)]
    assert not disk.queue.peek()
    gate.open()
    assert client.receive().id == stop
    assert disk.queue.peek().command_id == command, "it has ended before the answer"
    for id in asked:
        reply = client.receive()
        assert (reply.id, reply.payload[16:]) == (id, struct.pack("<I", RDY))


def test_sigterm_while_the_controller_stops(guest_of, nbdkit, image):
    uri, _ = nbdkit("--filter=delay", "file", image, "rdelay=60")
    machine = guest_of(f"--image={uri}")
    disk = Disk(Controller(machine).create_queue())
    disk.start(READ, 0, machine.pages(1), PAGE)
    ask_for(machine.client, STOP)
    assert machine.process.terminate() == 0


def test_what_a_guest_can_see_is_the_same(guest_of, attach, image):
    machine = guest_of(f"--image={image}")
    nvme = Controller(machine)
    admin = nvme.admin
    assert admin.run(0x7F).status == 0x001
    assert admin.run(SET_FEATURES, d10=6, d11=0).status == SUCCESS
    assert admin.run(SET_FEATURES, d10=9, d11=3 | 1 << 16).status == SUCCESS
    disk = Disk(nvme.create_queue())
    assert disk.write(0, os.urandom(PAGE)) == SUCCESS
    events = [admin.submit(EVENT) for _ in range(4)]
    machine.set_register(INTMS, 0x5)
    machine.set_register(DOORBELLS + 8 * 50, 1)
    assert admin.wait(events[0]).result == 0x010000
    # Reading the log would acknowledge the event, so it is retained.
    logs = [nvme.log_page(page, length, retain=True) for page, length in ((1, 4096), (2, 512))]
    registers = [machine.register(offset, 8) for offset in range(0, 0x40, 8)]
    config = machine.client.read(vfio_user.CONFIG, 0, 256)
    data = save(machine)  # and its process has ended, which had the image locked
    machine.resume(*attach(f"--image={image}"), data)
    assert [machine.register(offset, 8) for offset in range(0, 0x40, 8)] == registers
    assert machine.client.read(vfio_user.CONFIG, 0, 256) == config
    assert admin.run(GET_FEATURES, d10=6).result == 0
    assert admin.run(GET_FEATURES, d10=9, d11=3).result == 3 | 1 << 16
    assert [nvme.log_page(page, length, retain=True) for page, length in ((1, 4096), (2, 512))] == logs
    machine.set_register(DOORBELLS + 8 * 50, 1)
    assert events[1] not in admin.early and not admin.peek(), "silent until the log has been read"
    nvme.log_page(1, 64)
    assert admin.wait(events[1]).result == 0x010000
    assert admin.run(ABORT, d10=events[3] << 16).result == 0
    assert admin.wait(events[3]).status == ABORTED


def test_saved_again_and_again(guest_of, attach, image):
    """What was loaded, and not run, saves as it was."""
    option = f"--image={image}"
    machine = guest_of(option)
    load = Load(machine, Controller(machine))
    go(machine.client, STOP)
    load.start(10)
    data = save(machine)
    client, process = attach(option)
    machine.client, machine.process = client, process
    machine.share()
    go(client, RESUMING)
    for at in range(0, len(data), 4096):
        write(client, data[at : at + 4096])
    again = save(machine)
    assert again[:-8] == data[:-8], "but for the time since power on"
    machine.resume(*attach(option), again)
    load.finish()


@pytest.fixture
def saved(guest_of, image):
    """The state of a controller with one image, and a command that waits."""
    machine = guest_of(f"--image={image},serial=MOVES")
    load = Load(machine, Controller(machine))
    go(machine.client, STOP)
    load.start(1)
    return save(machine)


def test_other_images_are_refused_with_the_reason(saved, refused, image, tmp_path):
    small, other = tmp_path / "small.img", tmp_path / "other.img"
    small.write_bytes(bytes(IMAGE_LEN - BLOCK))
    other.write_bytes(bytes(IMAGE_LEN))
    for says, options in [
        ("got 16383 blocks, expected 16384", [f"--image={small},serial=MOVES"]),
        ("serial number: the state has 'MOVES'", [f"--image={other}"]),
        ("block-size=512", [f"--image={image},serial=MOVES,block-size=4096"]),
        ("leave out 'readonly'", [f"--image={image},serial=MOVES,readonly"]),
        ("images: the state has 1, this controller has 2", [f"--image={image},serial=MOVES", f"--image={other}"]),
    ]:
        assert says in refused(saved, *options)


def test_damage_is_refused_with_the_reason(saved, refused, image):
    option = f"--image={image},serial=MOVES"
    own = saved.index(b"MOVES")
    assert "save it again" in refused(saved[: own - 4] + struct.pack("<I", 100) + saved[own : own + 100], option)
    assert "too short or too long" in refused(saved[:-1], option)
    assert "too short or too long" in refused(saved + b"x", option)
    registers_at = own + 20 + 1 + 27
    broken = bytearray(saved)
    broken[registers_at] = 7
    assert "the state is damaged: a register is impossible" in refused(bytes(broken), option)


def test_the_state_of_another_device_is_refused(saved, refused, image):
    broken = bytearray(saved)
    broken[9:13] = b"disk"
    assert "another device, 'disk'" in refused(bytes(broken), f"--image={image},serial=MOVES")
    broken = bytearray(saved)
    broken[13] = 2
    assert "version: got 2, expected at most 1" in refused(bytes(broken), f"--image={image},serial=MOVES")


def test_an_image_that_has_grown_is_announced(guest_of, attach, image):
    machine = guest_of(f"--image={image},serial=MOVES")
    nvme = Controller(machine)
    assert nvme.admin.run(SET_FEATURES, d10=0x0B, d11=1 << 8).status == SUCCESS
    event = nvme.admin.submit(EVENT)
    data = save(machine)
    os.truncate(image, IMAGE_LEN + PAGE)
    machine.resume(*attach(f"--image={image},serial=MOVES"), data)
    assert nvme.admin.wait(event).result == 0x040002
    assert struct.unpack_from("<I", nvme.log_page(4, 4096)) == (1,)
    assert struct.unpack_from("<Q", nvme.identify(0, 1)) == ((IMAGE_LEN + PAGE) // BLOCK,)

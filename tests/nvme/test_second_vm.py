# SPDX-License-Identifier: BSD-3-Clause
"""A disk whose VM has gone touches nothing of the next one until that resets the controller or goes on with it."""
import os
import struct

import pytest
import vfio_user
from driver import CSTS, DOORBELLS, IMAGE_LEN, MEMORY_LEN, PAGE, PROGRAM, RDY, SUCCESS, Controller, Disk
from server import Server
from vfio_machine import VfioMachine

READ, SET_FEATURES, EVENT_REQUEST, DOORBELL_BUFFERS = 0x02, 0x09, 0x0C, 0x7C
# Each 64 bytes of the next guest's memory look like a write of block 0 from address 10000h, and like doorbells that moved.
FILL = struct.pack("<BBHIQQQQ6I", 1, 0, 0x1234, 1, 5, 0, 0x10000, 0, 0, 0, 0, 0, 0, 0)


@pytest.fixture
def server(tmp_path, image):
    made = Server(tmp_path, PROGRAM, f"--image={image}", "--timeout-ms=1000", "--interrupts=msix")
    yield made
    made.end()


@pytest.fixture
def machine_of(server, cleanup):
    def make():
        made = VfioMachine(server.connect())
        cleanup.callback(made.close)
        return made

    return make


def first_vm(machine_of, shadow=False):
    """A VM that goes with its controller enabled, I/O queues in place and an event request outstanding."""
    machine = machine_of()
    machine.connect()
    nvme = Controller(machine)
    Disk(nvme.create_queue())
    if shadow:
        assert nvme.admin.run(DOORBELL_BUFFERS, prp1=machine.pages(1), prp2=machine.pages(1)).status == SUCCESS
    assert nvme.admin.run(SET_FEATURES, d10=0xB, d11=0x100).status == SUCCESS
    nvme.admin.submit(EVENT_REQUEST)
    assert machine.register(CSTS) == RDY
    machine.client.close()
    return machine


def fill(machine):
    machine.memory[:] = FILL * (MEMORY_LEN // len(FILL))


def changed(machine):
    """Addresses of the pages that are not as filled."""
    page = FILL * (PAGE // len(FILL))
    return [hex(at) for at in range(0, MEMORY_LEN, PAGE) if machine.memory[at : at + PAGE] != page]


def look_around(machine):
    """Messages after each of which an awake controller is polled; none of them is an access to it."""
    for _ in range(50):
        machine.client.read(vfio_user.CONFIG, 0, 64)
        machine.config(0x3C, b"\x0b")


@pytest.mark.parametrize("shadow", [False, True], ids=["registers", "shadow doorbells"])
def test_memory_of_the_next_guest_is_its_own_until_the_reset(machine_of, image, shadow):
    first_vm(machine_of, shadow)
    disk = image.read_bytes()
    machine = machine_of()
    fill(machine)
    machine.share()
    look_around(machine)
    assert not changed(machine)
    machine.client.ask(vfio_user.DEVICE_RESET)
    look_around(machine)
    assert not changed(machine)
    assert not any(event.take() for event in machine.events)
    assert image.read_bytes() == disk
    assert machine.register(CSTS) == 0


def test_an_event_that_comes_in_between_waits_for_who_goes_on(machine_of, image):
    """The image grows while nobody has the disk. Its event request completes where the VM goes on, not before."""
    before = first_vm(machine_of)
    os.truncate(image, IMAGE_LEN + 4096)
    machine = machine_of()
    machine.memory[:] = before.memory[:]
    machine.share()
    as_it_was = machine.memory[:]
    look_around(machine)
    assert machine.memory[:] == as_it_was
    assert not any(event.take() for event in machine.events)
    assert machine.register(CSTS) == RDY, "the controller goes on, unharmed"
    assert machine.events[0].wait() == 1
    assert machine.memory[:] != as_it_was


def test_a_vm_that_goes_on_finds_its_controller(machine_of):
    before = first_vm(machine_of)
    machine = machine_of()
    machine.memory[:] = before.memory[:]
    machine.share()
    assert machine.register(CSTS) == RDY


def test_a_first_command_of_zeroes_is_said_once_for_each_vm(server, machine_of):
    """What a device reads of memory that the VMM keeps private."""
    for _ in range(2):
        machine = machine_of()
        machine.connect()
        nvme = Controller(machine)
        machine.write(nvme.admin.sq, bytes(128))
        machine.set_register(DOORBELLS, 2)
        machine.client.ask(vfio_user.DEVICE_RESET)
        machine.client.close()
    assert server.messages().count("share=on") == 2

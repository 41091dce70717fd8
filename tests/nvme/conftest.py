# SPDX-License-Identifier: BSD-3-Clause
"""outboard-nvme as a process, and a driver for it."""
import errno
import os
import socket
import struct

import driver
import migration
import mpqemu
import nbd_server
import pytest
import vfio_user
from driver import IMAGE_LEN, PROGRAM, pattern
from vfio_machine import VfioMachine


@pytest.fixture
def image(tmp_path):
    """A disk image of 8 MiB that reads as its offsets."""
    path = tmp_path / "disk.img"
    path.write_bytes(pattern(0, IMAGE_LEN))
    return path


@pytest.fixture
def attach_to(spawn, cleanup):
    """attach_to(argv...): a Machine in front of the device that a command makes; the process is machine.process."""

    def start(*argv):
        ours, theirs = socket.socketpair()
        process = spawn(
            [*argv, f"--fd={theirs.fileno()}"], name=f"nvme-{os.urandom(4).hex()}", inherit=[theirs]
        )  # fmt: skip
        proxy = cleanup.enter_context(mpqemu.Proxy(ours))
        made = driver.Machine(proxy)
        cleanup.callback(made.close)
        made.process = process
        made.connect()
        return made

    return start


@pytest.fixture
def machine(attach_to):
    """machine(image option..., options=[...]): a Machine with a running controller; its process is machine.process."""

    def start(*images, options=()):
        return attach_to(PROGRAM, *(f"--image={image}" for image in images), *options)

    return start


@pytest.fixture
def controller(machine):
    """controller(image option..., options=[...]): a driver.Controller, enabled."""

    def start(*images, options=()):
        return driver.Controller(machine(*images, options=options))

    return start


@pytest.fixture
def disk(controller, image):
    """Namespace 1 of a controller with the image, through queue 1; disk.controller is the driver."""
    made = controller(image)
    found = driver.Disk(made.create_queue())
    found.controller = made
    return found


@pytest.fixture
def attach(spawn, cleanup):
    """attach(option...): outboard-nvme over vfio-user, and a client of it that has said nothing yet."""

    def start(*options):
        ours, theirs = socket.socketpair()
        argv = [PROGRAM, f"--fd={theirs.fileno()}", "--wire=vfio-user", *options]
        process = spawn(argv, name=f"nvme-{os.urandom(4).hex()}", inherit=[theirs])
        client = vfio_user.Client(ours)
        cleanup.callback(client.close)
        return client, process

    return start


@pytest.fixture
def guest_of(attach, cleanup):
    """guest_of(option..., interrupts=...): a VfioMachine with a running controller; its process is machine.process."""

    def start(*options, interrupts="msix", granted=None):
        client, process = attach(f"--interrupts={interrupts}", *options)
        made = VfioMachine(client, interrupts, granted)
        cleanup.callback(made.close)
        made.process = process
        made.connect()
        return made

    return start


@pytest.fixture
def guest(guest_of, image):
    """guest(image properties): a VfioMachine with the image."""
    return lambda properties="": guest_of(f"--image={image}{properties}")


@pytest.fixture
def refused(attach):
    """refused(state, option...): what a process says that is given the state and must refuse it."""

    def refuse(data, *options):
        client, process = attach(*options)
        client.negotiate()
        migration.go(client, migration.RESUMING)
        for at in range(0, len(data), 65536):
            migration.write(client, data[at : at + 65536])
        request = struct.pack("<IIII", 16, migration.SET | migration.DEVICE_STATE, migration.RUNNING, 0)
        with pytest.raises(vfio_user.ServerError) as caught:
            client.ask(migration.FEATURE, request)
        assert caught.value.errno == errno.EINVAL
        assert migration.state(client) == migration.ERROR
        client.ask(vfio_user.DEVICE_RESET)
        assert client.read(0, driver.CSTS, 4) == bytes(4)
        client.close()
        assert process.wait() == 0
        return process.log.read_text()

    return refuse


@pytest.fixture
def serve(spawn, tmp_path):
    """serve(argv): runs an NBD server on a socket that listens already; the URI, always the same, and the Process."""

    def start(*argv):
        path = tmp_path / "nbd.sock"
        path.unlink(missing_ok=True)
        return nbd_server.start(spawn, path, argv)

    return start


class Gate:
    """nbdkit's pause filter: while it is shut, what the server was asked for is not begun."""

    def __init__(self, path):
        self.path = path
        self.options = ["--filter=pause", f"pause-control={path}"]

    def say(self, command, answer):
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(driver.PATIENCE_S)
            control.connect(str(self.path))
            control.sendall(command)
            assert control.recv(1) == answer

    def shut(self):
        self.say(b"p", b"P")

    def open(self):
        self.say(b"r", b"R")


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path / "gate.sock")


@pytest.fixture
def nbdkit(serve):
    def start(*arguments):
        return serve("nbdkit", "-f", *arguments)

    return start

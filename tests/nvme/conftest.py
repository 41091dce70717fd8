# SPDX-License-Identifier: BSD-3-Clause
"""outboard-nvme as a process, and a driver for it."""
import os
import socket

import driver
import mpqemu
import pytest
from driver import IMAGE_LEN, PROGRAM, pattern


@pytest.fixture
def image(tmp_path):
    """A disk image of 8 MiB that reads as its offsets."""
    path = tmp_path / "disk.img"
    path.write_bytes(pattern(0, IMAGE_LEN))
    return path


@pytest.fixture
def machine(spawn, cleanup):
    """machine(image option...): a Machine with a running controller; its process is machine.process."""

    def start(*images):
        ours, theirs = socket.socketpair()
        process = spawn(
            [PROGRAM, f"--fd={theirs.fileno()}", *(f"--image={image}" for image in images)],
            name=f"nvme-{os.urandom(4).hex()}", inherit=[theirs],
        )  # fmt: skip
        proxy = cleanup.enter_context(mpqemu.Proxy(ours))
        made = driver.Machine(proxy)
        cleanup.callback(made.close)
        made.process = process
        made.connect()
        return made

    return start


@pytest.fixture
def controller(machine):
    """controller(image option...): a driver.Controller, enabled."""

    def start(*images):
        return driver.Controller(machine(*images))

    return start


@pytest.fixture
def disk(controller, image):
    """Namespace 1 of a controller with the image, through queue 1; disk.controller is the driver."""
    made = controller(image)
    found = driver.Disk(made.create_queue())
    found.controller = made
    return found

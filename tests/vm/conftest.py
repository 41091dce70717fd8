# SPDX-License-Identifier: BSD-3-Clause
"""Disks for guests."""
import socket

import pytest
from nvmelab import MIB, PROGRAM, Controller


@pytest.fixture
def make_image(tmp_path):
    """make_image(name, mib): a file that is all zeroes."""

    def make(name="disk.img", mib=256):
        path = tmp_path / name
        with open(path, "wb") as file:
            file.truncate(mib * MIB)
        return path

    return make


@pytest.fixture
def controller(spawn, cleanup):
    """controller(image option..., options=[...]): an nvmelab.Controller; the first image's serial number is its name."""

    def start(*images, name="DISK", options=()):
        ours, theirs = socket.socketpair()
        cleanup.enter_context(theirs)
        first, *more = images
        options = [f"--image={first},serial={name}", *(f"--image={image}" for image in more), *options]
        process = spawn([PROGRAM, f"--fd={ours.fileno()}", *options], name=name, inherit=[ours])
        return Controller(process, theirs)

    return start

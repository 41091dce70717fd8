# SPDX-License-Identifier: BSD-3-Clause
"""Disks in a container that forbids io_uring and user namespaces: what works there, and what says why it does not."""
from driver import IMAGE_LEN, PROGRAM, SUCCESS, Controller, Disk, pattern
from guestlab import paths

CONTAINER = paths.BUILD / "release/tests/wire/container"


def test_a_file_needs_io_uring_and_says_what_serves_it_otherwise(spawn, image):
    device = spawn([CONTAINER, PROGRAM, f"--image={image}", "--cell=default", "--fd=0"], name="device")
    assert device.wait() == 1
    line = device.log.read_text()
    assert "io_uring: forbidden here" in line and "'outboard disk' with ,nbd" in line


def test_the_same_file_works_behind_a_server(attach_to, image):
    machine = attach_to(
        CONTAINER, paths.BUILD / "root/bin/outboard", "disk", f"--image={image},format=raw,nbd", "--cell=default"
    )
    disk = Disk(Controller(machine).create_queue())
    assert disk.read(0, 4096) == pattern(0, 4096)
    assert disk.write(8, bytes(4096)) == SUCCESS
    assert disk.flush() == SUCCESS
    assert image.read_bytes() == pattern(0, 4096) + bytes(4096) + pattern(8192, IMAGE_LEN - 8192)
    assert "'own namespaces': got 'Operation not permitted'" in machine.process.log.read_text()

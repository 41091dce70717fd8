# SPDX-License-Identifier: BSD-3-Clause
"""A disk works in a cell: data, flushes, zeroes, discards, and an NBD server that comes back."""
import os
import subprocess

import pytest
from celllab import status_of
from driver import IMAGE_LEN, SUCCESS, Disk, pattern

FUA = 1 << 30
DEALLOCATE = 1 << 25
ZEROES = 0x08


@pytest.fixture(params=["", ",direct"], ids=["buffered", "direct"])
def confined(request, controller, image):
    """A disk in a cell."""
    if request.param and subprocess.run(
        ["dd", f"if={image}", "of=/dev/null", "iflag=direct", "bs=4096", "count=1"], capture_output=True
    ).returncode:
        pytest.skip("the file system of the test's folder has no direct I/O")
    made = controller(f"{image}{request.param}", options=["--cell=default"])
    found = Disk(made.create_queue())
    found.process = made.machine.process
    return found


def test_a_disk_in_a_cell_does_all_that_it_does_outside(confined, image):
    data = os.urandom(65536)
    for flags in (0, FUA):
        assert confined.write(8, data, flags) == SUCCESS
        assert confined.flush() == SUCCESS
    assert confined.read(8, len(data)) == data
    for flags in (0, DEALLOCATE):
        assert confined.write(16, data[:4096]) == SUCCESS
        assert confined.queue.run(ZEROES, 1, d10=16, d12=7 | flags).status == SUCCESS
        assert confined.read(16, 4096) == bytes(4096)
    assert image.stat().st_size == IMAGE_LEN
    assert status_of(confined.process.pid)["Seccomp"] == "2"


def test_a_disk_that_was_opened_read_only_stays_so(controller, image):
    made = controller(f"{image},readonly", options=["--cell=default"])
    disk = Disk(made.create_queue())
    assert disk.write(0, bytes(512)) != SUCCESS
    assert disk.read(0, 512) == pattern(0, 512)
    assert image.read_bytes() == pattern(0, IMAGE_LEN)

# SPDX-License-Identifier: BSD-3-Clause
"""Block devices as images: a loop device of this machine."""
import fcntl
import os
import pathlib
import struct
import subprocess

import pytest
from driver import IMAGE_LEN, PAGE, PROGRAM, SUCCESS, Controller, Disk, pattern

READ, WRITE, ZEROES, DATASET, SET_FEATURES, EVENT = 0x02, 0x01, 0x08, 0x09, 0x09, 0x0C
FUA, MAY_UNMAP = 1 << 30, 1 << 25
BLKGETSIZE64 = 0x80081272


@pytest.fixture
def loop(image, cleanup):
    """loop(option of losetup...): a loop device over the image."""

    def attach(*options):
        done = subprocess.run(
            ["losetup", "--show", "-f", *options, image], capture_output=True, text=True, check=False
        )  # fmt: skip
        if done.returncode != 0:
            pytest.skip(f"a loop device can't be had here: {done.stderr.strip()}")
        device = done.stdout.strip()
        cleanup.callback(subprocess.run, ["losetup", "-d", device], check=True)
        return device

    return attach


def discard(disk, slba, blocks):
    address = disk.machine.pages(1)
    disk.machine.write(address, struct.pack("<IIQ", 0, blocks, slba))
    return disk.queue.run(DATASET, disk.nsid, address, d11=4).status


def can_zero(device):
    """Whether the kernel takes the device for one that can be told to zero. It stops to when that has failed once, as over
    tmpfs, which has no FALLOC_FL_ZERO_RANGE; then nothing is discarded either."""
    queue = pathlib.Path("/sys/block") / pathlib.Path(device).name / "queue"
    return int((queue / "write_zeroes_max_bytes").read_text()) > 0


def check_everything(disk, device):
    block, each = disk.block, 65536 // disk.block
    assert disk.read(0, 1 << 19) == pattern(0, 1 << 19)
    data = os.urandom(65536 + block)
    assert disk.write(3, data, FUA) == SUCCESS
    assert disk.read(3, len(data)) == data
    address = disk.machine.pages(20) + 4  # what no device takes directly
    assert disk.run(READ, 3, address, len(data)) == SUCCESS
    assert disk.machine.read(address, len(data)) == data
    assert disk.run(WRITE, 3, address, len(data)) == SUCCESS
    for flags in (0, FUA, MAY_UNMAP):
        for slba, blocks in ((each, each), (each + 1, 3)):
            assert disk.write(slba, data[: blocks * block]) == SUCCESS
            assert disk.queue.run(ZEROES, 1, d10=slba, d12=blocks - 1 | flags).status == SUCCESS
            assert disk.read(slba, blocks * block) == bytes(blocks * block)
    at = 4 << 20
    assert discard(disk, at // block, each) == SUCCESS
    assert disk.read(at // block, 65536) == (bytes(65536) if can_zero(device) else pattern(at, 65536))
    assert discard(disk, at // block + each + 1, 1) == SUCCESS
    assert disk.read((at + (1 << 20)) // block, PAGE) == pattern(at + (1 << 20), PAGE)
    assert disk.flush() == SUCCESS


@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize("block", [512, 4096])
@pytest.mark.parametrize("direct", ["", ",direct"], ids=["buffered", "direct"])
def test_every_command(controller, loop, sector, block, direct):
    device = loop("-b", str(sector))
    if direct and sector > block:
        done = subprocess.run(
            [PROGRAM, "--fd=0", f"--image={device},direct"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert "got sectors of 4096 bytes; give block-size=4096" in done.stderr
        return
    nvme = controller(f"{device},block-size={block}{direct}")
    with open(device, "rb") as file:
        size = struct.unpack("<Q", fcntl.ioctl(file, BLKGETSIZE64, bytes(8)))[0]
    assert struct.unpack_from("<Q", nvme.identify(0, 1))[0] * block == size == IMAGE_LEN
    check_everything(Disk(nvme.create_queue(), block=block), device)


def test_what_is_flushed_is_in_the_file_behind(controller, loop, image):
    disk = Disk(controller(loop()).create_queue())
    data = os.urandom(PAGE)
    assert disk.write(1000, data) == disk.flush() == SUCCESS
    assert image.read_bytes()[1000 * 512 :][:PAGE] == data


def test_a_discard_gives_space_back(controller, loop, image):
    before = os.stat(image).st_blocks
    disk = Disk(controller(loop()).create_queue())
    assert discard(disk, 0, 8192) == disk.flush() == SUCCESS
    assert os.stat(image).st_blocks <= before - 8192 + 64


def test_a_device_that_has_grown_is_announced(controller, loop, image):
    device = loop()
    nvme = controller(device)
    assert nvme.admin.run(SET_FEATURES, d10=0x0B, d11=1 << 8).status == SUCCESS
    event = nvme.admin.submit(EVENT)
    os.truncate(image, 2 * IMAGE_LEN)
    subprocess.run(["losetup", "-c", device], check=True)
    assert nvme.admin.wait(event).result == 0x040002
    assert struct.unpack_from("<I", nvme.log_page(4, PAGE)) == (1,)
    assert struct.unpack_from("<Q", nvme.identify(0, 1))[0] == 2 * IMAGE_LEN // 512


def test_a_device_that_is_read_only(controller, loop):
    device = loop("-r")
    done = subprocess.run(
        [PROGRAM, "--fd=0", f"--image={device}"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert "is read only; give 'readonly'" in done.stderr
    disk = Disk(controller(f"{device},readonly").create_queue())
    assert disk.read(0, PAGE) == pattern(0, PAGE)

# SPDX-License-Identifier: BSD-3-Clause
"""outboard-nvme behind stock QEMU's x-pci-proxy-dev, driven by Linux's own driver with INTx."""
import hashlib
import pathlib
import re
import socket
import subprocess

import pytest
from guestlab import paths

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-nvme"
MIB = 1 << 20


def with_libraries(program):
    """{path in the guest: path on the host} of a program and the shared libraries that it needs."""
    listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"(/\S+) \(0x", listing)
    return {path: pathlib.Path(path) for path in [program, *needed]}


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    with open(path, "wb") as file:
        file.truncate(256 * MIB)
    return path


@pytest.fixture
def disk(spawn):
    """disk(images): the options of boot() that give a guest this controller."""

    def start(*images):
        ours, theirs = socket.socketpair()
        spawn([PROGRAM, f"--fd={ours.fileno()}", *(f"--image={image}" for image in images)], inherit=[ours])
        return {"arguments": ["-device", f"x-pci-proxy-dev,id=nvme,fd={theirs.fileno()}"], "inherit": [theirs]}

    return start


def complaints(guest):
    """What the kernel has to say of the disk that is more than information."""
    return guest.run("dmesg -r | grep -E '^<[0-4]>' | grep -iE 'nvme|blk_update|I/O error' || true")


@pytest.mark.irqfd
def test_file_system_survives_a_reboot(boot, disk, image):
    guest = boot(memory_mib=512, files=with_libraries("/sbin/mke2fs"), **disk(image))
    print(guest.run("dmesg | grep -i nvme"))
    guest.run("/sbin/mke2fs -t ext4 -q /dev/nvme0n1 && mount /dev/nvme0n1 /mnt")
    guest.run("dd if=/dev/urandom of=/mnt/data bs=1M count=64 2>/dev/null && sync")
    checksum = guest.run("sha256sum /mnt/data").split()[0]
    guest.run("umount /mnt")
    assert complaints(guest) == ""
    print(guest.run("grep nvme /proc/interrupts"))
    guest.reboot()
    guest.run("mount /dev/nvme0n1 /mnt")
    assert guest.run("sha256sum /mnt/data").split()[0] == checksum
    guest.run("umount /mnt")
    assert complaints(guest) == ""

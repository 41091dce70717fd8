# SPDX-License-Identifier: BSD-3-Clause
"""A disk of outboard-nvme's from the first partition to the root of a system, with a stock QEMU, kernel and driver."""
import hashlib

import pytest
from guestlab.initramfs import with_libraries
from nvmelab import (
    MIB, PATIENCE_S, assert_sound, attached, complaints, completions, copy_folder, interrupts, partition_of, wait_disk,
)  # fmt: skip

FILES, FILE_MIB = 16, 4
FIRST_SECTOR = 2048

# More than the driver has with a controller that it takes over, whose answers share the I/O's interrupt.
ADMIN_COMMANDS = 64

PARTITION = f"""
    printf 'n\\np\\n1\\n{FIRST_SECTOR}\\n\\nw\\n' | fdisk -u /dev/nvme0n1 >/dev/null
    until [ -b /dev/nvme0n1p1 ]; do usleep 10000; done
    /sbin/mke2fs -t ext4 -q /dev/nvme0n1p1 && mount /dev/nvme0n1p1 /mnt
"""
WRITE = f"""
    mkdir /mnt/data && cd /mnt/data
    for file in $(seq {FILES}); do
        dd if=/dev/urandom of=$file bs=1M count={FILE_MIB} 2>/dev/null || exit
    done
    sha256sum * >/mnt/sums && sync
"""


def assert_interrupts_agree(guest):
    """Each completion was told, several at a time at best; none was told twice."""
    told, completed = interrupts(guest), completions(guest)
    assert completed / 32 < told <= completed + ADMIN_COMMANDS


def assert_same_on_the_host(image, folder):
    """The partition, its file system and every file in it, as other programs than a kernel find them in the image."""
    offset, length = partition_of(image)
    assert (offset, offset + length) == (FIRST_SECTOR * 512, image.stat().st_size)
    assert_sound(image, offset)
    folder.mkdir()
    copy_folder(image, "/data", folder, offset)
    copy_folder(image, "/sums", folder, offset)
    sums = dict(reversed(line.split()) for line in (folder / "sums").read_text().splitlines())
    assert len(sums) == FILES
    for name, checksum in sums.items():
        data = (folder / "data" / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (FILE_MIB * MIB, checksum)


@pytest.mark.irqfd
def test_partition_file_system_reboots_and_root(boot, controller, make_image, tmp_path):
    """64 MiB with checksums on an ext4 in a partition: after a reset of the machine, from the image, and as the root."""
    image = make_image()
    first = boot("first", memory_mib=512, files=with_libraries("/sbin/mke2fs"), **attached(controller(image)))
    wait_disk(first, "DISK")
    first.run(PARTITION, PATIENCE_S)
    first.run(WRITE, PATIENCE_S)
    assert complaints(first) == ""
    assert_interrupts_agree(first)

    first.reboot()  # with the file system mounted, so that what counts is what sync has promised
    first.qmp.wait_event("RESET", guest=True)
    wait_disk(first, "DISK")
    first.run("until mount /dev/nvme0n1p1 /mnt 2>/dev/null; do usleep 10000; done; cd /mnt/data && sha256sum -c ../sums",
              PATIENCE_S)  # fmt: skip
    first.install("/mnt")
    first.run("umount /mnt")
    assert complaints(first) == ""
    assert_interrupts_agree(first)
    assert first.shutdown() == 0
    assert_same_on_the_host(image, tmp_path / "after-the-reboot")

    second = boot("second", root="/dev/nvme0n1p1", **attached(controller(image)))
    assert second.run("awk '$2 == \"/\" {print $1, $3}' /proc/mounts") == "/dev/root ext4\n"
    second.run("cd /data && sha256sum -c ../sums && cp 1 2 3 /")
    second.reboot()
    second.run("cd /data && sha256sum -c ../sums && for file in 1 2 3; do cmp $file /$file || exit; done")
    assert complaints(second) == ""
    assert_interrupts_agree(second)
    assert second.shutdown() == 0
    assert_same_on_the_host(image, tmp_path / "after-the-root")

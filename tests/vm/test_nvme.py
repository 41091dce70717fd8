# SPDX-License-Identifier: BSD-3-Clause
"""outboard-nvme behind stock QEMU's x-pci-proxy-dev, driven by Linux's own driver with INTx."""
import hashlib
import pathlib
import re
import shutil
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


def wait_disk(guest, name="nvme0n1"):
    """Waits until the kernel has found the namespace, which it does in the background."""
    guest.run(f"until [ -b /dev/{name} ]; do usleep 10000; done")


def interrupts(guest):
    """How many the driver has taken."""
    return int(guest.run("grep nvme0q /proc/interrupts").split()[1])


def file_of(image, path):
    """A file of an ext4 file system, read on the host by other means than the guest's."""
    return subprocess.run(["debugfs", "-R", f"cat {path}", image], capture_output=True, check=True).stdout


def assert_sound(image):
    """The file system was left whole and clean."""
    subprocess.run(["e2fsck", "-fn", image], capture_output=True, check=True)


@pytest.mark.irqfd
def test_file_system_survives_a_reboot(boot, disk, image):
    """mkfs.ext4, 64 MiB with a checksum, a reboot, and the same again: in the guest, then from the image."""
    guest = boot(memory_mib=512, files=with_libraries("/sbin/mke2fs"), **disk(image))
    wait_disk(guest)
    guest.run("/sbin/mke2fs -t ext4 -q /dev/nvme0n1 && mount /dev/nvme0n1 /mnt")
    guest.run("dd if=/dev/urandom of=/mnt/data bs=1M count=64 2>/dev/null && sync")
    checksum = guest.run("sha256sum /mnt/data").split()[0]
    guest.run("umount /mnt")
    assert complaints(guest) == ""
    guest.reboot()
    wait_disk(guest)
    guest.run("mount /dev/nvme0n1 /mnt")
    assert guest.run("sha256sum /mnt/data").split()[0] == checksum
    guest.run("umount /mnt")
    assert complaints(guest) == ""
    assert guest.shutdown() == 0
    assert_sound(image)
    assert hashlib.sha256(file_of(image, "/data")).hexdigest() == checksum


@pytest.mark.irqfd
def test_each_completion_is_told_by_an_interrupt(boot, disk, image):
    """Reads one at a time: each takes one interrupt, none is lost (the driver would wait for 30 s) and none is spurious."""
    guest = boot(**disk(image))
    wait_disk(guest)
    before = interrupts(guest)
    guest.run("dd if=/dev/nvme0n1 of=/dev/null bs=4k count=500 iflag=direct 2>/dev/null")
    assert 500 <= interrupts(guest) - before <= 510
    assert complaints(guest) == ""
    assert "nobody cared" not in guest.run("dmesg")


@pytest.mark.irqfd
def test_the_guest_boots_from_the_disk(boot, disk, image):
    """A system that one guest has put there is the root of the next."""
    files = {"/etc/greeting": b"hello", **with_libraries("/sbin/mke2fs")}
    first = boot(name="first", files=files, **disk(image))
    wait_disk(first)
    first.run("/sbin/mke2fs -t ext4 -q /dev/nvme0n1 && mount /dev/nvme0n1 /mnt")
    first.install("/mnt")
    first.run("umount /mnt")
    assert complaints(first) == ""
    assert first.shutdown() == 0
    second = boot(name="second", root="/dev/nvme0n1", **disk(image))
    assert second.read("/etc/greeting") == "hello"
    second.run("dd if=/dev/urandom of=/data bs=64k count=64 2>/dev/null && sync && sha256sum /data >/etc/sum")
    assert complaints(second) == ""
    second.reboot()
    second.run("sha256sum -c /etc/sum")
    assert complaints(second) == ""
    assert second.shutdown() == 0


@pytest.mark.irqfd
def test_linux_sees_what_the_controller_is(boot, disk, image, tmp_path):
    """Two namespaces, one of them read only with blocks of 4096; one grows while the guest looks."""
    other = tmp_path / "other.img"
    other.write_bytes(bytes(MIB))
    guest = boot(**disk(f"{image},serial=FIRST", f"{other},block-size=4096,readonly"))
    wait_disk(guest, "nvme0n2")
    assert guest.read("/sys/class/nvme/nvme0/serial") == "FIRST"
    assert guest.read("/sys/block/nvme0n1/size") == str(256 * MIB // 512)
    assert guest.read("/sys/block/nvme0n2/queue/logical_block_size") == "4096"
    assert (guest.read("/sys/block/nvme0n1/ro"), guest.read("/sys/block/nvme0n2/ro")) == ("0", "1")
    assert guest.read("/sys/block/nvme0n1/queue/write_cache") == "write back"
    assert int(guest.read("/sys/block/nvme0n1/queue/max_hw_sectors_kb")) == 512
    with open(image, "ab") as file:
        file.truncate(320 * MIB)
    guest.wait_console(r"nvme0n1: detected capacity change from 524288 to 655360")
    guest.run("dd if=/dev/zero of=/dev/nvme0n1 bs=1M seek=300 count=2 2>/dev/null && sync")
    guest.run("echo 1 >/sys/class/nvme/nvme0/reset_controller")
    guest.run("dd if=/dev/nvme0n1 of=/dev/null bs=1M count=4 2>/dev/null")
    assert complaints(guest) == ""


@pytest.mark.irqfd
def test_a_minute_of_mixed_io_verifies(boot, disk, image):
    """fio: 32 at a time, random places, sizes from 512 bytes to 256 KiB, all that was written is read and checked."""
    guest = boot(memory_mib=512, files=with_libraries(shutil.which("fio")), **disk(image))
    wait_disk(guest)
    guest.run(
        f"{shutil.which('fio')} --name=mixed --filename=/dev/nvme0n1 --direct=1 --ioengine=libaio --iodepth=32"
        " --rw=randrw --bsrange=512-256k --blockalign=512 --size=128m --verify=crc32c --verify_backlog=256"
        " --time_based --runtime=60 --verify_fatal=1 --fdatasync=64 2>&1",
        timeout=300,
    )
    assert complaints(guest) == ""


@pytest.mark.irqfd
def test_the_disk_comes_and_goes_while_the_guest_runs(boot, image, spawn):
    """device_add with a socket that QMP has brought; after device_del the device program ends."""
    guest = boot(arguments=["-device", "pcie-root-port,id=root1,chassis=1"])
    ours, theirs = socket.socketpair()
    program = spawn([PROGRAM, f"--fd={ours.fileno()}", f"--image={image}"], inherit=[ours])
    with theirs:
        guest.qmp.give("disk", theirs)
    guest.qmp.execute("device_add", {"driver": "x-pci-proxy-dev", "id": "nvme", "bus": "root1", "fd": "disk"})
    wait_disk(guest)
    guest.run("dd if=/dev/urandom of=/dev/nvme0n1 bs=1M count=4 2>/dev/null && sync")
    assert complaints(guest) == ""
    guest.qmp.execute("device_del", {"id": "nvme"})
    guest.qmp.wait_event("DEVICE_DELETED", device="nvme", timeout=60)
    assert program.wait() == 0
    assert guest.run("ls /dev | grep nvme0n1 || true") == ""

# SPDX-License-Identifier: BSD-3-Clause
"""outboard-blk as the root of a guest over vhost-user, and as a disk over the PCI wires: mpqemu with INTx in stock QEMU, and
vfio-user with MSI-X where OUTBOARD_QEMU names a QEMU that has it."""
import json
import os
import socket
import subprocess

import pytest
from blklab import PATIENCE_S, PROGRAM, Disk, complaints, guest_options
from guestlab.machine import OVERRIDE
from nvmelab import assert_sound

MAKE = "/sbin/mke2fs -t ext4 -q /dev/vda && mount /dev/vda /mnt"
WRITE = """
    mkdir /mnt/data && cd /mnt/data
    for file in $(seq 4); do
        dd if=/dev/urandom of=$file bs=1M count=2 2>/dev/null || exit
    done
    sha256sum [0-9]* >sums && sync && cd /
"""
VERIFY = "cd {}/data && sha256sum -c sums && cd /"


def exercise(guest, image):
    """ext4 through a reboot of the machine."""
    guest.run(MAKE + WRITE, PATIENCE_S)
    guest.reboot(PATIENCE_S)
    guest.run("mount /dev/vda /mnt\n" + VERIFY.format("/mnt") + "; umount /mnt", PATIENCE_S)
    assert complaints(guest) == ""
    assert guest.shutdown(PATIENCE_S) == 0
    assert_sound(image)


def test_root_of_a_guest_over_vhost_user(boot, spawn, tmp_path, make_image):
    image = make_image(mib=128)
    disk = Disk(spawn, tmp_path, image).start()
    first = boot("first", **guest_options(disk.arguments()))
    first.run(MAKE + WRITE, PATIENCE_S)
    first.install("/mnt")
    first.run("umount /mnt")
    assert first.shutdown() == 0
    assert_sound(image)
    second = boot("second", append="guestlab.root=/dev/vda", **guest_options(disk.arguments(), files={}))
    assert second.run("awk '$2 == \"/\" {print $1, $3}' /proc/mounts") == "/dev/vda ext4\n"
    second.run(VERIFY.format("") + "; cp -r /data /copy")
    second.reboot()
    second.run(VERIFY.format("") + "; for file in 1 2 3 4; do cmp /data/$file /copy/$file || exit; done")
    assert complaints(second) == ""
    assert second.shutdown() == 0


@pytest.mark.irqfd
def test_ext4_over_mpqemu(boot, spawn, cleanup, make_image):
    image = make_image(mib=64)
    ours, theirs = socket.socketpair()
    cleanup.enter_context(theirs)
    spawn([PROGRAM, f"--fd={ours.fileno()}", f"--image={image}"], name="blk", inherit=[ours])
    arguments = ["-device", f"x-pci-proxy-dev,id=disk,fd={theirs.fileno()}"]
    guest = boot(inherit=[theirs], boot_timeout=PATIENCE_S, **guest_options(arguments))
    exercise(guest, image)


@pytest.mark.skipif(OVERRIDE not in os.environ, reason=f"{OVERRIDE} names no QEMU that speaks vfio-user")
def test_ext4_over_vfio_user(boot, spawn, tmp_path, make_image):
    devices = subprocess.run([os.environ[OVERRIDE], "-device", "help"], capture_output=True, text=True, check=True)
    if "vfio-user-pci" not in devices.stdout:
        pytest.skip(f"{os.environ[OVERRIDE]} has no vfio-user-pci")
    image, path = make_image(mib=64), tmp_path / "blk.sock"
    process = spawn([PROGRAM, "--wire=vfio-user", f"--socket-path={path}", f"--image={image}"], name="blk")
    while not path.exists():
        assert process.running, process.log_tail()
    device = {"driver": "vfio-user-pci", "id": "disk", "socket": {"type": "unix", "path": str(path)}}
    guest = boot(**guest_options(["-device", json.dumps(device)]))
    assert "virtio0-req" in guest.read("/proc/interrupts"), "MSI-X"
    exercise(guest, image)

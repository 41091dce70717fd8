# SPDX-License-Identifier: BSD-3-Clause
"""outboard-rng and Linux's own driver: over mpqemu with INTx in stock QEMU, and over vfio-user with MSI-X where
OUTBOARD_QEMU names a QEMU that speaks it."""
import base64
import json
import os
import socket
import subprocess

import pytest
from guestlab import paths
from guestlab.machine import OVERRIDE

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-rng"
MODULES = ["virtio_pci", "virtio_rng"]
PATIENCE_S = 300  # nested guests are slow
DEVICE = "/sys/bus/virtio/devices/virtio0"
RING_PACKED = 34


def have_random_bytes(guest):
    """8 KiB through the driver, which has one buffer in flight at a time; no two blocks are the same."""
    assert guest.read("/sys/class/misc/hw_random/rng_current") == "virtio_rng.0"
    text = guest.run("dd if=/dev/hwrng bs=512 count=16 iflag=fullblock 2>/dev/null | base64", PATIENCE_S)
    data = base64.b64decode(text)
    assert len(data) == 8192
    assert len({data[at : at + 64] for at in range(0, 8192, 64)}) == 128


def exercise(guest):
    """The driver's life: bytes, the driver removed and bound again, the guest rebooted."""
    assert guest.read(f"{DEVICE}/status").strip() == "0x0000000f"
    assert guest.read(f"{DEVICE}/features")[RING_PACKED] == "1"
    have_random_bytes(guest)
    for _ in range(3):
        guest.run(f"echo virtio0 >/sys/bus/virtio/drivers/virtio_rng/unbind; cat {DEVICE}/status", PATIENCE_S)
        guest.run("echo virtio0 >/sys/bus/virtio/drivers/virtio_rng/bind", PATIENCE_S)
    have_random_bytes(guest)
    assert "virtio" not in guest.run("dmesg | grep -iE 'virtio|irq' | grep -iE 'fail|error|nobody cared' || true")


@pytest.mark.irqfd
def test_the_stock_driver_over_mpqemu(boot, spawn, cleanup):
    ours, theirs = socket.socketpair()
    process = spawn([PROGRAM, f"--fd={ours.fileno()}"], name="rng", inherit=[ours])
    cleanup.enter_context(theirs)
    arguments = ["-device", f"x-pci-proxy-dev,id=rng,fd={theirs.fileno()}"]
    guest = boot(modules=MODULES, arguments=arguments, inherit=[theirs], boot_timeout=PATIENCE_S)
    exercise(guest)
    guest.reboot(PATIENCE_S)
    have_random_bytes(guest)
    assert "is stopped until" not in process.log.read_text()


@pytest.mark.skipif(OVERRIDE not in os.environ, reason=f"{OVERRIDE} names no QEMU that speaks vfio-user")
def test_the_stock_driver_over_vfio_user(boot, spawn, tmp_path):
    devices = subprocess.run([os.environ[OVERRIDE], "-device", "help"], capture_output=True, text=True, check=True)
    if "vfio-user-pci" not in devices.stdout:
        pytest.skip(f"{os.environ[OVERRIDE]} has no vfio-user-pci")
    path = tmp_path / "rng.sock"
    process = spawn([PROGRAM, "--wire=vfio-user", f"--socket-path={path}"], name="rng")
    while not path.exists():
        assert process.running, process.log_tail()
    device = {"driver": "vfio-user-pci", "id": "rng", "socket": {"type": "unix", "path": str(path)}}
    guest = boot(modules=MODULES, cpus=2, arguments=["-device", json.dumps(device)])
    exercise(guest)
    assert "virtio0-input" in guest.read("/proc/interrupts"), "MSI-X"
    guest.reboot()
    have_random_bytes(guest)
    assert "is stopped until" not in process.log.read_text()

# SPDX-License-Identifier: BSD-3-Clause
"""QEMU's own remote device behind QEMU's own proxy: what the harness must be able to show before it judges ours."""
import hashlib

import pytest
from guestlab.remote import start_remote

LSI = ("0x1000", "0x0012")  # vendor and device id of the LSI 53C895A
DISK_LEN = 4 << 20
# sd_mod needs the first two when it is loaded, but not by name.
SCSI_DISK = ["crct10dif_generic", "crc64_rocksoft_generic", "sd_mod", "sym53c8xx"]


@pytest.fixture
def remote(logs, cleanup):
    """remote(**options of start_remote): the arguments by which a guest gets the remote device."""

    def start(**options):
        process, sock = start_remote(logs / "remote.log", **options)
        cleanup.enter_context(process)
        return {"arguments": ["-device", f"x-pci-proxy-dev,id=proxy,fd={sock.fileno()}"], "inherit": [sock]}

    return start


def pci_devices(guest):
    """{(vendor, device): folder in /sys} of all PCI functions."""
    listing = guest.run("cd /sys/bus/pci/devices; for d in *; do echo $(cat $d/vendor $d/device) $d; done")
    return {tuple(ids): f"/sys/bus/pci/devices/{name}" for *ids, name in map(str.split, listing.splitlines())}


def test_guest_sees_the_remote_device(boot, remote):
    guest = boot(**remote())
    folder = pci_devices(guest)[LSI]
    assert guest.read(f"{folder}/class") == "0x010000"
    ranges = [line.split()[:2] for line in guest.read(f"{folder}/resource").splitlines()[:3]]
    sizes = [int(end, 16) - int(start, 16) + 1 for start, end in ranges]
    assert sizes == [256, 1024, 8192]  # registers as I/O ports, as memory, and the RAM of SCRIPTS


def test_remote_device_is_plugged_and_unplugged(boot, logs, cleanup):
    process, sock = start_remote(logs / "remote.log")
    cleanup.enter_context(process)
    guest = boot(arguments=["-device", "pcie-root-port,id=rp0,chassis=1"])
    with sock:
        guest.qmp.give("proxy", sock)
    guest.qmp.execute("device_add", {"driver": "x-pci-proxy-dev", "id": "hot", "bus": "rp0", "fd": "proxy"})
    guest.wait_console(r"BAR 0 .*: assigned")
    assert LSI in pci_devices(guest)
    guest.qmp.execute("device_del", {"id": "hot"})
    guest.qmp.wait_event("DEVICE_DELETED", device="hot")
    assert LSI not in pci_devices(guest)
    assert process.wait() == 0


@pytest.mark.irqfd
def test_interrupts_of_the_remote_device_arrive(boot, remote, tmp_path):
    """Linux's driver finds a disk behind the remote and reads it, which takes an interrupt for each command."""
    image = tmp_path / "disk.img"
    content = hashlib.shake_128(b"disk").digest(DISK_LEN)
    image.write_bytes(content)
    disk = [
        "-drive", f"id=disk,if=none,format=raw,file={image}",
        "-device", "scsi-hd,drive=disk,bus=remote.0",
    ]  # fmt: skip
    guest = boot(flavour="full", modules=SCSI_DISK, memory_mib=512, **remote(arguments=disk))
    guest.wait_console(r"\[sda\] Attached SCSI disk")
    assert guest.run("sha256sum /dev/sda").split()[0] == hashlib.sha256(content).hexdigest()
    interrupts = guest.run("grep sym53c8xx /proc/interrupts").split()
    assert int(interrupts[1]) > 10

# SPDX-License-Identifier: BSD-3-Clause
"""The devices under a QEMU that speaks vfio-user, 10.1 or later: run where OUTBOARD_QEMU names one."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest
from guestlab import paths
from guestlab.machine import OVERRIDE

__test__ = OVERRIDE in os.environ

PROGRAMS = paths.BUILD / "root/libexec/outboard"
BACKDOOR = paths.BUILD / "root/bin/backdoor"
MIB = 1 << 20


@pytest.fixture(scope="module", autouse=True)
def qemu():
    devices = subprocess.run([os.environ[OVERRIDE], "-device", "help"], capture_output=True, text=True, check=True)
    if "vfio-user-pci" not in devices.stdout:
        pytest.skip(f"{os.environ[OVERRIDE]} has no vfio-user-pci")


@pytest.fixture
def serve(spawn, tmp_path):
    """serve(program, option...): its process, and what QEMU is to be told of it."""

    def start(program, *options, name):
        path = tmp_path / f"{name}.sock"
        process = spawn([PROGRAMS / program, "--wire=vfio-user", f"--socket-path={path}", *options], name=name)
        while not path.exists():
            assert process.running, process.log_tail()
        return process, {"driver": "vfio-user-pci", "id": name, "socket": {"type": "unix", "path": str(path)}}

    return start


@pytest.fixture
def backdoor(serve, tmp_path):
    """What serve() gives of a backdoor whose commands do nothing."""
    source = tmp_path / "nothing.c"
    source.write_text("#include <stdint.h>\nvoid backdoor(uint64_t command, void *data) {}\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "nothing.so", source], check=True)
    return serve("outboard-backdoor", f"--library={tmp_path}/nothing.so", name="backdoor")


@pytest.fixture
def disk(serve, tmp_path):
    """disk(name, option...): what serve() gives of a disk of 64 MiB with that serial number."""

    def start(name, *options):
        image = tmp_path / f"{name}.img"
        with open(image, "wb") as file:
            file.truncate(64 * MIB)
        return serve("outboard-nvme", f"--image={image},serial={name}", *options, name=name)

    return start


def attached(*devices):
    return [word for device in devices for word in ("-device", json.dumps(device))]


def wait_disk(guest, number=0):
    guest.run(f"until [ -b /dev/nvme{number}n1 ]; do usleep 10000; done")


def complaints(guest):
    return guest.run("dmesg | grep -iE 'nvme|I/O error' | grep -iE 'timeout|abort|reset|error' || true")


def bar_address(guest, number):
    """Where a BAR of the backdoor is."""
    resource = guest.run("cat $(dirname $(grep -lx 0x10f0 /sys/bus/pci/devices/*/device))/resource")
    return int(resource.splitlines()[number].split()[0], 16)


def data_of(process):
    """The backdoor's data channel, as its process has it."""
    for link in pathlib.Path(f"/proc/{process.pid}/fd").iterdir():
        if re.match(r"/memfd:outboard-bar", os.readlink(link)):
            return link.read_bytes()
    raise AssertionError("no memory for the BAR")


def test_the_data_bar_is_memory_of_the_guest(boot, backdoor):
    """Its loads and stores take no message: they work while the device process is stopped."""
    process, device = backdoor
    guest = boot(programs=[BACKDOOR], cpus=2, arguments=attached(device))
    guest.run("printf before | backdoor write 16; backdoor call 1")
    data = bar_address(guest, 1)
    process.signal(signal.SIGSTOP)
    assert int(guest.run(f"devmem {data + 16:#x} 32"), 16) == int.from_bytes(b"befo", "little")
    guest.run(f"devmem {data + 100:#x} 32 0x12345678")
    assert data_of(process)[100:104] == bytes.fromhex("78563412")
    process.signal(signal.SIGCONT)
    guest.reboot()
    assert guest.run("backdoor call 2; backdoor read 16 6") == "before"


def test_a_copy_of_the_template_runs_in_a_guest(boot, serve, tmp_path):
    """As docs/your-device.md has it: built out of tree, and asked to add up the first KiB of the guest's memory."""
    folder = tmp_path / "mine"
    shutil.copytree(paths.BUILD / "root/share/outboard/template", folder)
    environment = {**os.environ, "PKG_CONFIG_PATH": str(paths.BUILD / "root/lib/pkgconfig")}
    for command in (["meson", "setup", folder / "build", folder], ["meson", "compile", "-C", folder / "build"]):
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    _, device = serve(folder / "build/sum", name="sum")
    guest = boot(arguments=attached(device))
    function = guest.run("dirname $(grep -lx 0x10f4 /sys/bus/pci/devices/*/device)").strip()
    guest.run(rf"printf '\7\0' | dd of={function}/config bs=1 seek=4 conv=notrunc 2>/dev/null")  # may master the bus
    bar = int(guest.read(f"{function}/resource").splitlines()[0].split()[0], 16)
    guest.run(f"devmem {bar:#x} 64 0; devmem {bar + 8:#x} 32 1024; devmem {bar + 12:#x} 32 1")
    assert int(guest.run(f"devmem {bar + 16:#x} 32"), 16) == 2, "it is done"
    memory = guest.qmp.execute("human-monitor-command", {"command-line": "xp /1024xb 0"})
    content = [int(byte, 16) for byte in re.findall(r"(?<=[: ])0x[0-9a-f]{2}\b", memory)]
    assert len(content) == 1024 and any(content)
    assert int(guest.run(f"devmem {bar + 24:#x} 64"), 16) == sum(content)


def test_a_device_without_guest_memory_asks_qemu_for_it(boot, serve):
    """examples/alarm.c rings, writes 4 KiB by messages and reads them back: QEMU's own layout of their headers."""
    process, device = serve(paths.BUILD / "release/examples/alarm", "--dma=messages", name="alarm")
    guest = boot(arguments=attached(device))
    folder = guest.run("dirname $(grep -lx 0xdead /sys/bus/pci/devices/*/vendor)").strip()
    guest.run(rf"printf '\7\0' | dd of={folder}/config bs=1 seek=4 conv=notrunc 2>/dev/null")  # may master the bus
    bar = int(guest.read(f"{folder}/resource").splitlines()[0].split()[0], 16)
    guest.run(f"devmem {bar:#x} 64 1")  # long ago
    deadline = time.monotonic() + 30
    while "alarm: wrote and read at 0x800\n" not in process.log.read_text():
        assert time.monotonic() < deadline, process.log_tail()
        guest.run("true")
    memory = guest.qmp.execute("human-monitor-command", {"command-line": "xp /4xb 0x800"})
    assert memory.split(":")[1].split() == ["0x41"] * 4


def test_two_disks_with_vectors_of_their_own(boot, disk):
    """MSI-X, a vector for each queue; both disks at once, and again after a reboot."""
    (_, first), (_, second) = disk("FIRST"), disk("SECOND")
    guest = boot(cpus=2, arguments=attached(first, second))
    for _ in range(2):
        for number in range(2):
            wait_disk(guest, number)
            assert set(guest.run(f"cat /sys/class/nvme/nvme{number}/device/msi_irqs/*").split()) == {"msix"}
        guest.run(
            "for n in 0 1; do (dd if=/dev/urandom of=/tmp/$n bs=1M count=8; dd if=/tmp/$n of=/dev/nvme${n}n1 bs=64k"
            " oflag=direct; dd if=/dev/nvme${n}n1 bs=64k count=128 iflag=direct | cmp - /tmp/$n || echo differs) & done"
            " 2>/dev/null; wait"
        )
        assert complaints(guest) == ""
        guest.reboot()
    assert guest.shutdown() == 0


def test_a_backdoor_comes_goes_and_comes_again(boot, backdoor):
    """One without interrupts, that is: QEMU 10.2 aborts when a device with MSI-X is unplugged."""
    _, device = backdoor
    guest = boot(programs=[BACKDOOR], arguments=["-device", "pcie-root-port,id=root1,chassis=1"])
    for _ in range(2):
        guest.qmp.execute("device_add", {**device, "bus": "root1"})
        guest.run("until backdoor call 1 2>/dev/null; do usleep 10000; done")
        guest.qmp.execute("device_del", {"id": device["id"]})
        guest.qmp.wait_event("DEVICE_DELETED", device=device["id"], timeout=60)
        assert guest.attempt("backdoor info").status != 0


def test_a_disk_with_msi_comes_goes_and_comes_again(boot, disk):
    """The same process all the time, and what was written to it stays."""
    process, device = disk("HOT", "--interrupts=msi")
    guest = boot(cpus=2, arguments=["-device", "pcie-root-port,id=root1,chassis=1"])
    guest.run("dd if=/dev/urandom of=/tmp/data bs=1M count=8 2>/dev/null")
    for action in ("dd if=/tmp/data of=/dev/nvme0n1 bs=64k oflag=direct 2>/dev/null", "true"):
        guest.qmp.execute("device_add", {**device, "bus": "root1"})
        wait_disk(guest)
        assert set(guest.run("cat /sys/class/nvme/nvme0/device/msi_irqs/*").split()) == {"msi"}
        guest.run(action)
        guest.run("dd if=/dev/nvme0n1 bs=64k count=128 iflag=direct 2>/dev/null | cmp - /tmp/data")
        assert complaints(guest) == ""
        guest.qmp.execute("device_del", {"id": device["id"]})
        guest.qmp.wait_event("DEVICE_DELETED", device=device["id"], timeout=60)
        guest.run("until [ ! -e /dev/nvme0n1 ]; do usleep 10000; done")
        assert process.running
    assert guest.shutdown() == 0
    assert process.terminate() == 0


def test_a_dead_process_reads_as_ones_at_once(boot, backdoor):
    process, device = backdoor
    guest = boot(programs=[BACKDOOR], arguments=attached(device))
    guest.run("backdoor call 1")
    process.kill()
    assert "reads as all ones" in guest.attempt("backdoor info").output
    assert "timed out" not in (guest.logs / "qemu.log").read_text()
    assert guest.shutdown() == 0

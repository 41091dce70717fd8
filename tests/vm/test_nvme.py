# SPDX-License-Identifier: BSD-3-Clause
"""outboard-nvme behind stock QEMU's x-pci-proxy-dev, driven by Linux's own driver with INTx.

One guest for all: each test plugs its disks in and pulls them out again.
"""
import hashlib
import pathlib
import shutil
import signal
import subprocess

import nbd_server
import pytest
from guestlab import Guest, GuestTimeout
from guestlab.initramfs import with_libraries
from nvmelab import (
    MIB, PATIENCE_S, assert_sound, complaints, completions, file_of, interrupts, left_plugged, plug, unplug, wait_disk,
    wait_unread,
)  # fmt: skip

pytestmark = pytest.mark.irqfd

PORTS = ("port0", "port1")
FIO = shutil.which("fio")


@pytest.fixture(scope="module")
def error_log_entries(tmp_path_factory):
    """A program of the guest's that prints how many entries a controller's error log has ever had."""
    program = tmp_path_factory.mktemp("programs") / "error-log-entries"
    source = pathlib.Path(__file__).parent / "error_log_entries.c"
    subprocess.run(["cc", "-static", "-Wall", "-Werror", "-o", program, source], check=True)
    return program


@pytest.fixture(scope="module")
def machine(shared_logs, error_log_entries):
    """A guest with room for two disks."""
    ports = [f"pcie-root-port,id={port},chassis={number}" for number, port in enumerate(PORTS)]
    arguments = [word for port in ports for word in ("-device", port)]
    files = with_libraries(FIO, "/sbin/mke2fs")
    options = {"memory_mib": 512, "arguments": arguments, "files": files, "boot_timeout": PATIENCE_S}
    options["programs"] = [error_log_entries]
    with Guest(shared_logs / "guest", **options) as guest:
        yield guest


@pytest.fixture
def guest(machine):
    """The machine, its ports and its kernel's log empty; a test that fails halfway leaves nothing to the next."""
    machine.run("dmesg -c >/dev/null")
    yield machine
    for port in left_plugged(machine):
        unplug(machine, port)


@pytest.fixture
def plugged(guest, cleanup):
    """plugged(controller, name): a disk in the next free port; its name in the guest. It goes with the test."""
    ports = list(PORTS)

    def start(controller, name="DISK", namespace=1):
        port = ports.pop(0)
        plug(guest, controller, port)
        cleanup.callback(unplug, guest, port)
        return wait_disk(guest, name, namespace)

    return start


def read_blocks(disk, count=1, skip=0):
    """A command that reads blocks past the guest's cache, one at a time."""
    return f"dd if=/dev/{disk} of=/dev/null bs=4k count={count} skip={skip} iflag=direct 2>&1"


def write_and_read(guest, disk, mib, at_mib=0):
    """Writes random data past the guest's cache, flushes it and reads it again; its SHA-256."""
    dd = "dd bs=1M 2>/dev/null"
    written, read = guest.run(
        f"{dd} if=/dev/urandom of=/tmp/data count={mib} && sha256sum </tmp/data &&"
        f"{dd} if=/tmp/data of=/dev/{disk} seek={at_mib} oflag=direct conv=fsync && rm /tmp/data &&"
        f"{dd} if=/dev/{disk} skip={at_mib} count={mib} iflag=direct | sha256sum",
        PATIENCE_S,
    ).splitlines()
    assert read == written
    return read.split()[0]


def sha256_of(image, mib, at_mib=0):
    """Of a piece of an image, on the host."""
    with open(image, "rb") as file:
        file.seek(at_mib * MIB)
        return hashlib.sha256(file.read(mib * MIB)).hexdigest()


def start_reading(guest, disk):
    """Has the guest read a block in the background, and doesn't wait for anything; end_of_reading() does."""
    guest.start(
        "rm -f /tmp/status /tmp/said; mkfifo /tmp/status; "
        f"(({read_blocks(disk, skip=5000)}) >/tmp/said; echo $? >/tmp/status) >/dev/null 2>&1 &"
    )


def end_of_reading(guest):
    """(exit status of dd, what it said)."""
    status, said = guest.run("cat /tmp/status /tmp/said", PATIENCE_S).split("\n", 1)
    return int(status), said


def test_the_disk_comes_and_goes_while_the_guest_runs(guest, controller, make_image):
    """device_add with a socket that QMP has brought; after device_del the device program ends. And once more."""
    for name in ("FIRST", "SECOND"):
        image = make_image(f"{name}.img")
        made = controller(image, name=name)
        plug(guest, made, "port0")
        disk = wait_disk(guest, name)
        checksum = write_and_read(guest, disk, mib=4)
        assert complaints(guest) == ""
        unplug(guest, "port0")
        assert made.process.wait() == 0
        assert guest.run("ls -d /dev/nvme* /sys/class/nvme/* 2>/dev/null || true") == ""
        assert sha256_of(image, mib=4) == checksum


def test_linux_sees_what_the_controller_is(guest, plugged, controller, make_image):
    """Two namespaces, one of them read only with blocks of 4096."""
    other = make_image("other.img", mib=1)
    disk = plugged(controller(make_image(), f"{other},block-size=4096,readonly"), namespace=1)
    second = wait_disk(guest, "DISK", 2)
    assert guest.read(f"/sys/block/{disk}/size") == str(256 * MIB // 512)
    assert guest.read(f"/sys/block/{second}/queue/logical_block_size") == "4096"
    assert (guest.read(f"/sys/block/{disk}/ro"), guest.read(f"/sys/block/{second}/ro")) == ("0", "1")
    assert guest.read(f"/sys/block/{disk}/queue/write_cache") == "write back"
    assert int(guest.read(f"/sys/block/{disk}/queue/max_hw_sectors_kb")) == 512
    guest.run("echo 1 >/sys/class/nvme/nvme0/reset_controller")
    guest.run(read_blocks(disk, count=100))
    assert complaints(guest) == ""


def test_what_the_driver_asks_is_no_error(guest, plugged, controller, make_image):
    """A monitor of disks tells of each new entry, so enabling the controller must add none. The limits reach the driver."""
    disk = plugged(controller(make_image()))
    for _ in range(3):
        guest.run(f"{read_blocks(disk)}; until [ $(cat /sys/class/nvme/nvme0/state) = live ]; do usleep 10000; done")
        assert guest.run("error-log-entries /dev/nvme0").strip() == "0"
        guest.run("echo 1 >/sys/class/nvme/nvme0/reset_controller")
    assert int(guest.read(f"/sys/block/{disk}/queue/write_zeroes_max_bytes")) == 32 * MIB
    assert int(guest.read(f"/sys/block/{disk}/queue/discard_max_bytes")) > 1 << 40
    assert complaints(guest) == ""


def test_each_completion_is_told_by_an_interrupt(guest, plugged, controller, make_image):
    """One read at a time: each takes one interrupt; none is lost, for which the driver would wait, and none spurious."""
    disk = plugged(controller(make_image()))
    guest.run(read_blocks(disk))  # once that has an answer the kernel has looked for partitions
    told, completed = interrupts(guest, disk), completions(guest, disk)
    guest.run(read_blocks(disk, count=500))
    assert completions(guest, disk) - completed == 500
    assert interrupts(guest, disk) - told == 500
    assert complaints(guest) == ""


def test_an_image_that_grows_is_announced(guest, plugged, controller, make_image):
    """The running guest gets an asynchronous event, reads the log of changed namespaces, and uses the new room."""
    image = make_image()
    disk = plugged(controller(image))
    seen = len(guest.machine.console.lines)
    with open(image, "ab") as file:
        file.truncate(320 * MIB)
    guest.wait_console(rf"{disk}: detected capacity change from 524288 to 655360", start=seen)
    assert guest.read(f"/sys/block/{disk}/size") == str(320 * MIB // 512)
    checksum = write_and_read(guest, disk, mib=2, at_mib=300)
    assert sha256_of(image, mib=2, at_mib=300) == checksum
    assert complaints(guest) == ""


def test_a_minute_of_mixed_io_verifies(guest, plugged, controller, make_image):
    """fio: 32 at a time, random places, sizes from 512 bytes to 256 KiB, all that was written is read and checked."""
    disk = plugged(controller(make_image()))
    told, completed = interrupts(guest, disk), completions(guest, disk)
    report = guest.run(
        f"{FIO} --name=mixed --filename=/dev/{disk} --direct=1 --ioengine=libaio --iodepth=32"
        " --rw=randrw --bsrange=512-256k --blockalign=512 --size=128m --verify=crc32c --verify_backlog=256"
        " --time_based --runtime=61 --verify_fatal=1 --fdatasync=64 --output-format=terse --terse-version=3 2>&1",
        PATIENCE_S,
    ).split(";")
    error, read_kib, read_ms, write_kib = (int(report[at]) for at in (4, 5, 8, 46))
    assert error == 0
    assert read_ms >= 60_000
    assert min(read_kib, write_kib) > 10 << 10
    told, completed = interrupts(guest, disk) - told, completions(guest, disk) - completed
    assert completed / 32 <= told <= completed
    assert complaints(guest) == ""


def test_a_controller_that_hangs_stops_the_guest(guest, plugged, controller, make_image, cleanup):
    """Not QEMU. When it goes on, so does the guest, as if nothing had been."""
    made = controller(make_image())
    watch = cleanup.enter_context(made.sock.dup())
    disk = plugged(made)
    made.process.signal(signal.SIGSTOP)
    start_reading(guest, disk)
    wait_unread(watch)
    assert guest.qmp.execute("query-status")["status"] == "running"
    with pytest.raises(GuestTimeout):
        guest.run("true", timeout=2)  # its only processor stands in the access
    made.process.signal(signal.SIGCONT)
    assert end_of_reading(guest)[0] == 0
    assert complaints(guest) == ""


def test_a_controller_that_dies_takes_its_disk_with_it(guest, plugged, controller, make_image, cleanup):
    """With I/O in flight. The guest, its other disk and the port live on; a new controller is a new disk."""
    other = plugged(controller(make_image("other.img"), name="OTHER"), "OTHER")
    guest.run("echo 3 >/sys/module/nvme_core/parameters/io_timeout")  # 30 s, unless told
    made = controller(make_image())
    watch = cleanup.enter_context(made.sock.dup())
    plug(guest, made, "port1")
    disk = wait_disk(guest, "DISK")
    made.process.signal(signal.SIGSTOP)
    start_reading(guest, disk)
    wait_unread(watch)
    seen = len(guest.machine.console.lines)
    made.process.kill()
    status, said = end_of_reading(guest)
    assert status == 1 and "Input/output error" in said
    guest.wait_console(r"controller is down; will reset: CSTS=0xffffffff", start=seen)
    guest.wait_console(r"Removing after probe failure status: -19", start=seen)
    guest.run(f"while [ -e /sys/block/{disk} ]; do usleep 10000; done")
    guest.run(read_blocks(other, count=100))
    unplug(guest, "port1")
    plug(guest, controller(make_image("new.img"), name="NEW"), "port1")
    guest.run(read_blocks(wait_disk(guest, "NEW"), count=100))
    unplug(guest, "port1")
    guest.run("echo 30 >/sys/module/nvme_core/parameters/io_timeout")


def test_nbd_exports(guest, controller, make_image, spawn, tmp_path):
    """A qcow2 by qemu-nbd and a file by nbdkit, of which the second dies with I/O in flight: errors there, nothing else."""
    qcow2, raw = tmp_path / "disk.qcow2", make_image("raw.img")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", qcow2, "256M"], check=True)
    uri, qemu_nbd = nbd_server.start(
        spawn, tmp_path / "qemu-nbd.sock", ["qemu-nbd", "-f", "qcow2", "--discard=unmap", qcow2]
    )
    doomed_uri, nbdkit = nbd_server.start(spawn, tmp_path / "nbdkit.sock", ["nbdkit", "-f", "file", raw])
    made = controller(uri, doomed_uri, options=["--timeout-ms=1000"])  # Linux tries each command six times
    plug(guest, made, "port0")
    disk, doomed = wait_disk(guest, "DISK"), wait_disk(guest, "DISK", 2)
    checksum = guest.run(
        f"/sbin/mke2fs -t ext4 -q /dev/{disk} && mount /dev/{disk} /mnt && cd /mnt &&"
        " dd if=/dev/urandom of=data bs=1M count=16 2>/dev/null && sync && sha256sum data && cd / && umount /mnt",
        PATIENCE_S,
    ).split()[0]
    assert write_and_read(guest, doomed, mib=4) == sha256_of(raw, mib=4)
    assert complaints(guest) == ""

    nbdkit.signal(signal.SIGSTOP)
    start_reading(guest, doomed)
    guest.run(f"until [ $(awk '{{print $1}}' /sys/block/{doomed}/inflight) = 1 ]; do usleep 10000; done")
    guest.run(read_blocks(disk))  # the other one goes on meanwhile
    nbdkit.kill()
    assert end_of_reading(guest) == (1, f"dd: /dev/{doomed}: Input/output error\n")
    written = guest.attempt(f"dd if=/dev/zero of=/dev/{doomed} bs=4k count=1 oflag=direct 2>&1")
    assert f"dd: error writing '/dev/{doomed}': Input/output error" in written.output
    said = guest.run("dmesg -c")
    assert f"{doomed}: I/O Cmd(0x2) @ LBA 40000, 8 blocks, I/O Error (sct 0x0 / sc 0x6)" in said
    assert f"{doomed}: I/O Cmd(0x1) @ LBA 0, 8 blocks, I/O Error (sct 0x0 / sc 0x6)" in said
    assert guest.read("/sys/class/nvme/nvme0/state") == "live"
    assert guest.run(f"mount /dev/{disk} /mnt && sha256sum /mnt/data && umount /mnt").split()[0] == checksum
    assert complaints(guest) == ""

    unplug(guest, "port0")
    assert made.process.wait() == 0
    assert qemu_nbd.wait() == 0
    subprocess.run(["qemu-img", "check", "-q", qcow2], check=True)
    subprocess.run(["qemu-img", "convert", "-q", "-O", "raw", qcow2, tmp_path / "copy.img"], check=True)
    assert_sound(tmp_path / "copy.img")
    assert hashlib.sha256(file_of(tmp_path / "copy.img", "/data")).hexdigest() == checksum

# SPDX-License-Identifier: BSD-3-Clause
"""outboard-nvme as a disk of real guests: what the guest is asked, and what the host finds in the image."""
import array
import dataclasses
import fcntl
import re
import socket
import struct
import subprocess
import termios
import time

from guestlab import Process, paths

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-nvme"
MIB = 1 << 20
SECTOR = 512

# Nested guests may be a hundred times slower than others on a machine with more to do.
PATIENCE_S = 300


@dataclasses.dataclass
class Controller:
    """A running outboard-nvme, and the end of its socket that QEMU is to get."""

    process: Process
    sock: socket.socket


def wait_unread(watch):
    """Waits until QEMU has sent what the controller, which has been stopped, does not read.

    watch: a duplicate of QEMU's end.
    """
    deadline = time.monotonic() + PATIENCE_S
    unread = array.array("i", [0])
    while unread[0] == 0:
        assert time.monotonic() < deadline, "QEMU sends nothing"
        fcntl.ioctl(watch, termios.TIOCOUTQ, unread)


def attached(*controllers):
    """The options of boot() by which a guest has these controllers from the start."""
    arguments = []
    for number, controller in enumerate(controllers):
        arguments += ["-device", f"x-pci-proxy-dev,id=nvme{number},fd={controller.sock.fileno()}"]
    return {"arguments": arguments, "inherit": [controller.sock for controller in controllers]}


def plug(guest, controller, bus):
    """Gives a running guest a controller, on an empty root port whose name the device takes too."""
    with controller.sock as sock:
        guest.qmp.give("controller", sock)
    guest.qmp.execute("device_add", {"driver": "x-pci-proxy-dev", "id": f"nvme-{bus}", "bus": bus, "fd": "controller"})


def unplug(guest, bus):
    """Takes it away again, which the guest has to agree to."""
    guest.qmp.execute("device_del", {"id": f"nvme-{bus}"})
    guest.qmp.wait_event("DEVICE_DELETED", device=f"nvme-{bus}", timeout=PATIENCE_S)


def left_plugged(guest):
    """The buses on which plug() has put a controller that nobody has taken away."""
    devices = guest.qmp.execute("qom-list", {"path": "/machine/peripheral"})
    return [device["name"].removeprefix("nvme-") for device in devices if device["name"].startswith("nvme-")]


def wait_disk(guest, serial, namespace=1):
    """Waits until the kernel has found a namespace, in the background as it does; its name, such as "nvme0n1"."""
    return guest.run(
        f"until name=$(ls -d $(dirname $(grep -lw {serial} /sys/class/nvme/*/serial) 2>/dev/null)/nvme*n{namespace}) &&"
        " [ -b /dev/${name##*/} ]; do usleep 10000; done 2>/dev/null; echo ${name##*/}",
        PATIENCE_S,
    ).strip()


def complaints(guest):
    """What the kernel has to say of its disks that is more than information, and any word of what must never happen."""
    return guest.run(
        "dmesg -r | grep -iE 'nvme|blk_update|I/O error|nobody cared' |"
        " grep -iE '^<[0-4]>|timeout|abort|reset' || true"
    )


def interrupts(guest, disk="nvme0n1"):
    """How many the driver has taken of a disk's controller: its queues share one."""
    controller = re.match(r"(nvme\d+)n", disk)[1]
    return int(guest.run(f"grep -w {controller}q0 /proc/interrupts").split()[1])


def completions(guest, disk="nvme0n1"):
    """How many reads, writes, discards and flushes the kernel has had an answer to; see iostats.rst in its tree."""
    fields = guest.read(f"/sys/block/{disk}/stat").split()
    return sum(int(fields[at]) for at in (0, 4, 11, 15))


def partition_of(image):
    """Where the first partition of a disk with an MBR is: (offset, length), in bytes."""
    with open(image, "rb") as file:
        sector = file.read(SECTOR)
    assert sector[510:] == b"\x55\xaa"
    kind, first, count = struct.unpack_from("<4xB3xII", sector, 446)
    assert kind == 0x83  # Linux
    return first * SECTOR, count * SECTOR


def assert_sound(image, offset=0):
    """A file system was left whole and clean."""
    subprocess.run(["e2fsck", "-fn", f"{image}?offset={offset}"], capture_output=True, check=True)


def file_of(image, path):
    """A file of an ext4 file system, read by other means than a kernel's."""
    return subprocess.run(["debugfs", "-R", f"cat {path}", image], capture_output=True, check=True).stdout


def copy_folder(image, path, target, offset=0):
    """Copies a folder out of an ext4 file system, by other means than a kernel's."""
    command = ["debugfs", "-R", f"rdump {path} {target}", f"{image}?offset={offset}"]
    subprocess.run(command, capture_output=True, check=True)

# SPDX-License-Identifier: BSD-3-Clause
"""Images that outboard-nvme must not take as they are: of another format, in use, or where io_uring is forbidden."""
import fcntl
import os
import struct
import subprocess
import sys

import nbd_server
import pytest
from driver import IMAGE_LEN, PAGE, PROGRAM, SUCCESS, Controller, Disk, pattern

# The formats that qemu-img can make, and how the option calls them.
MADE = {
    "qcow": ["qcow"], "qcow2": ["qcow2"], "qcow2-v2": ["qcow2", "-o", "compat=0.10"], "qed": ["qed"], "vdi": ["vdi"],
    "vmdk": ["vmdk"], "vmdk-flat": ["vmdk", "-o", "subformat=monolithicFlat"],
    "vmdk-stream": ["vmdk", "-o", "subformat=streamOptimized"], "vhdx": ["vhdx"], "vpc": ["vpc"],
    "vpc-fixed": ["vpc", "-o", "subformat=fixed"], "parallels": ["parallels"],
}  # fmt: skip

# Those that it can't make, or not at once: (where, mark)
MARKS = {
    "luks": (0, b"LUKS\xba\xbe\0\1"),
    "cloop": (0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0\n"),
    "bochs": (0, b"Bochs Virtual HD Image".ljust(32, b"\0") + b"Redolog"),
    "dmg": (IMAGE_LEN - 512, b"koly" + struct.pack(">II", 4, 512)),
}


def refusal(*options, wrapper=()):
    """Why the program does not start."""
    argv = [*wrapper, PROGRAM, "--fd=0", *options]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.fixture
def make(tmp_path):
    """make(kind): an image of one of the formats above."""

    def make_image(kind):
        path = tmp_path / kind
        if kind in MARKS:
            at, mark = MARKS[kind]
            with open(path, "wb") as file:
                file.truncate(IMAGE_LEN)
                os.pwrite(file.fileno(), mark, at)
        else:
            subprocess.run(["qemu-img", "create", "-q", "-f", *MADE[kind], path, str(IMAGE_LEN)], check=True)
        return path

    return make_image


@pytest.mark.parametrize("kind", [*MADE, *MARKS])
def test_an_image_of_another_format_is_refused(machine, make, kind):
    """With the way to serve it; unless the user says that the guest is to see the file's bytes."""
    path, name = make(kind), kind.split("-")[0]
    for properties in ("", ",readonly"):
        said = refusal(f"--image={path}{properties}")
        assert f"got a {name} image, expected a raw one" in said
        assert "outboard disk" in said and f"qemu-nbd --persistent -f {name}" in said and ",format=raw" in said
    os.truncate(path, max(512, path.stat().st_size))  # a VMDK may be a short text
    disk = Disk(Controller(machine(f"{path},format=raw")).create_queue())
    assert disk.read(0, 512) == path.read_bytes()[:512]


def test_past_the_page_cache_the_format_is_found_too(make):
    """Or direct I/O is refused, where the file system has none."""
    said = refusal(f"--image={make('qcow2')},direct")
    assert "got a qcow2 image, expected a raw one" in said or "has no direct I/O" in said


def test_a_mark_that_the_guest_writes_is_its_own_business(machine, image, make):
    """While the image is served nobody looks; the next time, whoever serves it has to say that it is raw."""
    for kind in ("qcow2", "dmg"):
        mark = make(kind).read_bytes()
        controller = Controller(machine(image))
        disk = Disk(controller.create_queue())
        at = 0 if kind == "qcow2" else IMAGE_LEN // 512 - 1
        assert disk.write(at, mark[at * 512 :][:512]) == SUCCESS
        controller.disable()
        disk = Disk(Controller(controller.machine).create_queue())
        assert disk.read(at, 512) == mark[at * 512 :][:512]
        assert controller.machine.process.terminate() == 0
        assert ", expected a raw one" in refusal(f"--image={image}")
        controller = Controller(machine(f"{image},format=raw"))
        assert Disk(controller.create_queue()).write(at, bytes(512)) == SUCCESS
        assert controller.machine.process.terminate() == 0


def test_marks_at_other_places_are_data(machine, image):
    data = bytearray(pattern(0, IMAGE_LEN))
    for at, mark in ((512, b"QFI\xfb"), (1, b"KDMV"), (IMAGE_LEN - 512, b"conectix"), (IMAGE_LEN - 1024, b"koly")):
        data[at : at + len(mark)] = mark
    image.write_bytes(data)
    assert Disk(Controller(machine(image)).create_queue()).read(1, 512) == data[512:1024]


@pytest.mark.parametrize("size", [512, 513, 4096])
def test_short_images_are_looked_at_too(machine, tmp_path, size):
    path = tmp_path / "short.img"
    path.write_bytes(b"QFI\xfb".ljust(size, b"\0"))
    assert "got a qcow2 image, expected a raw one" in refusal(f"--image={path}")
    path.write_bytes(bytes(size))
    assert Disk(Controller(machine(path)).create_queue()).read(0, 512) == bytes(512)


@pytest.mark.parametrize("properties, what", [
    ("format=qcow2", "format=qcow2"), ("snapshot", "snapshot"), ("nbd", "nbd"), ("key-file=/k", "key-file="),
    ("format=raw,snapshot", "snapshot"),
])  # fmt: skip
def test_what_a_server_is_needed_for(image, properties, what):
    assert f"{what} needs an NBD server; use 'outboard disk'" in refusal(f"--image={image},{properties}")


def test_a_serial_number_is_of_one_image(machine, image, tmp_path):
    """Linux drops the second namespace that has the identifiers of another."""
    other = tmp_path / "other.img"
    other.write_bytes(bytes(PAGE))
    said = refusal(f"--image={image},serial=VM1", f"--image={other},serial=VM2", f"--image={other},readonly,serial=VM1")
    assert "images 1 and 3: both have the serial number 'VM1'" in said
    assert "images 1 and 2: both have the serial number" in refusal(*[f"--image={image},readonly"] * 2)
    (tmp_path / "link.img").symlink_to(image)
    assert "images 1 and 2: both have the serial number" in refusal(f"--image={image},readonly", f"--image={tmp_path}/link.img,readonly")
    nvme = Controller(machine(f"{image},readonly", f"{image},readonly,serial=SECOND"))
    assert nvme.identify(3, 1)[4:20] != nvme.identify(3, 2)[4:20]


def qemu_nbd(spawn, path, image, *options):
    """qemu-nbd, which has the image open: a client has been greeted."""
    uri, process = nbd_server.start(spawn, path, ["qemu-nbd", "--persistent", "-f", "raw", *options, image])
    subprocess.run(["qemu-img", "info", uri], capture_output=True, check=True)
    return process


def test_who_writes_with_qemu_is_seen(spawn, image, tmp_path):
    """By a reader too: the disk would change under its guest."""
    process = qemu_nbd(spawn, tmp_path / "nbd", image)
    for properties in ("", ",readonly"):
        assert "another process uses the image" in refusal(f"--image={image}{properties}")
    assert process.terminate() == 0


def test_readers_go_with_readers_of_qemu(machine, spawn, image, tmp_path):
    """Whoever is first; none of them lets a writer in."""
    process = qemu_nbd(spawn, tmp_path / "nbd", image, "--read-only")
    first = Controller(machine(f"{image},readonly"))
    assert "another process uses the image" in refusal(f"--image={image}")
    assert process.terminate() == 0
    process = qemu_nbd(spawn, tmp_path / "nbd2", image, "--read-only")
    resize = ["qemu-img", "resize", "-f", "raw", image, "16M"]
    done = subprocess.run(resize, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "lock" in done.stderr
    assert process.terminate() == 0
    assert subprocess.run(resize, capture_output=True, check=False).returncode != 0
    assert Disk(first.create_queue()).read(0, PAGE) == pattern(0, PAGE)


def test_a_writer_keeps_qemu_out(machine, image):
    nvme = Controller(machine(image))
    resize = ["qemu-img", "resize", "-f", "raw", image, "16M"]
    done = subprocess.run(resize, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "lock" in done.stderr
    assert nvme.machine.process.terminate() == 0
    subprocess.run(resize, capture_output=True, check=True)


def is_locked(image):
    """Whether one of the bytes that QEMU's programs look at is locked."""
    with open(image, "r+b") as file:
        question = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 100, 104, 0)
        answer = fcntl.fcntl(file, 36, question)  # F_OFD_GETLK
    return struct.unpack("hhqqi4x", answer)[0] != fcntl.F_UNLCK


def test_an_image_of_a_program_that_was_killed_is_taken(machine, image):
    """The kernel takes its ring apart some time after its end; the next program waits for that, QEMU's need not."""
    for number in range(5):
        disk = Disk(Controller(machine(image)).create_queue())
        assert disk.write(number, bytes([number]) * 512) == SUCCESS
        assert is_locked(image)
        disk.machine.process.kill()
        assert not is_locked(image)
    assert image.read_bytes()[: 5 * 512] == b"".join(bytes([number]) * 512 for number in range(5))


# Python that becomes another program, for which io_uring_setup(2) fails with the number given.
FORBID = """
import ctypes, os, struct, sys
NO_NEW_PRIVS, SECCOMP, FILTER = 38, 22, 2
SETUP, LOAD, EQUAL, RETURN, ERRNO, ALLOW = 425, 0x20, 0x15, 6, 0x50000, 0x7FFF0000
lines = [(LOAD, 0, 0, 0), (EQUAL, 0, 1, SETUP), (RETURN, 0, 0, ERRNO | int(sys.argv[1])), (RETURN, 0, 0, ALLOW)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(lines), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(SECCOMP, FILTER, program):
    sys.exit(os.strerror(ctypes.get_errno()))
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("number", [1, 13, 38])
def test_where_io_uring_is_forbidden_the_reason_and_the_way_are_told(image, number):
    """EPERM of a container or of kernel.io_uring_disabled, EACCES, ENOSYS."""
    said = refusal(f"--image={image}", wrapper=[sys.executable, "-c", FORBID, str(number)])
    assert "io_uring: forbidden here" in said
    assert "qemu-nbd --persistent" in said and "outboard disk" in said
    assert os.strerror(number) in said


def test_an_nbd_export_needs_no_io_uring(attach_to, spawn, image, tmp_path):
    uri, _ = nbd_server.start(spawn, tmp_path / "nbd", ["qemu-nbd", "--persistent", "-f", "raw", image])
    disk = Disk(Controller(attach_to(sys.executable, "-c", FORBID, "1", PROGRAM, f"--image={uri}")).create_queue())
    assert disk.read(0, PAGE) == pattern(0, PAGE)
    assert disk.write(0, bytes(PAGE)) == SUCCESS

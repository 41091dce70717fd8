# SPDX-License-Identifier: BSD-3-Clause
"""NBD exports as disks: qcow2 by qemu-nbd, and nbdkit with its filters as servers that lack things or break."""
import os
import subprocess

import nbd_server
import pytest
from driver import PAGE, SUCCESS, WRITE_PROTECTED, Controller, Disk, pattern

READ, WRITE, COMPARE, ZEROES, DATASET = 0x02, 0x01, 0x05, 0x08, 0x09
WRITE_FAULT, UNRECOVERED_READ, CAPACITY = 0x280, 0x281, 0x081
FUA = 1 << 30
LONGEST = 512 << 10


@pytest.fixture
def serve(spawn, tmp_path):
    """serve(argv): runs an NBD server on a socket that listens already; the URI and the Process."""

    def start(*argv):
        return nbd_server.start(spawn, tmp_path / "nbd.sock", argv)

    return start


@pytest.fixture
def nbdkit(serve):
    def start(*arguments):
        return serve("nbdkit", "-f", *arguments)

    return start


def check_everything(disk):
    """Each operation, and what it must leave."""
    assert disk.read(0, LONGEST) == pattern(0, LONGEST)
    data = os.urandom(65536 + 512)
    assert disk.write(3, data, FUA) == SUCCESS
    assert disk.read(3, len(data)) == data
    address = disk.machine.pages(20) + 4
    assert disk.run(READ, 3, address, len(data)) == SUCCESS
    assert disk.machine.read(address, len(data)) == data
    assert disk.run(COMPARE, 3, address, len(data)) == SUCCESS
    for flags in (0, FUA, 1 << 25):
        assert disk.queue.run(ZEROES, 1, d10=8, d12=255 | flags).status == SUCCESS
        assert disk.read(8, 256 * 512) == bytes(256 * 512)
        assert disk.write(8, data[: 256 * 512]) == SUCCESS
    disk.machine.write(address, bytes(4) + (4096).to_bytes(4, "little") + (0).to_bytes(8, "little"))
    assert disk.queue.run(DATASET, 1, address, d11=4).status == SUCCESS
    assert disk.read(8192, 4096) == pattern(8192 * 512, 4096)
    assert disk.flush() == SUCCESS


def test_qcow2_by_qemu_nbd(controller, serve, image, tmp_path):
    qcow2 = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "convert", "-q", "-O", "qcow2", image, qcow2], check=True)
    uri, server = serve("qemu-nbd", "-f", "qcow2", "--discard=unmap", qcow2)
    nvme = controller(uri)
    disk = Disk(nvme.create_queue())
    check_everything(disk)
    data = os.urandom(PAGE)
    assert disk.write(9000, data) == SUCCESS
    assert disk.flush() == SUCCESS
    nvme.machine.process.terminate()
    assert server.wait() == 0
    raw = tmp_path / "raw.img"
    subprocess.run(["qemu-img", "convert", "-q", "-O", "raw", qcow2, raw], check=True)
    assert raw.read_bytes()[9000 * 512 :][:PAGE] == data
    subprocess.run(["qemu-img", "check", "-q", qcow2], check=True)


@pytest.mark.parametrize(
    "filters",
    [
        [],
        ["--filter=nozero"],
        ["--filter=fua"],
        ["--filter=blocksize-policy", "blocksize-minimum=512", "blocksize-error-policy=error"],
        ["--filter=noparallel"],
    ],
    ids=lambda filters: "-".join(filters) or "plain",
)
def test_servers_of_all_kinds(controller, nbdkit, image, filters):
    uri, _ = nbdkit(*filters[:1], "file", image, *filters[1:])
    check_everything(Disk(controller(uri).create_queue()))


def test_many_commands_at_a_time(controller, nbdkit, image):
    uri, _ = nbdkit("--filter=delay", "file", image, "delay-read=1ms")
    disk = Disk(controller(uri).create_queue())
    buffers = [disk.machine.pages(16) for _ in range(50)]
    commands = [disk.start(READ, 16 * i, address, 65536) for i, address in enumerate(buffers)]
    for i, (command, address) in enumerate(zip(commands, buffers)):
        assert disk.queue.wait(command).status == SUCCESS
        assert disk.machine.read(address, 65536) == pattern(16 * 512 * i, 65536)


def test_read_only_export(machine, nbdkit, image):
    uri, _ = nbdkit("-r", "file", image)
    disk = Disk(Controller(machine(f"{uri},readonly")).create_queue())
    assert disk.read(0, PAGE) == pattern(0, PAGE)
    assert disk.write(0, bytes(PAGE)) == WRITE_PROTECTED


@pytest.mark.parametrize(
    "error, reading, writing",
    [("EIO", UNRECOVERED_READ, WRITE_FAULT), ("ENOSPC", CAPACITY, CAPACITY)],
)
def test_errors_of_the_server_reach_the_guest(controller, nbdkit, image, error, reading, writing, tmp_path):
    broken = tmp_path / "broken"
    uri, _ = nbdkit("--filter=error", "file", image, f"error={error}", "error-rate=100%", f"error-file={broken}")
    disk = Disk(controller(uri).create_queue())
    address = disk.machine.pages(2)
    assert disk.run(READ, 0, address, 8192) == SUCCESS
    broken.touch()
    assert disk.run(READ, 0, address, 8192) == reading
    assert disk.run(WRITE, 0, address, 8192) == writing
    assert disk.queue.run(ZEROES, 1, d12=7).status == writing
    assert disk.run(COMPARE, 0, address, 8192) == reading
    broken.unlink()
    assert disk.run(READ, 0, address, 8192) == SUCCESS


def test_a_server_that_dies_fails_io_and_nothing_else(controller, nbdkit, image):
    uri, server = nbdkit("--filter=delay", "file", image, "delay-read=60")
    nvme = controller(uri)
    disk = Disk(nvme.create_queue())
    started = [disk.start(READ, i, disk.machine.pages(2), 8192) for i in range(8)]
    disk.machine.register(0)
    server.kill()
    assert {disk.queue.wait(command).status for command in started} == {UNRECOVERED_READ}
    assert disk.flush() == WRITE_FAULT
    assert disk.write(0, bytes(512)) == WRITE_FAULT
    assert nvme.identify(1)
    nvme.disable()
    nvme.admin = nvme.enable()
    assert nvme.machine.process.terminate() == 0


def test_disable_while_the_server_is_slow(controller, nbdkit, image):
    uri, _ = nbdkit("--filter=delay", "file", image, "delay-read=200ms")
    nvme = controller(uri)
    disk = Disk(nvme.create_queue())
    address = disk.machine.pages(2)
    disk.start(READ, 0, address, 8192)
    nvme.disable()
    disk.machine.write(address, b"\x55" * 8192)
    nvme.admin = nvme.enable()
    assert Disk(nvme.create_queue()).read(0, 512) == pattern(0, 512)
    assert disk.machine.read(address, 8192) == b"\x55" * 8192

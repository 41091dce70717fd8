# SPDX-License-Identifier: BSD-3-Clause
"""NBD exports as disks: qcow2 by qemu-nbd, and nbdkit with its filters as servers that lack things or break."""
import os
import subprocess

import driver
import pytest
from driver import ABORTED, IMAGE_LEN, PAGE, PROGRAM, SUCCESS, WRITE_PROTECTED, Controller, Disk, pattern
from server import Server
from vfio_machine import VfioMachine

READ, WRITE, COMPARE, ZEROES, DATASET = 0x02, 0x01, 0x05, 0x08, 0x09
FLUSH, ABORT, SET_FEATURES, EVENT = 0x00, 0x08, 0x09, 0x0C
INTERNAL, WRITE_FAULT, UNRECOVERED_READ, CAPACITY = 0x006, 0x280, 0x281, 0x081
FUA = 1 << 30
LONGEST = 512 << 10


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
        ["--filter=blocksize-policy", "blocksize-preferred=4K", "blocksize-maximum=64K", "blocksize-error-policy=error"],
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
    nvme = controller(uri, options=["--timeout-ms=400"])
    disk = Disk(nvme.create_queue())
    started = [disk.start(READ, i, disk.machine.pages(2), 8192) for i in range(8)]
    disk.machine.register(0)
    server.kill()
    assert {disk.queue.wait(command).status for command in started} == {INTERNAL}
    assert disk.flush() == INTERNAL
    assert disk.write(0, bytes(512)) == INTERNAL
    assert nvme.identify(1)
    nvme.disable()
    nvme.admin = nvme.enable()
    assert nvme.machine.process.terminate() == 0


def test_a_server_that_comes_back_is_a_pause(controller, nbdkit, gate, image):
    uri, server = nbdkit(gate.options[0], "file", image, gate.options[1])
    nvme = controller(uri)
    disk = Disk(nvme.create_queue())
    assert disk.write(100, b"stable" * 256) == SUCCESS
    assert disk.flush() == SUCCESS
    gate.shut()
    written = [os.urandom(PAGE) for _ in range(8)]
    commands = []
    for number, data in enumerate(written):
        address = disk.machine.pages(1)
        disk.machine.write(address, data)
        commands.append(disk.start(WRITE, 1000 + 8 * number, address, PAGE))
    read = disk.machine.pages(2)
    commands.append(disk.start(READ, 0, read, 8192))
    commands.append(disk.queue.submit(FLUSH, 1))
    disk.machine.register(0)
    server.kill()
    assert nvme.identify(1)
    nbdkit("file", image)
    assert {disk.queue.wait(command).status for command in commands} == {SUCCESS}
    assert disk.machine.read(read, 8192) == pattern(0, 8192)
    assert disk.queue.completed == disk.queue.submitted
    assert image.read_bytes()[1000 * 512 :][: 8 * PAGE] == b"".join(written)
    assert disk.read(100, 1536) == b"stable" * 256


def test_what_no_flush_has_covered_is_not_counted_on(controller, nbdkit, image):
    """A server that was killed may have lost a write that it had acknowledged: nothing works until the guest starts anew."""
    uri, server = nbdkit("file", image)
    nvme = controller(uri)
    disk = Disk(nvme.create_queue())
    assert disk.write(0, bytes(PAGE)) == SUCCESS
    server.kill()
    nbdkit("file", image)
    address = disk.machine.pages(1)
    assert disk.run(READ, 0, address, PAGE) == UNRECOVERED_READ
    assert disk.run(WRITE, 0, address, PAGE) == disk.flush() == WRITE_FAULT
    assert "no flush had covered" in nvme.machine.process.log.read_text()
    nvme.disable()
    nvme.admin = nvme.enable()
    disk = Disk(nvme.create_queue())
    assert disk.read(8, PAGE) == pattern(PAGE, PAGE)
    assert disk.write(0, pattern(0, PAGE)) == disk.flush() == SUCCESS


def test_fua_and_flush_are_counted_on(controller, nbdkit, image):
    uri, server = nbdkit("file", image)
    disk = Disk(controller(uri).create_queue())
    assert disk.write(0, bytes(PAGE)) == disk.flush() == SUCCESS
    assert disk.write(8, bytes(PAGE), FUA) == SUCCESS
    server.kill()
    nbdkit("file", image)
    assert disk.read(0, 3 * PAGE) == bytes(2 * PAGE) + pattern(2 * PAGE, PAGE)


def test_an_export_that_comes_back_with_another_size_is_announced(controller, nbdkit, image):
    uri, server = nbdkit("file", image)
    nvme = controller(uri)
    assert nvme.admin.run(SET_FEATURES, d10=0x0B, d11=1 << 8).status == SUCCESS
    event = nvme.admin.submit(EVENT)
    disk = Disk(nvme.create_queue())
    server.kill()
    os.truncate(image, 2 * IMAGE_LEN)
    nbdkit("file", image)
    assert disk.read(0, PAGE) == pattern(0, PAGE)
    assert nvme.admin.wait(event).result == 0x040002
    assert int.from_bytes(nvme.identify(0, 1)[:8], "little") == 2 * IMAGE_LEN // 512


def test_an_export_that_comes_back_as_another_is_not_taken(controller, nbdkit, image):
    uri, server = nbdkit("file", image)
    nvme = controller(uri, options=["--timeout-ms=2000"])
    disk = Disk(nvme.create_queue())
    server.kill()
    nbdkit("-r", "file", image)
    assert disk.run(READ, 0, disk.machine.pages(1), PAGE) == INTERNAL
    assert "is read only" in nvme.machine.process.log.read_text()


def test_a_parked_command_is_aborted(controller, nbdkit, image):
    uri, server = nbdkit("file", image)
    nvme = controller(uri)
    disk = Disk(nvme.create_queue())
    server.kill()
    command = disk.start(READ, 0, disk.machine.pages(1), PAGE)
    while nvme.admin.run(ABORT, d10=command << 16 | 1).result != 0:
        pass  # not until the loss has been noticed
    assert disk.queue.wait(command).status == ABORTED


def test_a_queue_with_parked_commands_is_deleted(controller, nbdkit, image):
    uri, server = nbdkit("file", image)
    nvme = controller(uri)
    disk = Disk(nvme.create_queue())
    server.kill()
    disk.start(READ, 0, disk.machine.pages(1), PAGE)
    assert nvme.delete_sq(1) == nvme.delete_cq(1) == SUCCESS


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


@pytest.fixture
def path_device(serve, image, tmp_path, cleanup):
    """A disk at a path, on an export of nbdkit: a function that connects a VM, the device's Server, nbdkit's Process."""
    uri, nbdkit = serve("nbdkit", "-f", "file", image)
    device = Server(tmp_path, PROGRAM, f"--image={uri}", "--interrupts=msix")
    cleanup.callback(device.end)

    def connect():
        machine = VfioMachine(device.connect())
        cleanup.callback(machine.close)
        machine.connect(reset=True)
        return machine

    return connect, device, nbdkit


def test_a_server_that_is_to_end_does_not_wait_for_a_disk_without_a_vm(path_device, image):
    """nbdkit ends once its clients have gone. What no flush had covered is flushed before."""
    connect, _, nbdkit = path_device
    machine = connect()
    disk = Disk(Controller(machine).create_queue())
    assert disk.write(0, b"x" * 512) == SUCCESS
    machine.client.close()
    assert nbdkit.terminate(driver.PATIENCE_S) == 0
    assert image.read_bytes()[:512] == b"x" * 512


def test_the_connection_is_made_again_for_the_next_vm(path_device):
    connect, device, _ = path_device
    first = connect()
    data = os.urandom(4096)
    assert Disk(Controller(first).create_queue()).write(64, data) == SUCCESS
    first.client.close()
    for _ in range(3):
        machine = connect()
        disk = Disk(Controller(machine).create_queue())
        assert disk.read(64, 4096) == data
        assert disk.write(64, data) == SUCCESS
        machine.client.close()
    assert "lost" not in device.messages() and "again" not in device.messages()

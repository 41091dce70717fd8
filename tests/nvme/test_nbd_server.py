# SPDX-License-Identifier: BSD-3-Clause
"""NBD servers that are slow, that say what they take, or that mean harm; each is scripted."""
import errno
import itertools
import struct
import threading

import pytest
import scripted_nbd
from driver import CSTS, PAGE, PATIENCE_S, RDY, SUCCESS, Disk, pattern
from scripted_nbd import READ, TRIM, WRITE, ZEROES, ScriptedNbd

GIB = 1 << 30
INTERNAL = 0x006
NOT_SUPPORTED = 95  # on NBD's wire
NVME_WRITE, NVME_READ, NVME_ZEROES, NVME_DATASET = 0x01, 0x02, 0x08, 0x09


@pytest.fixture
def scripted(tmp_path, cleanup):
    """scripted(**options of ScriptedNbd)"""

    def start(name="scripted.sock", **options):
        server = ScriptedNbd(tmp_path / name, **options)
        cleanup.callback(server.close)
        return server

    return start


def trim(disk, *ranges):
    """Discards (first block, blocks)... by one command; its status."""
    page = disk.machine.pages(1)
    disk.machine.write(page, b"".join(struct.pack("<IIQ", 0, blocks, slba) for slba, blocks in ranges))
    return disk.queue.run(NVME_DATASET, 1, page, d10=len(ranges) - 1, d11=4).status


@pytest.mark.parametrize("export", ["", "disk", "of a/odd % name?é"])
def test_a_uri_names_a_path_and_an_export(controller, scripted, tmp_path, export):
    server = scripted(name="a path % of letters#é")
    disk = Disk(controller(scripted_nbd.uri(tmp_path / "a path % of letters#é", export)).create_queue())
    assert disk.run(NVME_READ, 0, disk.machine.pages(1), PAGE) == SUCCESS
    assert set(server.exports) == {export}


class Pacer:
    """Answers one command each time that it is let, in order."""

    def __init__(self):
        self.waiting = []
        self.came = threading.Condition()

    def handle(self, connection, command):
        with self.came:
            self.waiting.append((connection, command))
            self.came.notify()

    def answer(self):
        with self.came:
            assert self.came.wait_for(lambda: self.waiting, PATIENCE_S)
            connection, command = self.waiting.pop(0)
        connection.answer(command)


def test_a_slow_server_is_not_a_hung_one(controller, scripted):
    """Each answer comes well within the time; all of them together take several times as long."""
    pacer = Pacer()
    nvme = controller(scripted(handle=pacer.handle).uri, options=["--timeout-ms=2000"])
    disk = Disk(nvme.create_queue())
    commands = [disk.start(NVME_READ, 8 * i, disk.machine.pages(1), PAGE) for i in range(12)]
    pause = threading.Event()
    for command in commands:
        pause.wait(0.4)
        pacer.answer()
        assert disk.queue.wait(command).status == SUCCESS
    assert "lost" not in nvme.machine.process.log.read_text()


def test_a_server_that_answers_others_but_not_one_keeps_the_disk(controller, scripted):
    """A command that hangs alone is the guest's to give up: what it does to that end ends it."""

    def all_but_one(connection, command):
        if command.offset != 0:
            connection.answer(command)

    nvme = controller(scripted(handle=all_but_one).uri, options=["--timeout-ms=300"])
    disk = Disk(nvme.create_queue())
    disk.start(NVME_READ, 0, disk.machine.pages(1), PAGE)
    assert disk.run(NVME_READ, 8, disk.machine.pages(1), PAGE) == SUCCESS
    nvme.disable()
    assert "has not answered for 300 ms" in nvme.machine.process.log.read_text()


def test_a_trim_goes_in_pieces_as_long_as_a_length_can_be(controller, scripted):
    server = scripted(size=64 * GIB)
    disk = Disk(controller(server.uri).create_queue())
    assert trim(disk, (0, 20 * GIB // 512), (40 * GIB // 512, 8)) == SUCCESS
    pieces = server.of_type(TRIM)
    assert len(pieces) == 7  # five whole ones, the rest of 20 GiB, and 4 KiB
    assert sum(piece.length for piece in pieces) == 20 * GIB + PAGE
    ends = [0, *itertools.accumulate(piece.length for piece in pieces[:6])]
    assert [piece.offset for piece in pieces] == [*ends[:6], 40 * GIB]
    assert all(piece.offset % PAGE == piece.length % 512 == 0 for piece in pieces)


def test_a_trim_that_is_too_long_for_the_server_goes_in_smaller_ones(controller, scripted):
    def handle(connection, command):
        too_long = command.type == TRIM and command.length > 32 << 20
        connection.answer(command, errno.EINVAL if too_long else 0)

    server = scripted(size=8 * GIB, handle=handle)
    disk = Disk(controller(server.uri).create_queue())
    for _ in range(2):
        assert trim(disk, (0, GIB // 512)) == SUCCESS
    pieces = [piece for piece in server.of_type(TRIM) if piece.length <= 32 << 20]
    assert len(server.of_type(TRIM)) == len(pieces) + 1, "it is asked once"
    assert sum(piece.length for piece in pieces) == 2 * GIB


def test_a_trim_that_the_server_does_not_have_is_ignored(controller, scripted):
    def handle(connection, command):
        connection.answer(command, NOT_SUPPORTED if command.type == TRIM else 0)

    server = scripted(handle=handle)
    disk = Disk(controller(server.uri).create_queue())
    assert trim(disk, (0, 8), (8, 8)) == SUCCESS
    assert trim(disk, (0, 8)) == SUCCESS


def test_zeroes_that_the_server_does_not_have_are_written(controller, scripted):
    """Many at a time: each answer is judged by what was asked, though the first one has changed how the next are asked."""
    pacer = Pacer()

    def handle(connection, command):
        if command.type == ZEROES:
            pacer.handle(connection, command)
        else:
            connection.answer(command)

    server = scripted(handle=handle)
    disk = Disk(controller(server.uri).create_queue())
    commands = [disk.queue.submit(NVME_ZEROES, 1, d10=64 * i, d12=63) for i in range(16)]
    with pacer.came:
        assert pacer.came.wait_for(lambda: len(pacer.waiting) == len(commands), PATIENCE_S)
    for connection, command in pacer.waiting:
        connection.answer(command, NOT_SUPPORTED)
    assert {disk.queue.wait(command).status for command in commands} == {SUCCESS}
    written = sorted((command.offset, command.data) for command in server.of_type(WRITE))
    assert written == [(32768 * i, bytes(32768)) for i in range(16)]


@pytest.mark.parametrize("most", [4096, 65536, 100 << 10])
def test_no_request_is_longer_than_the_server_takes(controller, scripted, most):
    """Data that begins within a page, too, and zeroes that are written because the server has no others."""
    flags = scripted_nbd.CAN_ALL & ~scripted_nbd.SEND_ZEROES
    server = scripted(blocks=(512, 4096, most), flags=flags)
    disk = Disk(controller(server.uri).create_queue())
    address = disk.machine.pages(130)
    for offset in (0, 512, 4):
        for opcode, kind in ((NVME_READ, READ), (NVME_WRITE, WRITE)):
            server.commands.clear()
            assert disk.run(opcode, 1, address + offset, 512 << 10) == SUCCESS
            pieces = server.of_type(kind)
            assert max(piece.length for piece in pieces) <= most
            assert all(piece.length % 512 == piece.offset % 512 == 0 for piece in pieces)
            assert sorted(itertools.chain(*(range(piece.offset, piece.offset + piece.length, 512) for piece in pieces))) == [
                *range(512, 512 + (512 << 10), 512)
            ]
    server.commands.clear()
    assert disk.queue.run(NVME_ZEROES, 1, d10=0, d12=255).status == SUCCESS
    assert max(piece.length for piece in server.of_type(WRITE)) <= most


class Endless:
    """Answers a read with chunks, as fast as they are taken, and never the last."""

    def __init__(self):
        self.sent = 0

    def handle(self, connection, command):
        if command.type != READ:
            connection.answer(command)
        while command.type == READ:
            connection.send_chunk(command, command.offset, bytes(command.length))
            self.sent += 1


def test_chunks_without_end_stop_nobody_else(controller, scripted, image):
    """Nor are they an answer: the server is given up when its time is over, several times over."""
    endless = Endless()
    server = scripted(structured=True, handle=endless.handle)
    nvme = controller(server.uri, image, options=["--timeout-ms=500"])
    queue = nvme.create_queue()
    hostile, healthy = Disk(queue), Disk(queue, nsid=2)
    command = hostile.start(NVME_READ, 0, hostile.machine.pages(1), PAGE)
    for _ in range(20):
        before = endless.sent
        assert nvme.identify(1) and nvme.machine.register(CSTS) == RDY
        assert healthy.read(0, PAGE) == pattern(0, PAGE)
        while endless.sent == before and "has not answered" not in nvme.machine.process.log.read_text():
            pass  # it goes on
    while "has not answered for 500 ms" not in nvme.machine.process.log.read_text():
        assert nvme.machine.register(CSTS) == RDY
    assert nvme.machine.process.terminate() == 0


def test_the_end_while_chunks_come(controller, scripted):
    nvme = controller(scripted(structured=True, handle=Endless().handle).uri)
    disk = Disk(nvme.create_queue())
    disk.start(NVME_READ, 0, disk.machine.pages(1), PAGE)
    assert nvme.identify(1)
    assert nvme.machine.process.terminate() == 0


def test_registers_go_on_while_a_server_that_is_back_says_nothing(controller, scripted, cleanup):
    """It takes the connection and no more: the handshake is not the loop's."""
    server = scripted()
    nvme = controller(server.uri, options=["--timeout-ms=1000"])
    disk = Disk(nvme.create_queue())
    assert disk.read(0, PAGE) == bytes(PAGE)
    silent = threading.Event()
    cleanup.callback(silent.set)
    reached = threading.Event()

    def say_nothing(sock):
        reached.set()
        silent.wait()

    server.serve = say_nothing
    server.connections[0].shutdown(2)
    command = disk.start(NVME_READ, 0, disk.machine.pages(1), PAGE)
    while not reached.is_set():
        assert nvme.identify(1) and nvme.machine.register(CSTS) == RDY
        nvme.machine.free -= PAGE
    assert disk.queue.wait(command).status == INTERNAL
    assert nvme.machine.process.terminate() == 0

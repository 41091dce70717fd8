# SPDX-License-Identifier: BSD-3-Clause
"""I/O commands of outboard-nvme, by a driver of the tests' own."""
import os
import struct

import pytest
from driver import (
    COMPARE_FAILURE, DATA_TRANSFER, IMAGE_LEN, INVALID_FIELD, INVALID_NAMESPACE, INVALID_OPCODE, LBA_RANGE, MEMORY_LEN,
    PAGE, PRP_OFFSET, SUCCESS, WRITE_PROTECTED, Disk, pattern, prp_list,
)  # fmt: skip

FUA = 1 << 30
DEALLOCATE = 1 << 25
LONGEST = 512 << 10
READ, WRITE, COMPARE, ZEROES, DATASET = 0x02, 0x01, 0x05, 0x08, 0x09


@pytest.mark.parametrize("length", [512, 4096, 4608, 8192, 12288, 65536, LONGEST])
def test_reads_are_what_the_image_holds(disk, length):
    assert disk.read(3, length) == pattern(3 * 512, length)


@pytest.mark.parametrize("length", [512, 4096, 4608, 8192, 12288, 65536, LONGEST])
@pytest.mark.parametrize("flags", [0, FUA])
def test_writes_arrive_and_nothing_else_does(disk, image, length, flags):
    data = os.urandom(length)
    assert disk.write(5, data, flags) == SUCCESS
    assert disk.flush() == SUCCESS
    start = 5 * 512
    expected = pattern(0, start) + data + pattern(start + length, IMAGE_LEN - start - length)
    assert image.read_bytes() == expected


@pytest.mark.parametrize("offset", [4, 512, 2048, 4092])
@pytest.mark.parametrize("length", [512, 4096, 65536])
def test_buffers_may_start_within_a_page(disk, offset, length):
    machine = disk.machine
    address = machine.pages(length // PAGE + 3) + offset
    machine.write(address - 4, b"\xaa" * (length + 8))
    assert disk.run(READ, 0, address, length) == SUCCESS
    assert machine.read(address - 4, length + 8) == b"\xaa" * 4 + pattern(0, length) + b"\xaa" * 4


def test_scattered_pages_and_lists_that_span_pages(disk):
    """Every other page, backwards, by a list that begins at the last entry but one of its page."""
    machine = disk.machine
    first = machine.pages(2 * 128)
    pages = [first + 2 * PAGE * i for i in reversed(range(128))]
    at = machine.pages(1) + PAGE - 16
    prp2 = prp_list(machine, pages[1:], at)
    done = disk.queue.run(READ, 1, pages[0], prp2, d12=LONGEST // 512 - 1)
    assert done.status == SUCCESS
    assert b"".join(machine.read(page, PAGE) for page in pages) == pattern(0, LONGEST)
    assert all(machine.read(page + PAGE, PAGE) == bytes(PAGE) for page in pages)


def test_many_commands_at_a_time(disk):
    machine = disk.machine
    buffers = {}
    for i in range(60):
        address = machine.pages(1)
        command = disk.queue.put(READ, 1, address, d10=8 * i, d12=7)
        buffers[command] = address, pattern(PAGE * i, PAGE)
    disk.queue.ring()
    for command, (address, expected) in buffers.items():
        assert disk.queue.wait(command).status == SUCCESS
        assert machine.read(address, PAGE) == expected


def test_a_queue_of_two_entries_goes_round(controller, image):
    disk = Disk(controller(image).create_queue(entries=2))
    for i in range(9):
        assert disk.read(i, 512) == pattern(512 * i, 512)


def test_completions_wait_for_room(controller, image):
    """The completion queue is full until the guest reads it; nothing is lost or overwritten."""
    made = controller(image)
    queue = made.create_queue(entries=4)
    machine = made.machine
    address = machine.pages(1)
    for _ in range(4):  # more rounds than there are entries
        commands = [queue.put(READ, 1, address, d12=0) for _ in range(3)]
        queue.ring()
        for command in commands:
            assert queue.wait(command).status == SUCCESS
    assert queue.peek() is None


@pytest.mark.parametrize("flags", [0, FUA, DEALLOCATE, DEALLOCATE | FUA])
@pytest.mark.parametrize("blocks", [1, 9, 2048])
def test_write_zeroes(disk, image, flags, blocks):
    done = disk.queue.run(ZEROES, 1, d10=7, d12=blocks - 1 | flags)
    assert done.status == SUCCESS
    start, end = 7 * 512, (7 + blocks) * 512
    assert image.read_bytes() == pattern(0, start) + bytes(end - start) + pattern(end, IMAGE_LEN - end)


def test_discarded_blocks_read_as_zeroes_and_take_no_space(disk, image):
    machine = disk.machine
    ranges = [(0, 8), (4096, 4096), (100, 0), (16000, 384)]
    address = machine.pages(1)
    machine.write(address, b"".join(struct.pack("<IIQ", 0, count, slba) for slba, count in ranges))
    before = os.stat(image).st_blocks
    assert disk.queue.run(DATASET, 1, address, d10=len(ranges) - 1, d11=4).status == SUCCESS
    assert disk.read(0, 8192) == bytes(4096) + pattern(4096, 4096)
    assert disk.read(4096, 4096) == bytes(4096)
    assert disk.read(16000, 384 * 512)[:4096] == bytes(4096)
    assert os.stat(image).st_blocks < before
    assert os.stat(image).st_size == IMAGE_LEN


def test_dataset_without_deallocate_changes_nothing(disk, image):
    address = disk.machine.pages(1)
    disk.machine.write(address, struct.pack("<IIQ", 0, 64, 0))
    assert disk.queue.run(DATASET, 1, address, d10=0, d11=0).status == SUCCESS
    assert image.read_bytes() == pattern(0, IMAGE_LEN)


@pytest.mark.parametrize("length", [512, 4096, LONGEST])
def test_compare(disk, length):
    machine = disk.machine
    address = machine.pages(length // PAGE + 1)
    machine.write(address, pattern(0, length))
    assert disk.run(COMPARE, 0, address, length) == SUCCESS
    machine.write(address + length - 1, b"\xff")
    assert disk.run(COMPARE, 0, address, length) == COMPARE_FAILURE
    assert disk.run(COMPARE, 8, address, length) == COMPARE_FAILURE


def test_comparisons_side_by_side(disk):
    machine = disk.machine
    commands = []
    for i in range(20):
        address = machine.pages(2)
        machine.write(address, pattern(512 * i, 8192))
        if i % 3 == 0:
            machine.write(address + 8191, b"\xff")
        commands.append(disk.start(COMPARE, i, address, 8192))
    for i, command in enumerate(commands):
        assert disk.queue.wait(command).status == (COMPARE_FAILURE if i % 3 == 0 else SUCCESS)


BLOCKS = IMAGE_LEN // 512


@pytest.mark.parametrize(
    "slba, blocks",
    [(BLOCKS, 1), (BLOCKS - 1, 2), (2**64 - 1, 1), (2**64 - 1, 2), (2**64 - 8, 16), (2**63, 1), (2**55, 8)],
)
@pytest.mark.parametrize("opcode", [READ, WRITE, COMPARE, ZEROES])
def test_blocks_that_do_not_exist(disk, image, opcode, slba, blocks):
    done = disk.queue.run(opcode, 1, disk.machine.pages(2), d10=slba, d11=slba >> 32, d12=blocks - 1)
    assert (done.status, done.do_not_retry) == (LBA_RANGE, True)
    assert image.read_bytes() == pattern(0, IMAGE_LEN)


def test_one_range_that_does_not_exist_spares_the_others(disk, image):
    address = disk.machine.pages(1)
    disk.machine.write(address, struct.pack("<IIQIIQ", 0, 64, 0, 0, 2**32 - 1, BLOCKS - 1))
    assert disk.queue.run(DATASET, 1, address, d10=1, d11=4).status == LBA_RANGE
    assert image.read_bytes() == pattern(0, IMAGE_LEN)


def test_more_data_than_mdts(disk):
    address = disk.machine.pages(160)
    for opcode in (READ, WRITE, COMPARE):
        assert disk.run(opcode, 0, address, LONGEST + 512) == INVALID_FIELD


@pytest.mark.parametrize(
    "prp1, prp2, blocks, status",
    [
        (MEMORY_LEN, 0, 8, DATA_TRANSFER),  # no memory there
        (MEMORY_LEN - PAGE, MEMORY_LEN, 16, DATA_TRANSFER),
        (2**64 - PAGE, 0, 8, DATA_TRANSFER),
        (2**64 - 512, 0, 8, DATA_TRANSFER),
        (0x100001, 0, 8, PRP_OFFSET),
        (0x100000, 0x100004, 16, PRP_OFFSET),
        (0x100000, 0x100004, 24, PRP_OFFSET),  # a list that is not aligned
        (0x100000, MEMORY_LEN, 24, DATA_TRANSFER),  # a list where no memory is
        (0x100000, 2**64 - 8, 24, DATA_TRANSFER),
    ],
)
@pytest.mark.parametrize("opcode", [READ, WRITE])
def test_prps_that_can_not_be(disk, image, opcode, prp1, prp2, blocks, status):
    assert disk.queue.run(opcode, 1, prp1, prp2, d12=blocks - 1).status == status
    assert image.read_bytes() == pattern(0, IMAGE_LEN)
    assert disk.read(0, 512) == pattern(0, 512)


def test_a_list_that_loops(disk):
    """The list's last entry names the list itself: its addresses are taken for data, then it ends."""
    machine = disk.machine
    loop = machine.pages(1)
    machine.write(loop + PAGE - 8, struct.pack("<Q", loop + PAGE - 8))
    assert disk.queue.run(READ, 1, machine.pages(1), loop + PAGE - 8, d12=LONGEST // 512 - 1).status == PRP_OFFSET
    loop = machine.pages(1)
    machine.write(loop, struct.pack("<512Q", *[loop] * 512))
    assert disk.queue.run(WRITE, 1, machine.pages(1), loop, d12=LONGEST // 512 - 1).status == SUCCESS


def test_prps_at_the_queues_themselves(disk):
    """Reading into its own queues is the guest's to do, and harms only the guest."""
    queue = disk.queue
    assert queue.run(WRITE, 1, queue.sq, d12=7).status == SUCCESS
    assert queue.run(READ, 1, queue.sq, d12=7).status == SUCCESS
    assert disk.read(16, 512) == pattern(16 * 512, 512)


@pytest.mark.parametrize("nsid, status", [(0, INVALID_NAMESPACE), (2, INVALID_NAMESPACE), (2**32 - 1, INVALID_NAMESPACE)])
@pytest.mark.parametrize("opcode", [0, READ, WRITE, COMPARE, ZEROES, DATASET])
def test_namespaces_that_do_not_exist(disk, nsid, status, opcode):
    assert disk.queue.run(opcode, nsid, disk.machine.pages(1)).status == status


def test_commands_that_do_not_exist(disk):
    for opcode in (0x03, 0x04, 0x0A, 0x0D, 0x7F, 0x80, 0xFF):
        done = disk.queue.run(opcode, 1, disk.machine.pages(1))
        assert (done.status, done.do_not_retry) == (INVALID_OPCODE, True)
    for flags in (0x01, 0x02, 0x40, 0x80):  # fused; scatter-gather lists
        assert disk.queue.run(READ, 1, disk.machine.pages(1), flags=flags).status == INVALID_FIELD


def test_read_only_image(controller, image):
    disk = Disk(controller(f"{image},readonly").create_queue())
    address = disk.machine.pages(1)
    for opcode in (WRITE, ZEROES, DATASET):
        assert disk.queue.run(opcode, 1, address, d11=0).status == WRITE_PROTECTED
    assert disk.read(0, 4096) == pattern(0, 4096)
    assert disk.flush() == SUCCESS
    assert image.read_bytes() == pattern(0, IMAGE_LEN)


@pytest.mark.parametrize("properties", ["block-size=4096", "block-size=4096,direct", "direct"])
def test_blocks_of_either_size_and_direct_io(controller, image, properties):
    block = 4096 if "4096" in properties else 512
    disk = Disk(controller(f"{image},{properties}").create_queue(), block=block)
    data = os.urandom(16384)
    assert disk.read(1, 8192) == pattern(block, 8192)
    assert disk.write(2, data) == SUCCESS
    assert disk.read(2, 16384) == data
    address = disk.machine.pages(6) + 4  # no direct I/O can go there
    assert disk.run(READ, 2, address, 16384) == SUCCESS
    assert disk.machine.read(address, 16384) == data
    disk.machine.write(address, pattern(0, 16384))
    assert disk.run(WRITE, 0, address, 16384) == SUCCESS
    assert disk.read(0, 16384) == pattern(0, 16384)

# SPDX-License-Identifier: BSD-3-Clause
"""What the device is, and its registers."""
import errno
import mmap
import os
import struct

import pytest
import registers
from vfio_user import (
    ACCESS,
    CONFIG,
    DEVICE_RESET,
    FOUR,
    GET_INFO,
    GET_IRQ_INFO,
    GET_REGION_INFO,
    GET_REGION_IO_FDS,
    REGION_INFO,
    REGION_READ,
    REGION_WRITE,
    REGION_WRITE_MULTI,
    ServerError,
    close_all,
)

READ, WRITE, MMAP, CAPS = 1, 2, 4, 8


def refusal(client, command, payload=b""):
    with pytest.raises(ServerError) as caught:
        client.ask(command, payload)
    client.device_info()  # the connection goes on
    return caught.value.errno


def test_device_info(exercise):
    client = exercise.client()
    assert client.device_info() == (16, 3, 9, 5)
    assert client.device_info(argsz=4096) == (16, 3, 9, 5)
    assert refusal(client, GET_INFO, FOUR.pack(15, 0, 0, 0)) == errno.EINVAL


@pytest.mark.parametrize(
    "command,length",
    [(GET_INFO, 16), (GET_REGION_INFO, 64), (GET_IRQ_INFO, 16), (GET_REGION_IO_FDS, 16), (REGION_READ, 16)],
)
def test_every_wrong_length_is_refused(exercise, command, length):
    client = exercise.client()
    shortest = 32 if command == GET_REGION_INFO else length
    for wrong in [*range(shortest), length + 1, 4096]:
        assert refusal(client, command, bytes(wrong)) == errno.EINVAL


def test_regions(exercise):
    client = exercise.client()
    info = [client.region_info(index) for index in range(9)]
    for _, _, fds in info:
        close_all(fds)
    assert [entry[0][4] for entry in info] == [4096, 0, 16384, 65536, 0, 16, 0, 4096, 0]
    assert [entry[0][1] for entry in info] == [3, 0, 15, 3, 0, 3, 0, 3, 0]
    assert [len(entry[2]) for entry in info] == [0, 0, 0, 0, 0, 0, 0, 0, 0]
    assert refusal(client, GET_REGION_INFO, REGION_INFO.pack(31, 0, 0, 0, 0, 0)) == errno.EINVAL
    assert refusal(client, GET_REGION_INFO, REGION_INFO.pack(32, 0, 9, 0, 0, 0)) == errno.EINVAL
    assert refusal(client, GET_REGION_INFO, REGION_INFO.pack(32, 0, 2**32 - 1, 0, 0, 0)) == errno.EINVAL


def test_sparse_area_is_told_when_there_is_room_for_it(exercise):
    client = exercise.client()
    (argsz, flags, index, cap_offset, size, offset), capabilities, fds = client.region_info(2)
    assert fds == [], "they ride on the reply that is whole"
    assert (argsz, flags, cap_offset, capabilities) == (64, READ | WRITE | MMAP | CAPS, 32, b"")
    (argsz, flags, index, cap_offset, size, offset), capabilities, fds = client.region_info(2, argsz)
    assert (argsz, cap_offset) == (64, 32)
    assert struct.unpack("<HHIIIQQ", capabilities) == (1, 1, 0, 1, 0, 4096, 4096)
    with mmap.mmap(fds[0], 4096, offset=offset + 4096) as area:
        area[:5] = b"guest"
        assert client.read(2, 4096, 5) == b"guest"
        client.write(2, 8190, b"xy")
        assert area[-2:] == b"xy"
    close_all(fds)


def test_region_info_may_be_asked_for_in_as_many_bytes_as_its_answer_has(exercise):
    client = exercise.client()
    payload = client.ask(GET_REGION_INFO, REGION_INFO.pack(64, 0, 2, 0, 0, 0) + bytes(32))
    assert len(payload.payload) == 64
    close_all(payload.fds)


def test_transfer_over_the_border_of_memory_and_registers(exercise):
    client = exercise.client()
    writes = registers.get(client, registers.WRITES)
    client.write(2, 4096 - 16, bytes(range(32)))
    assert client.read(2, 4096, 16) == bytes(range(16, 32))
    assert registers.get(client, registers.WRITES) == writes + 2
    assert client.read(2, 4096 - 16, 32) == bytes(16) + bytes(range(16, 32))


def test_irq_info(exercise):
    client = exercise.client()
    assert [client.irq_info(index) for index in range(5)] == [
        (16, 7, 0, 1),
        (16, 3, 1, 4),
        (16, 3, 2, 24),
        (16, 3, 3, 1),
        (16, 3, 4, 1),
    ]
    assert refusal(client, GET_IRQ_INFO, FOUR.pack(16, 0, 5, 0)) == errno.EINVAL
    assert refusal(client, GET_IRQ_INFO, FOUR.pack(15, 0, 0, 0)) == errno.EINVAL


def test_configuration_space_in_one_read_and_in_pieces(exercise):
    client = exercise.client()
    whole = client.read(CONFIG, 0, 4096)
    assert struct.unpack("<HH", whole[:4]) == (0x1AF4, 0x10F3)
    pieces = [client.read(CONFIG, offset, 3) for offset in range(0, 255, 3)]
    assert b"".join(pieces) == whole[:255]
    assert refusal(client, REGION_READ, ACCESS.pack(1, CONFIG, 4096)) == errno.EINVAL
    assert refusal(client, REGION_READ, ACCESS.pack(2**64 - 1, CONFIG, 4)) == errno.EINVAL


def capabilities(config):
    at, found = config[0x34], {}
    while at:
        found[config[at]] = at
        at = config[at + 1]
    return found


def test_msi_and_msix_capabilities(exercise):
    client = exercise.client()
    config = client.read(CONFIG, 0, 256)
    found = capabilities(config)
    control, table, pending = struct.unpack("<HII", config[found[0x11] + 2 : found[0x11] + 12])
    assert (control, table, pending) == (23, 0x2003, (0x2000 + 24 * 16) | 3)
    assert struct.unpack("<H", config[found[0x05] + 2 : found[0x05] + 4])[0] == 0x180 | 2 << 1
    client.write(CONFIG, found[0x11] + 2, b"\xff\xff")
    assert client.read(CONFIG, found[0x11] + 2, 2) == struct.pack("<H", 0xC000 | 23)


def test_bars_are_sized_and_placed(exercise):
    client = exercise.client()
    sizes = []
    for bar in range(6):
        client.write(CONFIG, 0x10 + 4 * bar, b"\xff" * 4)
        sizes.append(struct.unpack("<I", client.read(CONFIG, 0x10 + 4 * bar, 4))[0])
    assert sizes == [0xFFFFF000, 0, 0xFFFFC000, 0xFFFF0004, 0xFFFFFFFF, 0xFFFFFFF1]


def test_registers_of_every_width_and_longer(exercise):
    client = exercise.client()
    for width in (1, 2, 4, 8, 3, 5, 7, 256):
        data = os.urandom(width)
        client.write(0, registers.WINDOW, data)
        assert client.read(0, registers.WINDOW, width) == data
    before = registers.get(client, registers.WRITES)
    client.write(0, registers.WINDOW + 1, bytes(7))  # 1, 2 and 4 bytes
    assert registers.get(client, registers.WRITES) == before + 3
    assert client.read(0, 0, 0) == b""


@pytest.mark.parametrize("region", [0, 2, 3, 5])
def test_access_beyond_a_region_is_refused(exercise, region):
    client = exercise.client()
    info, _, fds = client.region_info(region)
    close_all(fds)
    size = info[4]
    for offset, count in [(size, 1), (size - 1, 2), (size + 4096, 4), (2**64 - 4, 8), (0, size + 1)]:
        assert refusal(client, REGION_READ, ACCESS.pack(offset, region, count)) == errno.EINVAL
        request = ACCESS.pack(offset, region, count) + bytes(count)
        assert refusal(client, REGION_WRITE, request) == errno.EINVAL


@pytest.mark.parametrize("region", [1, 4, 6, 8, 9, 2**32 - 1])
def test_access_to_a_region_that_is_not_there(exercise, region):
    client = exercise.client()
    assert refusal(client, REGION_READ, ACCESS.pack(0, region, 4)) == errno.EINVAL
    assert refusal(client, REGION_WRITE, ACCESS.pack(0, region, 4) + bytes(4)) == errno.EINVAL


@pytest.mark.parametrize("agreed", [64, 1 << 20])
def test_transfers_are_bounded_by_what_the_server_can_take(exercise, agreed):
    client = exercise.client(offer={"capabilities": {"max_data_xfer_size": agreed}})
    assert len(client.read(CONFIG, 0, 4096)) == 4096, "who asks for more than was agreed can take it"
    client.write(0, registers.WINDOW, bytes(256))
    longest = 1 << 20
    assert refusal(client, REGION_READ, ACCESS.pack(0, 3, longest)) == errno.EINVAL
    assert refusal(client, REGION_READ, ACCESS.pack(0, 3, longest + 1)) == errno.E2BIG
    assert refusal(client, REGION_WRITE, ACCESS.pack(0, 3, longest) + bytes(longest)) == errno.EINVAL


def test_write_whose_count_is_not_its_data(exercise):
    client = exercise.client()
    for count in (0, 7, 9, 2**32 - 1):
        request = ACCESS.pack(registers.WINDOW, 0, count) + bytes(8)
        assert refusal(client, REGION_WRITE, request) in (errno.EINVAL, errno.E2BIG)
    assert registers.get(client, registers.WRITES) == 0


def test_posted_writes_come_before_the_next_read(exercise):
    client = exercise.client()
    for value in range(200):
        client.post(0, registers.WINDOW, struct.pack("<Q", value))
    assert client.read(0, registers.WINDOW, 8) == struct.pack("<Q", 199)


def multi(*writes):
    return struct.pack("<Q", len(writes)) + b"".join(
        ACCESS.pack(offset, region, len(data)) + data.ljust(8, b"\xee") for region, offset, data in writes
    )


def test_write_multi(exercise):
    client = exercise.client()
    writes = [(0, registers.WINDOW + at, bytes([at])) for at in range(200)]
    payload = client.ask(REGION_WRITE_MULTI, multi(*writes)).payload
    assert payload == struct.pack("<Q", 200)
    assert client.read(0, registers.WINDOW, 200) == bytes(range(200))
    assert client.ask(REGION_WRITE_MULTI, multi()).payload == bytes(8)


def test_write_multi_that_lies(exercise):
    client = exercise.client()
    good = (0, registers.WINDOW, b"\1\2\3\4")
    for payload in (
        b"",
        bytes(7),
        struct.pack("<Q", 1),
        struct.pack("<Q", 2**61),
        struct.pack("<Q", 2) + multi(good)[8:],
        multi(good) + b"\0",
        struct.pack("<QQII", 1, 0, 0, 9) + bytes(8),
        struct.pack("<QQII", 1, 0, 9, 8) + bytes(8),
        struct.pack("<Q", 1025) + bytes(1025 * 24),
    ):
        assert refusal(client, REGION_WRITE_MULTI, payload) == errno.EINVAL
    assert refusal(client, REGION_WRITE_MULTI, multi(good, (9, 0, b"x"))) == errno.EINVAL
    assert client.read(0, registers.WINDOW, 4) == b"\1\2\3\4"


def test_reset(exercise):
    client = exercise.client()
    client.write(CONFIG, 4, b"\x06\x00")
    assert client.ask(DEVICE_RESET).payload == b""
    assert client.read(CONFIG, 4, 2) == b"\0\0"
    assert registers.get(client, registers.RESETS) == 1
    assert refusal(client, DEVICE_RESET, b"\0") == errno.EINVAL


SUB_REGION = struct.Struct("<QQIIIIQ")


def test_doorbells_ring_without_a_message(exercise):
    client = exercise.client()
    reply = client.ask(GET_REGION_IO_FDS, FOUR.pack(4096, 0, 0, 0))
    argsz, flags, index, count = FOUR.unpack(reply.payload[:16])
    assert (argsz, flags, index, count) == (16 + 3 * 40, 0, 0, 3)
    assert len(reply.fds) == 2
    areas = [SUB_REGION.unpack(reply.payload[at : at + 40]) for at in range(16, argsz, 40)]
    assert [area[:6] for area in areas] == [(0x40, 4, 0, 0, 0, 0), (0x48, 0, 1, 0, 0, 0), (0x4C, 0, 1, 0, 0, 0)]
    os.eventfd_write(reply.fds[0], 3)
    while registers.get(client, registers.RINGS) & 0xFFFF == 0:
        pass
    os.eventfd_write(reply.fds[1], 1)
    while registers.get(client, registers.RINGS) != 0x10001:
        pass
    close_all(reply.fds)


def test_doorbells_of_ports_and_of_nothing(exercise):
    client = exercise.client()
    reply = client.ask(GET_REGION_IO_FDS, FOUR.pack(4096, 0, 5, 0))
    close_all(reply.fds)
    assert SUB_REGION.unpack(reply.payload[16:])[:5] == (8, 2, 0, 0, 2)
    reply = client.ask(GET_REGION_IO_FDS, FOUR.pack(4096, 0, 3, 0))
    assert (reply.payload, reply.fds) == (FOUR.pack(16, 0, 3, 0), [])
    for wrong in ((15, 0, 0, 0), (16, 1, 0, 0), (16, 0, 6, 0), (16, 0, 0, 1)):
        assert refusal(client, GET_REGION_IO_FDS, FOUR.pack(*wrong)) == errno.EINVAL


def test_doorbells_that_do_not_fit_are_left_out(exercise):
    client = exercise.client(offer={"capabilities": {"max_msg_fds": 1}})
    reply = client.ask(GET_REGION_IO_FDS, FOUR.pack(4096, 0, 0, 0))
    assert FOUR.unpack(reply.payload[:16]) == (56, 0, 0, 1)
    assert len(reply.fds) == 1
    close_all(reply.fds)
    reply = client.ask(GET_REGION_IO_FDS, FOUR.pack(55, 0, 0, 0))
    assert (reply.payload, reply.fds) == (FOUR.pack(56, 0, 0, 1), [])


def test_pipelined_replies_with_descriptors(exercise):
    """Each descriptor comes with the header of its own reply; Client.receive() checks that."""
    client = exercise.client()
    order = [0, 2, 2, 7, 2, 0]
    for index in order:
        client.send(GET_REGION_INFO, REGION_INFO.pack(64, 0, index, 0, 0, 0))
    replies = [client.receive() for _ in order]
    assert [len(reply.fds) for reply in replies] == [0, 1, 1, 0, 1, 0]
    for reply in replies:
        close_all(reply.fds)


def test_backdoor_data_channel_is_mapped(backdoor):
    client = backdoor.client()
    info, _, fds = client.region_info(1)
    with mmap.mmap(fds[0], info[4]) as channel:
        close_all(fds)
        channel[8:16] = struct.pack("<Q", 40)
        client.write(0, 0, struct.pack("<Q", 2))
        assert channel[:16] == struct.pack("<QQ", 3, 41)
    assert client.read(0, 0, 8) == struct.pack("<Q", 4096)

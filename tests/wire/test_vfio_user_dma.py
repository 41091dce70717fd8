# SPDX-License-Identifier: BSD-3-Clause
"""Guest memory: shared by descriptor, and asked for by message."""
import errno
import os
import struct

import pytest
import registers
from registers import DMA_CANCEL, DMA_READ, DMA_WRITE, ENDED, RESULT, WINDOW, command, enable_dma, get
from vfio_user import (
    DEVICE_RESET,
    DMA_ACCESS,
    DMA_MAP,
    DMA_UNMAP,
    GET_INFO,
    HEADER,
    MAP,
    NO_REPLY,
    PATIENCE_S,
    READABLE,
    UNMAP,
    WRITEABLE,
    Memory,
    ServerError,
    close_all,
)
from vfio_user import DMA_READ as READ_MESSAGE
from vfio_user import DMA_WRITE as WRITE_MESSAGE

IN_PROGRESS = -errno.EINPROGRESS
PAGE = 4096


@pytest.fixture
def client(exercise):
    client = exercise.client()
    enable_dma(client)
    return client


@pytest.fixture
def memory():
    memory = Memory(64 * PAGE)
    yield memory
    memory.close()


def refusal(function, *arguments, **keywords):
    with pytest.raises(ServerError) as caught:
        function(*arguments, **keywords)
    return caught.value.errno


def test_dma_to_and_from_shared_memory(client, memory):
    client.map(0x10000, 16 * PAGE, [memory.fd], offset=8 * PAGE)
    memory.write(8 * PAGE + 100, b"from the guest")
    assert command(client, DMA_READ, 0x10000 + 100, 14) == 0
    assert client.read(0, WINDOW, 14) == b"from the guest"
    client.write(0, WINDOW, b"to the guest")
    assert command(client, DMA_WRITE, 0x10000 + 16 * PAGE - 12, 12) == 0
    assert memory.read(24 * PAGE - 12, 12) == b"to the guest"
    assert get(client, ENDED) == 2


def test_dma_over_regions_that_touch(client, memory):
    client.map(0x10000, PAGE, [memory.fd])
    client.map(0x11000, PAGE, [memory.fd], offset=5 * PAGE)
    client.write(0, WINDOW, b"0123456789")
    assert command(client, DMA_WRITE, 0x11000 - 5, 10) == 0
    assert memory.read(PAGE - 5, 5) + memory.read(5 * PAGE, 5) == b"0123456789"


@pytest.mark.parametrize("number", [DMA_READ, DMA_WRITE])
def test_dma_outside_of_memory(client, memory, number):
    client.map(0x10000, PAGE, [memory.fd])
    for address, length in [(0, 1), (0x11000 - 1, 2), (0xF000, PAGE + 1), (-4, 8), (0x10000, 1 << 20)]:
        assert command(client, number, address, length) == -errno.EFAULT
    assert memory.read(0, PAGE) == bytes(PAGE)


def test_dma_needs_bus_mastering(client, memory):
    client.map(0x10000, PAGE, [memory.fd])
    enable_dma(client, 0)
    assert command(client, DMA_READ, 0x10000, 4) == -errno.EPERM


def test_read_only_memory(client, memory):
    reader = os.open(f"/proc/self/fd/{memory.fd}", os.O_RDONLY)
    client.map(0x10000, PAGE, [reader], flags=READABLE)
    os.close(reader)
    assert command(client, DMA_READ, 0x10000, 4) == 0
    assert command(client, DMA_WRITE, 0x10000, 4) == -errno.EACCES


def test_map_over_a_map(client, memory):
    client.map(0x10000, 4 * PAGE, [memory.fd])
    for address, size in [(0x10000, 4 * PAGE), (0xF000, 2 * PAGE), (0x13000, PAGE), (0x11000, PAGE), (0, 1 << 40)]:
        assert refusal(client.map, address, size, [memory.fd]) == errno.EEXIST
        assert refusal(client.map, address, size) == errno.EEXIST
    client.map(0x14000, PAGE, [memory.fd])
    client.map(0xF000, PAGE)


def test_bad_maps(client, exercise, memory):
    before = exercise.descriptors()
    for address, size, offset, flags in [
        (0, 0, 0, 3),
        (0x800, PAGE, 0, 3),
        (0, PAGE + 1, 0, 3),
        (0, PAGE, 0x800, 3),
        (-PAGE, 2 * PAGE, 0, 3),
        (0, PAGE, -PAGE, 3),
        (0, PAGE, 0, 0),
        (0, PAGE, 0, 4 | 3),
        (0, PAGE, 0, 1 << 31 | 3),
    ]:
        request = MAP.pack(32, flags, offset % 2**64, address % 2**64, size)
        assert refusal(client.ask, DMA_MAP, request, [memory.fd]) == errno.EINVAL
    assert refusal(client.map, 0, PAGE, [memory.fd, memory.fd]) == errno.EINVAL
    assert refusal(client.map, 0, PAGE, [memory.fd], argsz=31) == errno.EINVAL
    assert refusal(client.map, 0, 65 * PAGE, [memory.fd]) == errno.EOVERFLOW
    for length in [*range(32), 33]:
        assert refusal(client.ask, DMA_MAP, bytes(length)) == errno.EINVAL
    reading, writing = os.pipe()
    assert refusal(client.map, 0, PAGE, [reading]) == errno.EINVAL
    os.close(reading)
    os.close(writing)
    assert exercise.descriptors() == before


def test_unmap_takes_exactly_what_was_mapped(client, memory):
    client.map(0x10000, 4 * PAGE, [memory.fd])
    for address, size in [(0x10000, PAGE), (0x11000, PAGE), (0x10000, 5 * PAGE), (0x20000, PAGE), (0, 0)]:
        assert refusal(client.unmap, address, size) == errno.ENOENT
    assert refusal(client.unmap, 0x10000, 4 * PAGE, flags=1) == errno.EINVAL
    assert refusal(client.unmap, 0x10000, 4 * PAGE, argsz=23) == errno.EINVAL
    assert refusal(client.unmap, 0x10000, 4 * PAGE, flags=2) == errno.EINVAL
    client.unmap(0x10000, 4 * PAGE)
    assert command(client, DMA_READ, 0x10000, 1) == -errno.EFAULT
    assert refusal(client.unmap, 0x10000, 4 * PAGE) == errno.ENOENT
    client.map(0x10000, 4 * PAGE, [memory.fd])


def test_unmap_all(client, memory):
    for at in range(100):
        client.map(at * PAGE, PAGE, [memory.fd] if at % 2 else [], offset=0)
    client.unmap(0, 0, flags=2)
    for at in range(100):
        assert command(client, DMA_READ, at * PAGE, 1) == -errno.EFAULT
    client.unmap(0, 0, flags=2)
    client.map(0, 100 * PAGE)


def test_unmap_all_waits_for_the_device_too(client, memory):
    for at in range(5):
        client.map(at * PAGE, PAGE, [memory.fd], offset=at * PAGE)
    reply = client.ask(6, struct.pack("<IIII", 4096, 0, 0, 0))
    assert command(client, registers.MAP, PAGE, 3 * PAGE) == 3
    client.send(DMA_UNMAP, UNMAP.pack(24, 2, 0, 0))
    client.send(GET_INFO, struct.pack("<IIII", 16, 0, 0, 0))
    client.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.receive()
    client.socket.settimeout(PATIENCE_S)
    os.eventfd_write(reply.fds[1], 1)
    assert client.receive().payload == UNMAP.pack(24, 2, 0, 0)
    assert client.receive().command == GET_INFO
    assert command(client, DMA_READ, 0, 1) == -errno.EFAULT
    close_all(reply.fds)


def test_unmap_waits_for_the_device_and_the_rest_waits_behind_it(client, memory, exercise):
    """The device lets go in its doorbell: the only thing that can still reach it."""
    client.map(0x10000, PAGE, [memory.fd])
    reply = client.ask(6, struct.pack("<IIII", 4096, 0, 0, 0))
    assert command(client, registers.MAP, 0x10000, PAGE) == 1
    client.send(DMA_UNMAP, UNMAP.pack(24, 0, 0x10000, PAGE))
    client.send(GET_INFO, struct.pack("<IIII", 16, 0, 0, 0))
    client.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.receive()
    client.socket.settimeout(PATIENCE_S)
    os.eventfd_write(reply.fds[1], 1)
    assert client.receive().command == DMA_UNMAP
    assert client.receive().command == GET_INFO
    close_all(reply.fds)


def test_client_that_goes_while_its_unmap_waits(client, memory, exercise):
    client.map(0x10000, PAGE, [memory.fd])
    assert command(client, registers.MAP, 0x10000, PAGE) == 1
    client.send(DMA_UNMAP, UNMAP.pack(24, 0, 0x10000, PAGE))
    client.close()
    client = exercise.client()
    assert command(client, registers.UNMAP) is not None
    client.map(0x10000, PAGE, [memory.fd])


def test_a_client_that_goes_takes_its_memory_with_it(client, exercise, memory):
    client.map(0x10000, PAGE, [memory.fd])
    client.close()
    client = exercise.client()
    assert command(client, DMA_READ, 0x10000, 1) == -errno.EFAULT
    client.map(0x10000, PAGE, [memory.fd])
    assert command(client, DMA_READ, 0x10000, 1) == 0


def test_memory_that_is_cut_ends_the_client_not_the_server(client, exercise, memory):
    client.map(0x10000, 64 * PAGE, [memory.fd])
    os.ftruncate(memory.fd, PAGE)
    client.write(0, 8, struct.pack("<qq", 0x10000 + 8 * PAGE, 16))
    client.send(10, struct.pack("<QII", 0, 0, 8) + struct.pack("<q", DMA_READ))
    with pytest.raises((EOFError, ConnectionResetError)):
        while True:
            client.receive()
    assert "the VMM truncated its memory" in exercise.messages()
    client = exercise.client()
    enable_dma(client)
    client.map(0x10000, PAGE, [memory.fd])
    assert command(client, DMA_READ, 0x10000, 16) == 0


def test_as_many_maps_as_were_agreed(exercise, memory):
    client = exercise.client(offer={"capabilities": {"max_dma_maps": 3}})
    for at in range(3):
        client.map(at * PAGE, PAGE)
    assert refusal(client.map, 3 * PAGE, PAGE) == errno.ENOSPC
    client.unmap(PAGE, PAGE)
    client.map(3 * PAGE, PAGE)


@pytest.mark.parametrize("shared", [False, True])
def test_65535_maps(client, memory, shared):
    count, window = 65535, 512
    fds = [memory.fd] if shared else []
    for start in range(0, count, window):
        batch = range(start, min(start + window, count))
        for at in batch:
            client.send(DMA_MAP, MAP.pack(32, 3, at % 64 * PAGE if shared else 0, at * 2 * PAGE, PAGE), fds)
        assert {client.receive().flags for _ in batch} == {1}
    assert refusal(client.map, count * 2 * PAGE, PAGE) == errno.ENOSPC
    if shared:
        for at in (0, 1, 40000, count - 1):
            memory.write(at % 64 * PAGE + 7, struct.pack("<I", at))
            assert command(client, DMA_READ, at * 2 * PAGE + 7, 4) == 0
            assert client.read(0, WINDOW, 4) == struct.pack("<I", at)
    for start in range(0, count, window):
        batch = range(start, min(start + window, count))
        for at in batch:
            client.send(DMA_UNMAP, UNMAP.pack(24, 0, at * 2 * PAGE, PAGE))
        assert {client.receive().flags for _ in batch} == {1}


class Standard:
    """Serves DMA by message as the specification says."""

    def __init__(self, size=1 << 23):
        self.memory = bytearray(size)
        self.counts = []

    def serve(self, client, request):
        address, count = DMA_ACCESS.unpack(request.payload[:16])
        self.counts.append(count)
        if request.command == READ_MESSAGE:
            assert len(request.payload) == 16
            client.answer(request, request.payload + self.memory[address : address + count])
        else:
            data = request.payload[16:]
            assert len(data) == count
            self.memory[address : address + count] = data
            client.answer(request, DMA_ACCESS.pack(address, count))


class Qemu(Standard):
    """Serves it as QEMU 10.2 does: a 32-bit count, the data right behind it."""

    def serve(self, client, request):
        address, count = struct.unpack("<QI", request.payload[:12])
        self.counts.append(count)
        if request.command == READ_MESSAGE:
            payload = request.payload[:12] + self.memory[address : address + count] + bytes(4)
            client.answer(request, payload)
        else:
            assert count <= len(request.payload) - 16
            self.memory[address : address + count] = request.payload[12 : 12 + count]
            client.answer(request)


class ShortCount(Standard):
    """Answers DMA_WRITE with a 32-bit count, as the specification's table of the reply has it."""

    def serve(self, client, request):
        if request.command == READ_MESSAGE:
            return super().serve(client, request)
        address, count = DMA_ACCESS.unpack(request.payload[:16])
        self.memory[address : address + count] = request.payload[16:]
        client.answer(request, struct.pack("<QI", address, count))


class NoEmptyWrites(Standard):
    """Refuses a write of nothing."""

    def serve(self, client, request):
        if request.command == WRITE_MESSAGE and len(request.payload) == 16:
            return client.answer(request, error=errno.EINVAL)
        super().serve(client, request)


def start(client, number, address, length):
    """Starts a DMA; the reply to the register write comes before any request."""
    registers.put(client, registers.ADDRESS, address)
    registers.put(client, registers.LENGTH, length)
    registers.put(client, 0, number)


def serve_until_done(client, guest, ended):
    """Serves requests until the device says that so many DMAs have ended."""
    while True:
        ask = client.send(9, struct.pack("<QII", ENDED, 0, 8))
        while True:
            message = client.receive()
            if message.flags & 0xF == 1:
                break
            guest.serve(client, message)
        assert message.id == ask
        if struct.unpack("<q", message.payload[16:])[0] == ended:
            return get(client, RESULT)


LAYOUTS = [Standard, Qemu, ShortCount, NoEmptyWrites]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("length", [1, 4, 5, 256, PAGE, 1 << 20, (1 << 20) + 3, 3 << 20])
def test_dma_by_message(client, layout, length):
    guest = layout()
    client.map(0, 1 << 23)
    guest.memory[0x1000 : 0x1000 + length] = os.urandom(length)
    start(client, DMA_READ, 0x1000, length)
    assert serve_until_done(client, guest, 1) == 0
    size = min(length, 256)
    assert client.read(0, WINDOW, size) == guest.memory[0x1000 : 0x1000 + size]
    pattern = os.urandom(256)
    client.write(0, WINDOW, pattern)
    start(client, DMA_WRITE, 0x2000, length)
    assert serve_until_done(client, guest, 2) == 0
    expected = b"".join(bytes((byte + at & 0xFF) for byte in pattern) for at in range(length // 256 + 1))
    assert guest.memory[0x2000 : 0x2000 + length] == expected[:length]
    assert guest.memory[0x2000 + length : 0x2000 + length + 16] == bytes(16)


def test_no_message_is_longer_than_was_agreed(exercise):
    client = exercise.client(offer={"capabilities": {"max_data_xfer_size": 1000}})
    enable_dma(client)
    guest = Standard()
    client.map(0, 1 << 23)
    start(client, DMA_WRITE, 0, 2500)
    assert serve_until_done(client, guest, 1) == 0
    assert guest.counts == [1000, 1000, 500], "a client that is no QEMU is not asked for its layout"


def test_the_layout_is_asked_for_once(client):
    guest = Standard()
    client.map(0, 1 << 23)
    for ended in (1, 2):
        start(client, DMA_READ, 0, 8)
        assert serve_until_done(client, guest, ended) == 0
    assert guest.counts == [0, 8, 8]


def test_dma_partly_shared_partly_not(client, memory):
    guest = Standard()
    client.map(0, PAGE, [memory.fd])
    client.map(PAGE, PAGE)
    client.write(0, WINDOW, b"over the border")
    start(client, DMA_WRITE, PAGE - 4, 15)
    assert serve_until_done(client, guest, 1) == 0
    assert guest.memory[PAGE - 4 : PAGE + 11] == b"over the border"


def test_message_memory_that_is_read_only_or_ends(client):
    client.map(0, PAGE, flags=READABLE)
    assert command(client, DMA_WRITE, 0, 4) == -errno.EACCES
    assert command(client, DMA_READ, PAGE - 2, 4) == -errno.EFAULT
    assert command(client, registers.MAP, 0, PAGE) == -errno.EACCES
    client.unmap(0, PAGE)
    client.map(0, PAGE, flags=READABLE | WRITEABLE)
    assert command(client, registers.MAP, 0, PAGE) == -errno.EREMOTE


@pytest.mark.parametrize("number", [errno.ENODEV, errno.EFAULT, errno.E2BIG, 0, 2**32 - 1])
def test_errors_of_the_client_reach_the_device(client, number):
    client.map(0, PAGE)
    expected = -number if 0 < number < 4096 else -errno.EIO
    for ended in (1, 2):
        start(client, DMA_READ, 0, 8)
        client.answer(client.receive(), error=number)
        assert (get(client, RESULT), get(client, ENDED)) == (expected, ended)


def negotiated(client, guest):
    start(client, DMA_READ, 0, 8)
    assert serve_until_done(client, guest, 1) == 0


@pytest.mark.parametrize("change", [lambda p: p[:-1], lambda p: p + b"\0", lambda p: b"", lambda p: p[:8] + bytes(8) + p[16:]])
def test_reply_that_is_not_what_was_asked(client, change):
    client.map(0, PAGE)
    negotiated(client, Standard())
    start(client, DMA_READ, 0, 8)
    request = client.receive()
    client.answer(request, change(request.payload + bytes(8)))
    assert get(client, RESULT) == -errno.EIO


def test_reply_to_nothing_ends_the_connection(client, exercise):
    client.send(READ_MESSAGE, bytes(16), flags=1, id=77)
    assert client.at_end()
    assert "reply" in exercise.messages()


def test_second_reply_ends_the_connection(client):
    client.map(0, PAGE)
    negotiated(client, Standard())
    start(client, DMA_READ, 0, 8)
    request = client.receive()
    client.answer(request, request.payload + bytes(8))
    client.answer(request, request.payload + bytes(8))
    assert client.at_end()


def test_reply_with_another_command_ends_the_connection(client):
    client.map(0, PAGE)
    start(client, DMA_READ, 0, 8)
    request = client.receive()
    request.command = READ_MESSAGE
    client.answer(request, request.payload)
    assert client.at_end()


def test_reset_cancels_and_a_late_reply_is_harmless(client):
    client.map(0, PAGE)
    guest = Standard()
    negotiated(client, guest)
    start(client, DMA_READ, 0, 8)
    request = client.receive()
    client.ask(DEVICE_RESET)
    assert (get(client, RESULT), get(client, ENDED)) == (-errno.ECANCELED, 2)
    client.answer(request, request.payload + b"too late")
    assert client.read(0, WINDOW, 8) == bytes(8)
    enable_dma(client)
    start(client, DMA_READ, 0, 8)
    assert serve_until_done(client, guest, 3) == 0


def test_cancelled_request_is_never_told_of(client):
    client.map(0, PAGE)
    guest = Standard()
    negotiated(client, guest)
    start(client, DMA_READ, 0, 8)
    request = client.receive()
    assert command(client, DMA_CANCEL) == IN_PROGRESS
    client.answer(request, request.payload + b"too late")
    assert (get(client, RESULT), get(client, ENDED)) == (IN_PROGRESS, 1)
    assert client.read(0, WINDOW, 8) == bytes(8)


def test_client_that_goes_ends_the_request(client, exercise):
    client.map(0, PAGE)
    start(client, DMA_READ, 0, 8)
    client.receive()
    client.close()
    client = exercise.client()
    assert (get(client, RESULT), get(client, ENDED)) == (-errno.ENOTCONN, 1)


def test_unmapped_memory_is_not_asked_for(client):
    client.map(0, 1 << 23)
    guest = Standard()
    negotiated(client, guest)
    start(client, DMA_READ, 0, 3 << 20)
    request = client.receive()
    client.unmap(0, 1 << 23)
    guest.serve(client, request)
    assert (get(client, RESULT), get(client, ENDED)) == (-errno.EFAULT, 2)


def test_the_answer_to_a_write_comes_before_the_dma_that_it_started(client):
    client.map(0, PAGE)
    registers.put(client, registers.LENGTH, 8)
    order = [client.send(10, struct.pack("<QIIq", 0, 0, 8, DMA_READ))]
    assert client.receive().id == order[0]
    request = client.receive()
    assert (request.flags, request.command) == (0, WRITE_MESSAGE)
    Standard().serve(client, request)


def test_commands_go_on_while_the_device_waits_for_its_memory(client):
    client.map(0, PAGE)
    start(client, DMA_READ, 0, 8)
    request = client.receive()
    for _ in range(100):
        assert get(client, RESULT) == IN_PROGRESS
    Standard().serve(client, request)


def test_posted_write_starts_dma_too(client):
    client.map(0, PAGE)
    registers.put(client, registers.LENGTH, 8)
    client.send(10, struct.pack("<QIIq", 0, 0, 8, DMA_READ), flags=NO_REPLY)
    guest = Standard()
    guest.serve(client, client.receive())
    assert serve_until_done(client, guest, 1) == 0


def test_unmap_and_map_in_pieces_of_one_byte(client, memory):
    payload = MAP.pack(32, 3, 0, 0, PAGE)
    message = HEADER.pack(1, DMA_MAP, 48, 0, 0) + payload
    for at, byte in enumerate(message):
        client.send_raw(bytes([byte]), [memory.fd] if at == 20 else [])
    assert client.receive().flags == 1
    memory.write(0, b"here")
    assert command(client, DMA_READ, 0, 4) == 0
    assert client.read(0, WINDOW, 4) == b"here"

# SPDX-License-Identifier: BSD-3-Clause
"""examples/alarm.c, asked as libvfio-user's sample client asks its sample server, from the first message to the last."""
import contextlib
import mmap
import os
import struct
import time

import pytest
from guestlab import paths
from migration import (
    GET,
    LOGGING_REPORT,
    LOGGING_START,
    LOGGING_STOP,
    PRE_COPY,
    RESUMING,
    RUNNING,
    SET,
    STOP,
    STOP_COPY,
    feature,
    go,
    read_some,
    write,
)
from server import Server
from vfio_user import (
    CONFIG,
    DEVICE_RESET,
    DMA_ACCESS,
    DMA_READ,
    DMA_WRITE,
    EVENTFD,
    INTX,
    PATIENCE_S,
    TRIGGER,
    Event,
    Memory,
    ServerError,
    close_all,
)

ALARM = paths.BUILD / "release/examples/alarm"
PAGE, BAR1, PIECE = 4096, 0x3000, 1024
# What the sample client says of itself: little, so that data comes in pieces.
OFFER = {"capabilities": {"max_msg_fds": 32, "max_data_xfer_size": PIECE}}


@pytest.fixture
def serve(tmp_path):
    """serve(option...): a process that serves an alarm."""
    with contextlib.ExitStack() as stack:

        def start(*options):
            folder = tmp_path / os.urandom(4).hex()
            folder.mkdir()
            server = Server(folder, ALARM, *options)
            stack.callback(server.end)
            return server

        yield start


@pytest.fixture
def memory():
    memory = Memory(32 * PAGE)
    yield memory
    memory.close()


@pytest.fixture
def event():
    event = Event()
    os.set_blocking(event.fd, True)
    yield event
    event.close()


def share(client, memory, pages):
    for page in pages:
        client.map(page * PAGE, PAGE, [memory.fd], offset=page * PAGE)


def set_alarm(client, when):
    client.write(0, 0, struct.pack("<q", int(when)))


def serve_dma(client, memory):
    """Answers the messages by which an alarm that has rung writes and reads; where, and how many bytes each."""
    asked = []
    for command in [DMA_WRITE] * 4 + [DMA_READ] * 4:
        request = client.receive()
        assert (request.command, request.flags) == (command, 0)
        address, count = DMA_ACCESS.unpack(request.payload[:16])
        asked.append((address, count))
        if command == DMA_WRITE:
            memory.write(address, request.payload[16:])
            client.answer(request, request.payload[:16])
        else:
            client.answer(request, request.payload + memory.read(address, count))
    return asked


def pieces_from(address):
    return [(address + at, PIECE) for at in range(0, 4 * PIECE, PIECE)] * 2


def letters():
    return b"".join(letter * 1024 for letter in (b"A", b"B", b"C", b"D"))


def read_pieces(client, most):
    pieces = []
    while len(pieces) < most and (piece := read_some(client, PIECE)):
        pieces.append(piece)
    return pieces


def maps_of(server):
    with open(f"/proc/{server.process.pid}/maps") as maps:
        return maps.read()


def wait_for_word(client, server):
    """Its messages, once it has answered, and so done with what came before."""
    client.device_info()
    return server.messages()


def test_the_sample_clients_part(serve, memory, event):
    source = serve("--dma=messages")
    client = source.client(offer=OFFER)
    with pytest.raises(ServerError, match="EINVAL"):
        client.read(0xDEADBEEF, 0, 4)
    (argsz, *_), _, fds = client.region_info(1)
    assert fds == []
    _, sparse, fds = client.region_info(1, argsz)
    assert struct.unpack("<HHIIIQQ", sparse) == (1, 1, 0, 1, 0, 0, BAR1)
    with mmap.mmap(fds[0], BAR1):
        close_all(fds)
    assert struct.unpack("<HH40xHH", client.read(CONFIG, 0, 48)) == (0xDEAD, 0xBEEF, 0xCAFE, 0xBABE)
    client.ask(DEVICE_RESET)
    before = source.descriptors()
    share(client, memory, range(32))
    assert source.descriptors() == before, "it holds none of the memory"
    assert "guest" not in maps_of(source)
    client.set_irqs(INTX, EVENTFD | TRIGGER, 0, 1, fds=[event.fd])
    assert os.get_blocking(event.fd), "whether it blocks is its owner's choice"
    feature(client, SET | LOGGING_START, struct.pack("<QII", PAGE, 0, 0))

    set_alarm(client, time.time() - 5)
    assert event.wait() == 1
    assert serve_dma(client, memory) == pieces_from(PAGE // 2)
    assert memory.read(PAGE // 2, PAGE) == letters()
    assert 5 <= struct.unpack("<q", client.read(0, 0, 8))[0] < 5 + PATIENCE_S
    for page in range(32):
        request = struct.pack("<QQQ", page * PAGE, PAGE, PAGE)
        assert len(feature(client, GET | LOGGING_REPORT, request, argsz=40)) == 32
    feature(client, SET | LOGGING_STOP, struct.pack("<QII", PAGE, 0, 0))
    for page in range(16):
        client.unmap(page * PAGE, PAGE)

    due = int(time.time()) + 3
    set_alarm(client, due)
    go(client, PRE_COPY)
    for _ in range(12):
        client.write(1, 0, os.urandom(BAR1))
        assert len(read_some(client, PIECE)) == PIECE
    content = os.urandom(BAR1)
    client.write(1, 0, content)
    go(client, STOP_COPY)
    pieces = read_pieces(client, 14)
    assert len(pieces) == 13
    go(client, STOP)

    target = serve("--dma=messages")
    client = target.client(offer=OFFER)
    go(client, RESUMING)
    for piece in pieces:
        write(client, piece)
    go(client, STOP)
    assert client.read(1, 0, BAR1) == content
    go(client, RUNNING)
    share(client, memory, range(16, 32))
    client.set_irqs(INTX, EVENTFD | TRIGGER, 0, 1, fds=[event.fd])
    assert event.wait() == 1
    assert time.time() >= due
    assert serve_dma(client, memory) == pieces_from(16 * PAGE + PAGE // 2)
    client.unmap(0, 0, flags=2)
    assert "wrote and read at 0x10800" in wait_for_word(client, target)


def test_shared_memory_is_reached_without_a_message(serve, memory, event):
    server = serve()
    client = server.client(offer=OFFER)
    share(client, memory, [4, 5])
    assert "guest" in maps_of(server)
    client.set_irqs(INTX, EVENTFD | TRIGGER, 0, 1, fds=[event.fd])
    set_alarm(client, time.time())
    assert event.wait() == 1
    assert "wrote and read at 0x4800" in wait_for_word(client, server)
    assert memory.read(4 * PAGE + PAGE // 2, PAGE) == letters()


def test_a_client_without_memory_hears_the_alarm_all_the_same(serve, event):
    server = serve()
    client = server.client(offer=OFFER)
    client.set_irqs(INTX, EVENTFD | TRIGGER, 0, 1, fds=[event.fd])
    set_alarm(client, 1)
    assert event.wait() == 1
    assert "DMA failed" in wait_for_word(client, server)


def test_a_stopped_alarm_waits_until_it_runs_again(serve, event):
    client = serve().client(offer=OFFER)
    client.set_irqs(INTX, EVENTFD | TRIGGER, 0, 1, fds=[event.fd])
    go(client, STOP)
    set_alarm(client, 1)
    os.set_blocking(event.fd, False)
    client.device_info()
    assert event.take() == 0
    go(client, RUNNING)
    assert event.wait() == 1

# SPDX-License-Identifier: BSD-3-Clause
"""Devices of an author under valgrind, which must have nothing to say of what the library does: an author hunts for errors of
their own with it."""
import os
import shutil
import socket
import struct
import time

import mpqemu
import pytest
from guestlab import paths
from migration import RUNNING, STOP, go, load, save
from server import EXERCISE
from vfio_user import (
    CONFIG,
    DEVICE_RESET,
    DMA_READ,
    DMA_WRITE,
    EVENTFD,
    INTX,
    MSIX,
    NONE,
    TRIGGER,
    UNMASK,
    Client,
    Event,
    Memory,
)

EXAMPLES = paths.BUILD / "release/examples"
PAGE = 4096
FOUND = 99  # the exit status when valgrind has found an error
# Valgrind is slow, and so is a machine that does other things besides.
PATIENCE_S = 120

pytestmark = pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed: ./dev setup")


@pytest.fixture
def start(spawn, tmp_path, cleanup):
    """start(program, option...): a socket to a device under valgrind, and a function to be called once the socket is closed,
    which checks that valgrind has found nothing."""

    def start_program(program, *options):
        ours, theirs = socket.socketpair()
        log = tmp_path / f"valgrind-{os.urandom(4).hex()}"
        valgrind = ["valgrind", "-q", f"--error-exitcode={FOUND}", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect,possible"]
        process = spawn([*valgrind, f"--log-file={log}", program, f"--fd={theirs.fileno()}", *options], name=log.name, inherit=[theirs])
        cleanup.callback(ours.close)

        def end():
            status = process.wait(PATIENCE_S)
            assert log.read_text() == ""
            assert status == 0, process.log.read_text()

        return ours, end

    return start_program


@pytest.fixture
def connect(start):
    """connect(program, option...): as start, with a client of vfio-user that has negotiated."""

    def connect_client(program, *options):
        sock, end = start(program, *options)
        sock.settimeout(PATIENCE_S)
        client = Client(sock)
        client.negotiate(offer={"capabilities": {"max_msg_fds": 32}})
        return client, end

    return connect_client


@pytest.fixture
def memory(cleanup):
    made = Memory(64 * PAGE)
    cleanup.callback(made.close)
    return made


@pytest.fixture
def event(cleanup):
    made = Event()
    cleanup.callback(made.close)
    return made


def share(client, memory, pages):
    for page in range(pages):
        client.map(page * PAGE, PAGE, [memory.fd], offset=page * PAGE)


def ring(client, event):
    client.set_irqs(INTX, EVENTFD | TRIGGER, 0, 1, fds=[event.fd])
    client.set_irqs(INTX, NONE | UNMASK, 0, 1)
    client.write(0, 0, struct.pack("<q", int(time.time()) - 1))
    event.wait()


def serve_messages(client, memory, count):
    for _ in range(count):
        request = client.receive()
        address, length = struct.unpack("<QQ", request.payload[:16])
        if request.command == DMA_WRITE:
            memory.write(address, request.payload[16:])
            client.answer(request, request.payload[:16])
        else:
            assert request.command == DMA_READ
            client.answer(request, request.payload + memory.read(address, length))


def test_registers_of_a_lamp(connect, memory):
    client, end = connect(EXAMPLES / "led")
    share(client, memory, 40)
    for size in (1, 2, 4, 8, 12, 4096):
        client.read(0, 0, size)
        client.write(0, 0, bytes(size))
    client.read(CONFIG, 0, 256)
    client.write(CONFIG, 4, b"\x07\x00")
    client.ask(DEVICE_RESET)
    for page in range(0, 40, 3):
        client.unmap(page * PAGE, PAGE)
    client.close()
    end()


def test_a_lamp_behind_a_proxy(start):
    sock, end = start(EXAMPLES / "led")
    sock.settimeout(PATIENCE_S)
    with mpqemu.Proxy(sock) as proxy:
        memory = mpqemu.memory_file(64 * PAGE)
        proxy.send(proxy.sysmem((0, 32 * PAGE, 0), (64 * PAGE, 32 * PAGE, 32 * PAGE)), [memory, memory])
        proxy.config_write(0x10, 4, 0xFEBF0000)
        proxy.config_write(0x04, 2, 2)
        proxy.bar_write(0xFEBF0000, 4, 0xFF0000)
        assert proxy.bar_read(0xFEBF0000, 4) == 0xFF0000
        proxy.ask(proxy.reset())
        os.close(memory)
    end()


@pytest.mark.parametrize("how", ["shared", "messages"])
def test_an_alarm_that_rings_moves_and_is_left_alone(connect, memory, event, how):
    client, end = connect(EXAMPLES / "alarm", f"--dma={how}")
    share(client, memory, 64)
    ring(client, event)
    if how == "messages":
        serve_messages(client, memory, 2)
    client.write(1, 0, bytes(range(256)) * 48)
    client.ask(DEVICE_RESET)
    state = save(client)
    go(client, RUNNING)
    ring(client, event)
    if how == "shared":
        client.unmap(0, 0, flags=2)
    client.close()  # with a message on its way
    end()

    client, end = connect(EXAMPLES / "alarm", f"--dma={how}")
    load(client, state)
    assert client.read(1, 0, 256) == bytes(range(256))
    go(client, STOP)
    client.close()
    end()


def command(client, number, address=0, length=0):
    client.write(0, 8, struct.pack("<Q", address))
    client.write(0, 16, struct.pack("<Q", length))
    client.write(0, 0, struct.pack("<Q", number))


def test_whatever_a_device_can_ask_of_a_vmm(connect, memory, event):
    client, end = connect(EXERCISE)
    client.write(CONFIG, 4, b"\x06\x00")
    share(client, memory, 64)
    for number in range(1, 11):  # its commands, on memory that is there and on memory that is not
        command(client, number, address=100, length=5 * PAGE)
        command(client, number, address=1 << 40, length=16)
    client.set_irqs(INTX, EVENTFD | TRIGGER, 0, 1, fds=[event.fd])
    command(client, 5)
    assert event.take() == 1
    client.set_irqs(INTX, NONE | UNMASK, 0, 1)
    client.set_irqs(MSIX, EVENTFD | TRIGGER, 0, 3, fds=[event.fd] * 3)
    command(client, 7, length=2)
    client.read(3, 0x2000, 24 * 16)
    client.write(2, 0x1000, os.urandom(PAGE))
    command(client, 3, address=0, length=3 * PAGE)
    client.ask(DEVICE_RESET)
    client.close()  # with spans that are held
    end()

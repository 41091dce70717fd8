# SPDX-License-Identifier: BSD-3-Clause
"""A virtio disk and every message of vhost-user, with each animal of the zoo on it; and memory that its front end cuts."""
import contextlib
import os
import signal
import struct

import pytest
import vhost_user
import zoo
from devicelab import sleeps, wait_for
from guestlab import paths
from server import Server
from vhost_user import ACCESS_PLATFORM, LOG_ALL, U64, USER, FrontEnd, make_memory, table

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-blk"
PAGE = 4096
DESC = struct.Struct("<QIHH")

# Payloads of messages that are whole but for the descriptors that they bring, and how many the protocol wants.
CARRIERS = {
    "SET_MEM_TABLE": (vhost_user.SET_MEM_TABLE, table(zoo.LEN), 1),
    "SET_MEM_TABLE of two": (vhost_user.SET_MEM_TABLE, table(PAGE, zoo.LEN - PAGE), 2),
    "SET_LOG_BASE": (vhost_user.SET_LOG_BASE, vhost_user.LOG.pack(PAGE, 0), 1),
    "SET_LOG_FD": (vhost_user.SET_LOG_FD, b"", 1),
    "SET_VRING_KICK": (vhost_user.SET_VRING_KICK, U64.pack(0), 1),
    "SET_VRING_CALL": (vhost_user.SET_VRING_CALL, U64.pack(0), 1),
    "SET_VRING_ERR": (vhost_user.SET_VRING_ERR, U64.pack(0), 1),
    "SET_BACKEND_REQ_FD": (vhost_user.SET_BACKEND_REQ_FD, b"", 1),
    "SET_INFLIGHT_FD": (vhost_user.SET_INFLIGHT_FD, vhost_user.INFLIGHT.pack(zoo.LEN, 0, 1, 8, 0), 1),
    "ADD_MEM_REG": (vhost_user.ADD_MEM_REG, U64.pack(0) + vhost_user.REGION.pack(0, zoo.LEN, USER, 0), 1),
    "REM_MEM_REG": (vhost_user.REM_MEM_REG, U64.pack(0) + vhost_user.REGION.pack(0, zoo.LEN, USER, 0), 1),
    "SET_DEVICE_STATE_FD": (vhost_user.SET_DEVICE_STATE_FD, vhost_user.STATE.pack(0, 0), 1),
}
# Messages that want none, and one that no protocol has.
OTHERS = {
    "features": (vhost_user.GET_FEATURES, b"", 1),
    "enable": (vhost_user.SET_VRING_ENABLE, vhost_user.STATE.pack(0, 0), 1),
    "base": (vhost_user.GET_VRING_BASE, vhost_user.STATE.pack(0, 0), 1),
    "configuration": (vhost_user.GET_CONFIG, vhost_user.STATE.pack(0, 8) + bytes(4 + 8), 1),
    "in flight": (vhost_user.GET_INFLIGHT_FD, vhost_user.INFLIGHT.pack(0, 0, 1, 8, 0), 1),
    "translation": (vhost_user.IOTLB_MSG, bytes(32), 1),
    "reset": (vhost_user.RESET_DEVICE, b"", 1),
    "more than any wants": (vhost_user.SET_VRING_CALL, U64.pack(0), 200),
    "nothing": (99, b"", 1),
}
GONE = (EOFError, BrokenPipeError, ConnectionResetError)


def serves(disk):
    """The next front end is served."""
    with FrontEnd(disk.server.path) as front_end:
        return front_end.negotiate() != 0


@pytest.mark.parametrize("messages", [CARRIERS, OTHERS], ids=["that carry", "that carry none"])
def test_messages(device, animals, stopped, kind, messages):
    disk, all_of_them = device("vhost-user", PROGRAM), []

    def offer(request, payload, count):
        with FrontEnd(disk.server.path) as front_end:
            front_end.negotiate(LOG_ALL)
            offered = animals()
            all_of_them.append(offered)
            with stopped(disk.process):
                front_end.send(request, payload, [offered.fd] * count, flags=vhost_user.NEED_REPLY)
                offered.let_go()
                watch = zoo.Stopwatch(disk.process.pid)
            with contextlib.suppress(*GONE):
                front_end.receive()
            waited_s = watch.waited_s()
        assert serves(disk)
        return waited_s

    for message in messages.values():
        zoo.at_once(lambda message=message: offer(*message))
    disk.end(kind, all_of_them)


def end(disk, kind, animals, memory):
    disk.end(kind, animals)
    memory[1].close()
    os.close(memory[0])


@pytest.mark.parametrize("request_number", [vhost_user.SET_VRING_KICK, vhost_user.SET_VRING_CALL, vhost_user.SET_VRING_ERR], ids=["kick", "call", "err"])
def test_events_of_a_ring_that_runs(device, animals, kind, request_number):
    disk, memory = device("vhost-user", PROGRAM), make_memory(zoo.LEN)
    offered, kick = animals(), os.eventfd(0)
    with FrontEnd(disk.server.path) as front_end:
        front_end.negotiate()
        assert front_end.tell(vhost_user.SET_MEM_TABLE, table(zoo.LEN), [memory[0]])
        if request_number == vhost_user.SET_VRING_KICK:
            front_end.start_ring(offered.fd)
        else:
            front_end.tell(request_number, U64.pack(0), [offered.fd])
            assert front_end.start_ring(kick)
            memory[1][0x1002:0x1004] = b"\1\0"  # a chain that breaks the ring: of a descriptor that has no memory
            os.eventfd_write(kick, 1)
        offered.let_go()
        wait_for(disk.process, disk.is_asleep, "it spins")
    assert serves(disk)
    os.close(kick)
    end(disk, kind, [offered], memory)


def test_a_back_end_channel(device, animals, kind):
    """The device asks there for the translations of a ring."""
    disk, memory, kick = device("vhost-user", PROGRAM), make_memory(zoo.LEN), os.eventfd(0)
    offered = animals()
    with FrontEnd(disk.server.path) as front_end, contextlib.suppress(*GONE):
        front_end.negotiate(ACCESS_PLATFORM)
        assert front_end.tell(vhost_user.SET_MEM_TABLE, table(zoo.LEN), [memory[0]])
        front_end.send(vhost_user.SET_BACKEND_REQ_FD, fds=[offered.fd], flags=vhost_user.NEED_REPLY)
        offered.let_go()
        front_end.receive()
        front_end.start_ring(kick)
        os.eventfd_write(kick, 1)
        wait_for(disk.process, disk.is_asleep, "it spins")
    assert serves(disk)
    os.close(kick)
    end(disk, kind, [offered], memory)


@pytest.mark.parametrize("cut", ["guest", "log"])
@pytest.mark.parametrize("make", [zoo.huge_pages, zoo.unsealed_memory], ids=lambda make: make.__name__)
def test_memory_that_is_cut(tmp_path, make, cut):
    """The device reads where nothing is any more: its front end is dropped, and it serves the next."""
    try:
        animal = zoo.make(make)
    except zoo.Missing as missing:
        pytest.skip(str(missing))
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(zoo.LEN))
    server = Server(tmp_path, PROGRAM, f"--image={image}", wire="vhost-user")
    memory, kick = make_memory(zoo.LEN), os.eventfd(0)
    guest = animal.fd if cut == "guest" else memory[0]
    length = 2 * zoo.HUGE if cut == "guest" and make is zoo.huge_pages else zoo.LEN
    with FrontEnd(server.path) as front_end:
        front_end.negotiate(LOG_ALL)
        if cut == "log":
            log_len = zoo.HUGE if make is zoo.huge_pages else PAGE
            front_end.send(vhost_user.SET_LOG_BASE, vhost_user.LOG.pack(log_len, 0), [animal.fd])
            front_end.receive()
        assert front_end.tell(vhost_user.SET_MEM_TABLE, table(length), [guest])
        assert front_end.start_ring(kick)
        if cut == "log":  # a request that the device does not know: its status is written, and logged
            memory[1][0:32] = DESC.pack(0x4000, 16, 1, 1) + DESC.pack(0x5000, 1, 2, 0)
            memory[1][0x4000:0x4004] = b"\xff" * 4
            memory[1][0x1002:0x1004] = b"\1\0"
        os.ftruncate(animal.fd, 0)
        os.eventfd_write(kick, 1)
        wait_for(server.process, lambda: sleeps(server.process.pid), "it spins")
        with contextlib.suppress(*GONE):  # it tells with the next message
            front_end.send(vhost_user.GET_FEATURES)
            while True:
                front_end.receive()
    with FrontEnd(server.path) as front_end:
        assert front_end.negotiate()
    assert "truncated its memory" in server.messages()
    os.close(kick)
    animal.close()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(vhost_user.PATIENCE_S) == 0, server.messages()
    server.notify.close()
    memory[1].close()
    os.close(memory[0])

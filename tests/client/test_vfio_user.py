# SPDX-License-Identifier: BSD-3-Clause
"""The client over vfio-user: what only this wire has, and servers that lie, stop, or ask for memory."""
import ctypes
import errno
import mmap
import os
import select
import socket
import struct

import pytest
from guestlab import count_descriptors
import vfio_user
from outboard_client import (
    ALIVE, CONFIG, HUNG, LOADING, LOST, MEMORY, PAGE, PRE_COPY, RUNNING, SAVING, STOPPED, ClientError, fails_with,
)  # fmt: skip
from vfio_user import DMA_ACCESS, PATIENCE_S
from vfio_user_server import BAR_LEN, Server

CONTROL, DATA = 0, 1
ADD = 1
LOGGING_REPORT = 8  # a device feature


@pytest.fixture
def vmm(backdoor, client):
    """A client whose device, a real backdoor, is placed."""
    _, ours = backdoor(wire="vfio-user")
    vmm = client(ours, wire="vfio-user", timeout_ms=PATIENCE_S * 1000)
    vmm.probe()
    vmm.place_bars()
    return vmm


@pytest.fixture
def against(client, cleanup):
    """against(lies, capabilities=, **options): a client, and the Server that it has."""

    def start(lies=None, capabilities=None, **options):
        ours, theirs = socket.socketpair()
        server = Server(theirs, lies, capabilities)
        made = client(ours, wire="vfio-user", **{"timeout_ms": PATIENCE_S * 1000, **options})
        server.start()
        cleanup.callback(server.join)
        cleanup.callback(made.__exit__)
        return made, server

    return start


def test_the_data_channel_is_mapped(vmm):
    assert vmm.probe().bars[DATA].flags == MEMORY
    [area] = vmm.bar_areas(DATA)
    assert (area.offset, area.len, area.sealed) == (0, PAGE, True)
    with mmap.mmap(area.fd, area.len, offset=area.file_offset) as data:
        data[0:16] = struct.pack("<QQ", 40, 2)
        vmm.bar_write(CONTROL, 0, 8, ADD)
        assert struct.unpack_from("<Q", data, 16) == (42,)
        vmm.bar_write(DATA, 24, 8, 7)
        assert data[24] == 7
    assert not vmm.bar_areas(CONTROL)
    fails_with(errno.EINVAL, vmm.bar_areas, 2)


def test_bytes_in_one_message(backdoor, client):
    _, ours = backdoor("--pages=255", wire="vfio-user")
    vmm = client(ours, wire="vfio-user", timeout_ms=PATIENCE_S * 1000)
    vmm.probe()
    data = os.urandom(255 * PAGE)
    vmm.write_bytes(DATA, 0, data)
    assert vmm.read_bytes(DATA, 0, len(data)) == data
    assert vmm.read_bytes(DATA, 5, 77) == data[5:82]
    assert vmm.read_bytes(CONFIG, 0, 256)[:4] == bytes.fromhex("f41af010")
    assert fails_with(errno.EINVAL, vmm.read_bytes, CONFIG, 250, 7) == b"\xff" * 7
    fails_with(errno.EINVAL, vmm.write_bytes, DATA, 256 * PAGE - 1, b"ab")
    fails_with(errno.EINVAL, vmm.read_bytes, 8, 0, 1)


def test_many_writes_are_carried_out_in_order(vmm):
    vmm.bar_write_many((DATA, 0, 8, 30), (DATA, 8, 8, 12), (CONTROL, 0, 8, ADD), (DATA, 0, 4, 1))
    assert vmm.bar_read(DATA, 16, 8) == 42
    assert vmm.bar_read(DATA, 0, 8) == 1
    fails_with(errno.EINVAL, vmm.bar_write_many, (DATA, 0, 8, 9), (DATA, PAGE, 1, 0))
    assert vmm.bar_read(DATA, 0, 8) == 1  # nothing of it was written


def test_a_state_moves_to_another_process(vmm, backdoor, client):
    assert vmm.can_migrate()
    vmm.bar_write(DATA, 100, 4, 0xABCD)
    vmm.run_state = PRE_COPY
    early = vmm.save()
    vmm.run_state = SAVING
    state = vmm.save(piece=999)
    vmm.run_state = STOPPED
    _, ours = backdoor(wire="vfio-user")
    there = client(ours, wire="vfio-user", timeout_ms=PATIENCE_S * 1000)
    there.probe()
    there.run_state = LOADING
    there.load(state)
    assert there.run_state == LOADING
    there.run_state = RUNNING
    assert there.bar_read(DATA, 100, 4) == 0xABCD
    assert there.config_read(0x04, 2) == vmm.config_read(0x04, 2)
    there.run_state = LOADING
    there.load(state[:-1])
    fails_with(errno.EREMOTEIO, setattr, there, "run_state", RUNNING)
    assert there.run_state == 0  # what failed to load is in error until it is reset
    there.reset()
    assert there.run_state == RUNNING
    there.run_state = LOADING
    there.load(early + state)  # what was told of it while it ran may go before it
    there.run_state = RUNNING


def test_a_change_of_state_that_is_none(vmm):
    fails_with(errno.EREMOTEIO, setattr, vmm, "run_state", 17)
    assert vmm.refusal == errno.EINVAL
    fails_with(errno.EREMOTEIO, vmm.load, b"abc")
    assert vmm.run_state == RUNNING


def test_single_regions(vmm, ram):
    for i in range(32):
        vmm.map_memory(2 * i * PAGE, PAGE, i * PAGE, ram)
    fails_with(errno.EEXIST, vmm.map_memory, 0, 2 * PAGE, 0, ram)
    fails_with(errno.EINVAL, vmm.map_memory, PAGE, PAGE - 1, 0, ram)
    fails_with(errno.EBADF, vmm.map_memory, PAGE, PAGE, 0, 1 << 20)
    fails_with(errno.ENOENT, vmm.unmap_memory, 0, 2 * PAGE)
    for i in range(32):
        vmm.unmap_memory(2 * i * PAGE, PAGE)
    fails_with(errno.ENOENT, vmm.unmap_memory, 0, PAGE)


def test_what_mpqemu_does_not_have(backdoor, client, ram):
    _, ours = backdoor()
    vmm = client(ours)
    vmm.probe()
    vmm.place_bars()
    for call in [vmm.can_migrate, lambda: vmm.set_vectors(0, 0, 1), lambda: vmm.map_memory(0, PAGE, 0, ram)]:
        fails_with(errno.EOPNOTSUPP, call)
    fails_with(errno.EOPNOTSUPP, vmm.bar_areas, 0)
    fails_with(errno.EOPNOTSUPP, vmm.save)
    fails_with(errno.EOPNOTSUPP, vmm.publish_memory, (0, PAGE, 0, ram, True))
    vmm.write_bytes(DATA, 1, b"abcdefghijk")
    assert vmm.read_bytes(DATA, 0, 13) == b"\0abcdefghijk\0"


def ask_for_memory(*requests):
    """A lie that asks for guest memory before it answers; the replies are kept in server.replies."""

    def act(server, message):
        for command, iova, count, data in requests:
            server.speaker.send(command, DMA_ACCESS.pack(iova, count) + data)
            server.replies.append(server.speaker.receive())
        return server.truth(message)

    return act


def test_a_server_that_asks_for_memory_in_the_midst_of_a_call(against, ram):
    """Region 0 is shared, region 1 is this process's own, region 2 is read only; none of them touches region 1."""
    own = ctypes.create_string_buffer(2 * PAGE)
    address = (ctypes.addressof(own) + PAGE - 1) & ~(PAGE - 1)
    os.pwrite(ram, b"shared", 100)
    requests = [
        (vfio_user.DMA_READ, 100, 6, b""),
        (vfio_user.DMA_WRITE, 0x10000, 4, b"mine"),
        (vfio_user.DMA_READ, 0x10000, 4, b""),
        (vfio_user.DMA_WRITE, 0x20000, 1, b"x"),
        (vfio_user.DMA_READ, 0x30000, 1, b""),
        (vfio_user.DMA_READ, PAGE - 1, 2, b""),
        (vfio_user.DMA_READ, 0, 65537, b""),
        (vfio_user.DMA_WRITE, 0, 4, b"abc"),
        (vfio_user.DEVICE_RESET, 0, 0, b""),
    ]
    vmm, server = against({vfio_user.REGION_READ: ask_for_memory(*requests)})
    vmm.publish_memory(
        (0, PAGE, 0, ram), (0x10000, PAGE, 0, -1, False, address), (0x20000, PAGE, PAGE, ram, True)
    )  # fmt: skip
    assert vmm.config_read(0, 4) == 0x10F01AF4
    replies = [reply.error if reply.flags & vfio_user.ERROR else reply.payload[16:] for reply in server.replies]
    refused = [errno.EACCES, errno.EFAULT, errno.EFAULT, errno.E2BIG, errno.EINVAL, errno.ENOSYS]
    assert replies == [b"shared", b"", b"mine", *refused]
    assert ctypes.string_at(address, 4) == b"mine"
    assert os.pread(ram, 1, PAGE) == b"\0"
    assert vmm.states == []


def test_a_server_that_asks_between_calls(against, ram):
    vmm, server = against()
    vmm.publish_memory((0, PAGE, 0, ram))
    server.speaker.send(vfio_user.DMA_WRITE, DMA_ACCESS.pack(8, 3) + b"now")
    while os.pread(ram, 3, 8) != b"now":
        assert select.select([vmm], [], [], PATIENCE_S)[0]
        vmm.dispatch()
    assert vmm.config_read(0, 2) == 0x1AF4


def test_what_a_server_writes_by_messages_is_in_the_log(against, ram):
    def report(server, message):
        return message.payload[:32] + struct.pack("<Q", 1 << 5)  # the server itself has written page 5

    def feature(server, message):
        return report(server, message) if message.payload[4] == LOGGING_REPORT else message.payload[:8]

    write = ask_for_memory((vfio_user.DMA_WRITE, 3 * PAGE + 8, 4, b"abcd"))
    vmm, _ = against({vfio_user.REGION_READ: write, 16: feature})
    vmm.publish_memory((0, 8 * PAGE, 0, ram))
    vmm.log_start(PAGE, (0, 8 * PAGE))
    vmm.config_read(0, 4)
    assert vmm.log_report(PAGE, 0, 8 * PAGE) == [3, 5]
    assert vmm.log_report(PAGE, 0, 8 * PAGE) == [5]
    vmm.log_stop()
    fails_with(errno.EINVAL, vmm.log_report, PAGE, 0, 8 * PAGE)


def test_the_log_is_asked_for_by_regions(against, ram):
    """As libvfio-user needs it: it has a log for each region that it can map, and none besides."""
    asked = []

    def feature(server, message):
        if message.payload[4] != LOGGING_REPORT:
            return message.payload[:8]
        start, length, _ = struct.unpack_from("<QQQ", message.payload, 8)
        asked.append((start // PAGE, length // PAGE))
        return message.payload[:32] + struct.pack("<Q", 1 << 1)  # the second page of each was written

    own = ctypes.create_string_buffer(2 * PAGE)
    address = (ctypes.addressof(own) + PAGE - 1) & ~(PAGE - 1)
    vmm, _ = against({16: feature})
    vmm.publish_memory(
        (0, 2 * PAGE, 0, ram), (2 * PAGE, PAGE, 0, -1, False, address), (4 * PAGE, 4 * PAGE, 2 * PAGE, ram),
        (8 * PAGE, PAGE, 6 * PAGE, ram, True), (16 * PAGE, 16 * PAGE, 16 * PAGE, ram),
    )  # fmt: skip
    vmm.log_start(PAGE, (0, 6 * PAGE), (6 * PAGE, 14 * PAGE))
    assert vmm.log_report(PAGE, 6 * PAGE, 14 * PAGE) == [1, 11]  # of the second range: pages 7 and 17
    assert sorted(asked) == [(4, 2), (6, 2), (16, 4)]
    asked.clear()
    assert vmm.log_report(PAGE, 0, PAGE) == []
    assert asked == [(0, 2)]
    assert vmm.log_report(PAGE, 0, 6 * PAGE) == [1, 5]


def test_a_long_report_comes_in_pieces(against, ram):
    """Each as long as the server's messages may be: here 24 bytes and the bits of 64 pages."""
    asked = []

    def feature(server, message):
        if message.payload[4] != LOGGING_REPORT:
            return message.payload[:8]
        asked.append(struct.unpack_from("<QQ", message.payload, 8))
        return message.payload[:32] + struct.pack("<Q", 1)

    vmm, _ = against({16: feature}, capabilities={"max_data_xfer_size": 32 + 7})
    os.ftruncate(ram, 130 * PAGE)
    vmm.map_memory(0, 130 * PAGE, 0, ram)
    vmm.log_start(PAGE, (0, 256 * PAGE))
    assert vmm.log_report(PAGE, 0, 256 * PAGE) == [0, 64, 128]
    assert asked == [(0, 64 * PAGE), (64 * PAGE, 64 * PAGE), (128 * PAGE, 2 * PAGE)]


def test_what_a_server_has_logged_of_a_region_that_goes_is_kept(against, ram):
    """One that forgets it with the region leaves all of it to be taken for written."""
    answers = [struct.pack("<Q", 1 << 2), None]

    def feature(server, message):
        if message.payload[4] != LOGGING_REPORT:
            return message.payload[:8]
        answer = answers.pop(0)
        return message.payload[:32] + answer if answer else server.reply(message, error=errno.ENOENT)

    vmm, _ = against({16: feature})
    vmm.map_memory(0, 8 * PAGE, 0, ram)
    vmm.map_memory(8 * PAGE, 2 * PAGE, 0, ram)
    vmm.log_start(PAGE, (0, 16 * PAGE))
    vmm.unmap_memory(0, 8 * PAGE)
    vmm.unmap_memory(8 * PAGE, 2 * PAGE)
    assert vmm.log_report(PAGE, 0, 16 * PAGE) == [2, 8, 9]
    assert not answers and vmm.states == []


def test_a_piece_of_state_that_is_padded(against):
    """libvfio-user sends as many bytes as were asked for, and says how many of them count."""
    state = os.urandom(1000)
    sent = 0

    def piece(server, message):
        nonlocal sent
        size = struct.unpack("<II", message.payload)[1]
        part, sent = state[sent : sent + size], min(len(state), sent + size)
        return struct.pack("<II", 8 + len(part), len(part)) + part.ljust(size, b"?")

    vmm, _ = against({17: piece})
    assert vmm.save(piece=300) == state


def test_intx_of_a_server_without_a_resample_eventfd(against, cleanup):
    """It is told by a message that the guest has ended the interrupt."""
    events, unmasked = [], []

    def set_irqs(server, message):
        flags = vfio_user.IRQ_SET.unpack(message.payload)[1]
        if flags == vfio_user.EVENTFD | vfio_user.UNMASK:
            server.reply(message, error=errno.ENOTSUP)
            return None
        if flags == vfio_user.EVENTFD | vfio_user.TRIGGER:
            events.append(os.dup(message.fds[0]))
            cleanup.callback(os.close, events[0])
        if flags == vfio_user.NONE | vfio_user.UNMASK:
            unmasked.append(message.flags & vfio_user.NO_REPLY)
        return b""

    vmm, _ = against({vfio_user.SET_IRQS: set_irqs})
    vmm.emulate_intx()
    for count in range(1, 4):
        os.eventfd_write(events[0], 1)
        while vmm.interrupts < count:
            assert select.select([vmm], [], [], PATIENCE_S)[0]
            vmm.dispatch()
        vmm.intx_eoi()
        assert select.select([vmm], [], [], PATIENCE_S)[0]
        vmm.dispatch()
        vmm.config_read(0, 2)  # behind the message
        assert unmasked == [0] + [vfio_user.NO_REPLY] * count


def wrong_reply(**header):
    return lambda server, message: server.reply(message, server.truth(message), **header)


def payload(change):
    return lambda server, message: change(server.truth(message))


READ, INFO, REGION = vfio_user.REGION_READ, vfio_user.GET_INFO, vfio_user.GET_REGION_INFO


def region(**fields):
    """What is said of region 0, changed; the rest is as it is."""

    def act(server, message):
        said = list(vfio_user.REGION_INFO.unpack(server.truth(message)))
        names = ["argsz", "flags", "index", "cap_offset", "size", "offset"]
        if said[2] == 0:
            for name, value in fields.items():
                if name in names:
                    said[names.index(name)] = value
        return vfio_user.REGION_INFO.pack(*said) + (fields.get("more", b"") if message.payload[8] == 0 else b"")

    return act


CAPS = 8


def chain(following, areas=()):
    """A capability that names areas."""
    body = struct.pack("<HHI", 1, 1, following) + struct.pack("<II", len(areas), 0)
    return body + b"".join(struct.pack("<QQ", *area) for area in areas)


LIES = {
    "another id": (READ, wrong_reply(id=0x7777), "a request that was not sent"),
    "another command": (READ, wrong_reply(command=vfio_user.REGION_WRITE), "a request that was not sent"),
    "neither command nor reply": (READ, wrong_reply(flags=5), "flags 0x5 (offset 8)"),
    "a short frame": (READ, wrong_reply(size=15), "15 bytes (offset 4)"),
    "a huge frame": (READ, wrong_reply(size=2**32 - 1), "4294967295 bytes (offset 4)"),
    "nothing read": (READ, payload(lambda right: right[:16]), "payload of 16 bytes"),
    "more read": (READ, payload(lambda right: right + b"x"), "payload of 19 bytes"),
    "another count": (READ, payload(lambda right: right[:12] + b"\x03" + right[13:]), "an access of 2 bytes"),
    "no PCI device": (INFO, lambda server, message: vfio_user.FOUR.pack(16, 0, 9, 5), "not a PCI device"),
    "no configuration space": (INFO, lambda server, message: vfio_user.FOUR.pack(16, 2, 7, 5), "7 regions"),
    "half an answer": (INFO, payload(lambda right: right[:15]), "not a PCI device"),
    "another region": (REGION, region(index=3), "is inconsistent"),
    "a chain that loops": (REGION, region(flags=CAPS, cap_offset=32, more=chain(32)), "is inconsistent"),
    "an area beyond": (
        REGION, region(flags=CAPS, cap_offset=32, more=chain(0, [(PAGE, PAGE)])), "is inconsistent",
    ),
    "an area that wraps": (
        REGION, region(flags=CAPS, cap_offset=32, more=chain(0, [(PAGE, 2**64 - PAGE)])), "is inconsistent",
    ),
    "a long answer": (REGION, region(more=bytes(4096)), "payload of 4128 bytes"),
    "version 1": (vfio_user.VERSION, payload(lambda right: b"\1" + right[1:]), "major version 1"),
    "no JSON": (vfio_user.VERSION, payload(lambda right: right[:4] + b"{{{\0"), "VERSION"),
    "no end of text": (vfio_user.VERSION, payload(lambda right: right[:-1]), "VERSION"),
    "VERSION refused": (
        vfio_user.VERSION, lambda server, message: server.reply(message, error=errno.EINVAL), "Invalid argument",
    ),
}  # fmt: skip


@pytest.mark.parametrize("command, lie, text", LIES.values(), ids=LIES)
def test_a_server_that_lies_is_lost(against, command, lie, text):
    vmm, _ = against({command: lie})
    with pytest.raises(ClientError):
        vmm.config_read(0, 2)
        vmm.probe()
    assert vmm.states == [LOST]
    assert text in vmm.fault.text
    assert fails_with(errno.ENOTCONN, vmm.config_read, 0, 4) == 0xFFFFFFFF


def test_descriptors_that_nobody_asked_for_are_closed(against):
    vmm, _ = against({READ: wrong_reply(fds=[0, 1, 2])})
    vmm.probe()
    before = count_descriptors()
    assert vmm.config_read(0, 2) == 0x1AF4
    assert count_descriptors() == before
    assert vmm.states == []


def test_a_command_before_the_greeting_is_answered(against):
    def act(server, message):
        server.speaker.send(vfio_user.DMA_READ, DMA_ACCESS.pack(0, 1))

    vmm, _ = against({vfio_user.VERSION: act})
    fails_with(errno.ENOTCONN, vmm.config_read, 0, 2)
    assert "expected the reply to VERSION" in vmm.fault.text


def test_a_server_that_does_not_answer_the_greeting(against):
    vmm, _ = against({vfio_user.VERSION: lambda server, message: None}, timeout_ms=50)
    fails_with(errno.ENOTCONN, vmm.config_read, 0, 2)
    assert vmm.states == [HUNG, LOST]
    assert "greeting" in vmm.fault.text


def test_a_flood_of_commands_does_not_make_a_call_longer(against):
    """It asks for memory for ever instead of answering."""

    def act(server, message):
        server.speaker.socket.setblocking(True)
        try:
            while True:
                server.speaker.send(vfio_user.DMA_READ, DMA_ACCESS.pack(0, 1))
                server.speaker.receive()
        except (EOFError, ConnectionError):
            return None

    vmm, _ = against({vfio_user.REGION_WRITE: act})
    vmm.config_read(0, 2)
    vmm.set_timeout(200)
    fails_with(errno.ETIMEDOUT, vmm.config_write, 4, 2, 0)
    assert vmm.state == HUNG
    vmm.dispatch()
    vmm.__exit__()


def test_a_server_that_reads_no_replies_is_not_served_without_end(against, ram):
    """Its requests wait until it reads: neither memory nor time is spent on them."""

    def act(server, message):
        for _ in range(64):
            server.speaker.send(vfio_user.DMA_READ, DMA_ACCESS.pack(0, 32768))
        for _ in range(64):
            assert len(server.speaker.receive().payload) == 16 + 32768
        return server.truth(message)

    vmm, _ = against({vfio_user.REGION_READ: act})
    vmm.publish_memory((0, 64 * PAGE, 0, ram))
    assert vmm.config_read(0, 2) == 0x1AF4


def test_late_answers_with_payloads(against):
    held = []

    def act(server, message):
        held.append(message)
        if len(held) == 1:
            return None  # later
        server.reply(held[0], server.truth(held[0]))
        return server.truth(message)

    vmm, server = against({vfio_user.REGION_WRITE: act})
    vmm.probe()
    vmm.set_timeout(50)
    fails_with(errno.ETIMEDOUT, vmm.write_bytes, 0, 0, b"x" * BAR_LEN)
    assert vmm.states == [HUNG]
    vmm.set_timeout(PATIENCE_S * 1000)
    server.speaker.send(vfio_user.REGION_WRITE, flags=vfio_user.TYPE_REPLY, id=held[0].id, payload=held[0].payload[:16])
    while vmm.state == HUNG:
        assert select.select([vmm], [], [], PATIENCE_S)[0]
        vmm.dispatch()
    assert vmm.config_read(0, 4) == 0x10F01AF4
    assert vmm.states == [HUNG, ALIVE]


def test_a_region_that_the_server_refuses(against, ram):
    vmm, _ = against({vfio_user.DMA_MAP: lambda server, message: server.reply(message, error=errno.ENOSPC)})
    fails_with(errno.EREMOTEIO, vmm.map_memory, 0, PAGE, 0, ram)
    assert vmm.refusal == errno.ENOSPC
    fails_with(errno.ENOENT, vmm.unmap_memory, 0, PAGE)


def test_a_server_takes_only_so_many_regions(against, ram):
    vmm, _ = against()
    for i in range(64):
        vmm.map_memory(2 * i * PAGE, PAGE, 0, ram)
    fails_with(errno.ENOSPC, vmm.map_memory, 1 << 40, PAGE, 0, ram)


def test_transfers_are_as_long_as_the_server_takes(against):
    vmm, server = against(capabilities={"max_data_xfer_size": 1000, "max_msg_fds": 1, "pgsizes": 4096})
    vmm.probe()
    data = os.urandom(BAR_LEN)
    vmm.write_bytes(0, 0, data)
    assert vmm.read_bytes(0, 0, BAR_LEN) == data
    assert server.seen.count(vfio_user.REGION_WRITE) == 5

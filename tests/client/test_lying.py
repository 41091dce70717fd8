# SPDX-License-Identifier: BSD-3-Clause
"""Remotes that lie: whatever they say, a call ends with an error and all ones, or with their own answer."""
import array
import errno
import os
import select
import socket
import struct
import threading
import time

import mpqemu
import pytest
from guestlab import count_descriptors
from mpqemu import PATIENCE_S
from outboard_client import ALIVE, HUNG, LOST, fails_with

RET = {"mpqemu": 1, "mpqemu-v8": 2}


@pytest.fixture(params=RET)
def wire(request):
    return request.param


class Remote:
    """The far end of a client's socket. Requests are read whole; what is answered is the test's business."""

    def __init__(self, sock, wire):
        self.sock = sock
        self.sock.settimeout(PATIENCE_S)
        self.wire = wire

    def answer(self, value, number=None, size=None, length=None):
        """The bytes of a RET, or of something like it."""
        right = 192 if self.wire == "mpqemu-v8" else 8
        length = right if length is None else length
        header = mpqemu.HEADER.pack(RET[self.wire] if number is None else number, 0, length if size is None else size)
        return header + struct.pack("<Q", value).ljust(length, b"\0")[:length]

    def read_request(self):
        """The next request that wants an answer; None at the end."""
        while header := self._exactly(16):
            number, _, size = mpqemu.HEADER.unpack(header)
            self._exactly(size)
            if number not in (0, 1):  # SYNC_SYSMEM of either dialect; RET is none that a client sends
                return number
        return None

    def _exactly(self, length):
        data = b""
        while len(data) < length:
            more = self.sock.recv(length - len(data))
            if not more:
                return None
            data += more
        return data


@pytest.fixture
def pair(client, cleanup, wire):
    """pair(**options): a client, and the Remote that it speaks to."""

    def make(**options):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        cleanup.enter_context(theirs)
        return client(ours, wire=wire, **options), Remote(theirs, wire)

    return make


@pytest.fixture
def against(pair, cleanup):
    """against(act, **options): a client whose remote does act(remote) in a thread of its own."""

    def start(act, **options):
        vmm, remote = pair(timeout_ms=PATIENCE_S * 1000, **options)
        thread = threading.Thread(target=act, args=[remote])
        thread.start()
        cleanup.callback(thread.join)
        return vmm

    return start


def check_lost(vmm, text):
    assert fails_with(errno.ENOTCONN, vmm.config_read, 0, 4) == 0xFFFFFFFF
    assert vmm.states == [LOST]
    assert text in vmm.fault.text
    assert fails_with(errno.ENOTCONN, vmm.config_read, 0, 4) == 0xFFFFFFFF
    fails_with(errno.ENOTCONN, vmm.config_write, 0, 4, 0)
    fails_with(errno.ENOTCONN, vmm.probe)
    vmm.dispatch()
    assert vmm.states == [LOST]


LIES = {
    "noise": (lambda remote: bytes(range(1, 200)), "offset 0"),
    "zeroes": (lambda remote: bytes(400), "offset"),
    "another command": (lambda remote: remote.answer(5, number=9), "cmd 9 (offset 0)"),
    "a negative command": (lambda remote: remote.answer(5, number=-1), "offset 0"),
    "no payload": (lambda remote: remote.answer(5, length=0), "0 bytes (offset 8)"),
    "half a payload": (lambda remote: remote.answer(5, length=4), "4 bytes (offset 8)"),
    "a longer payload": (lambda remote: remote.answer(5, length=200), "200 bytes (offset 8)"),
    "a huge payload": (lambda remote: remote.answer(5, size=2**64 - 1), "offset 8"),
    "two answers": (lambda remote: remote.answer(5) * 2, "bytes without a request"),
    "an answer and a byte": (lambda remote: remote.answer(5) + b"x", "bytes without a request"),
}


@pytest.mark.parametrize("lie, text", LIES.values(), ids=LIES)
def test_an_answer_that_is_none(against, lie, text):
    def act(remote):
        remote.read_request()
        remote.sock.sendall(lie(remote))

    check_lost(against(act), text)


def test_an_answer_before_the_question(pair):
    vmm, remote = pair()
    remote.sock.sendall(remote.answer(5))
    check_lost(vmm, "bytes without a request")


def test_an_answer_that_ends_early(against, wire):
    def act(remote):
        remote.read_request()
        remote.sock.sendall(remote.answer(5)[:-1])
        remote.sock.shutdown(socket.SHUT_RDWR)

    check_lost(against(act), "closed the connection")


def test_the_end_instead_of_an_answer(against):
    check_lost(against(lambda remote: remote.read_request() and remote.sock.shutdown(socket.SHUT_RDWR)), "closed")


def test_the_end_before_any_question(pair):
    vmm, remote = pair()
    remote.sock.close()
    check_lost(vmm, "closed the connection")


@pytest.mark.parametrize("count", [1, 7, 33])
def test_descriptors_are_not_kept(against, count):
    before = count_descriptors()

    def act(remote):
        remote.read_request()
        fds = array.array("i", [0] * count)
        remote.sock.sendmsg([remote.answer(5)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])

    vmm = against(act)
    fails_with(errno.ENOTCONN, vmm.config_read, 0, 4)
    assert vmm.states == [LOST]
    until = time.monotonic() + PATIENCE_S  # a thread closes them
    while count_descriptors() > before + 2 and time.monotonic() < until:
        os.sched_yield()
    assert count_descriptors() == before + 2  # the far end and ob_client_fd()


def test_an_answer_byte_by_byte_is_one(against):
    def act(remote):
        remote.read_request()
        for byte in remote.answer(0x12345678):
            remote.sock.sendall(bytes([byte]))

    vmm = against(act)
    assert vmm.config_read(0, 4) == 0x12345678
    assert vmm.state == ALIVE


@pytest.mark.parametrize("value", [0, 2**64 - 1, 0x0123456789ABCDEF])
def test_values_are_cut_to_the_size_of_the_access(against, value):
    def act(remote):
        while remote.read_request():
            remote.sock.sendall(remote.answer(value))

    vmm = against(act)
    assert [vmm.config_read(0, size) for size in (1, 2, 4)] == [value & (2 ** (8 * size) - 1) for size in (1, 2, 4)]
    vmm.__exit__()


@pytest.mark.parametrize("value", [2**64 - 1, 0xFF00FF00, 0x10])
def test_a_probe_of_nonsense(against, value):
    def act(remote):
        while remote.read_request():
            remote.sock.sendall(remote.answer(value))

    vmm = against(act)
    fails_with(errno.ENODEV if value == 2**64 - 1 else errno.EPROTO, vmm.probe)
    assert vmm.state == ALIVE
    vmm.__exit__()


def test_late_answers_go_to_nobody(pair):
    vmm, remote = pair(timeout_ms=50)
    assert fails_with(errno.ETIMEDOUT, vmm.config_read, 0, 4) == 0xFFFFFFFF
    assert vmm.state == HUNG
    remote.read_request()
    remote.sock.sendall(remote.answer(1)[:10])
    fails_with(errno.ETIMEDOUT, vmm.config_read, 4, 4)
    remote.sock.sendall(remote.answer(1)[10:])
    # Alive again, and asked anew; nobody answers this one, least of all the first one's answer.
    assert fails_with(errno.ETIMEDOUT, vmm.config_read, 8, 4) == 0xFFFFFFFF
    assert vmm.states == [HUNG, ALIVE, HUNG]


def test_a_late_answer_and_one_too_many(pair):
    vmm, remote = pair(timeout_ms=50)
    fails_with(errno.ETIMEDOUT, vmm.config_read, 0, 4)
    remote.sock.sendall(remote.answer(1) * 2)
    check_lost_after_hang(vmm)


def check_lost_after_hang(vmm):
    assert fails_with(errno.ENOTCONN, vmm.config_read, 0, 4) == 0xFFFFFFFF
    assert vmm.states == [HUNG, LOST]
    assert "bytes without a request" in vmm.fault.text


def test_a_heartbeat_does_not_take_the_answer_of_a_call(against):
    """Answers differ, so that one that goes to the wrong question shows."""

    def act(remote):
        for value in range(10**9):
            if remote.read_request() is None:
                return
            remote.sock.sendall(remote.answer(value))

    vmm = against(act, heartbeat_ms=1)
    seen = []
    while len(seen) < 300:
        vmm.dispatch()
        seen.append(vmm.config_read(0, 4))
    assert seen == sorted(set(seen))
    assert seen[-1] > 300  # heartbeats were among them
    assert vmm.states == []
    vmm.__exit__()


def test_eventfds_that_the_remote_spoils(pair, cleanup):
    """The remote has made them blocking and full: nothing here may wait for it."""
    vmm, remote = pair()
    vmm.emulate_intx()
    _, fds, _, _ = socket.recv_fds(remote.sock, 4096, 2)
    for fd in fds:
        cleanup.callback(os.close, fd)
        os.set_blocking(fd, True)
    trigger, resample = fds
    for _ in range(3):
        os.eventfd_write(trigger, 2**64 - 2)
        os.eventfd_write(resample, 2**64 - 2)
        vmm.dispatch()
        vmm.intx_eoi()
        assert os.eventfd_read(resample) == 1
    assert vmm.interrupts == 3


def test_a_trigger_without_end_is_one_interrupt(pair, cleanup):
    vmm, remote = pair()
    vmm.emulate_intx()
    _, fds, _, _ = socket.recv_fds(remote.sock, 4096, 2)
    for fd in fds:
        cleanup.callback(os.close, fd)
    for _ in range(100):
        os.eventfd_write(fds[0], 1)
        vmm.dispatch()
    assert vmm.interrupts == 1
    assert not select.select([vmm], [], [], 0)[0]
    vmm.intx_eoi()
    vmm.dispatch()
    assert vmm.interrupts == 1  # the level is asked for by the resample eventfd, and the remote does not hold it
    os.eventfd_write(fds[0], 1)
    vmm.dispatch()
    assert vmm.interrupts == 2


def test_a_remote_that_reads_nothing(pair, cleanup):
    vmm, _ = pair(timeout_ms=50)
    ram = os.memfd_create("ram")
    cleanup.callback(os.close, ram)
    os.ftruncate(ram, 4096)
    with pytest.raises(OSError) as raised:
        for _ in range(100000):
            vmm.publish_memory((0, 4096, 0, ram))
    assert raised.value.errno == errno.ENOTCONN
    assert vmm.states == [LOST]

# SPDX-License-Identifier: BSD-3-Clause
"""Two outboard-vsock, each with a driver, whose guests connect to each other."""
import os
import socket

import pytest
from guestlab import paths
from vsock_driver import (
    CREDIT_REQUEST, END_OF_MESSAGE, END_OF_RECORD, HOST, NO_RECEIVE, NO_SEND, REQUEST, RESPONSE, RST, RW, SEQPACKET, SHUTDOWN,
    STREAM, VsockDriver)  # fmt: skip
from vsock_host import PATIENCE_S

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-vsock"
ONE, OTHER, STRANGER = 5, 6, 7
PORT, FROM = 80, 1000


@pytest.fixture
def guest(attach, tmp_path):
    """guest(cid, allowed...): the driver of a device of its own."""

    def start(cid, *allowed, wire="vfio-user", options=()):
        allow = [f"--allow-guest={other}" for other in allowed]
        pci = attach(wire, PROGRAM, f"--guest-cid={cid}", f"--guests={tmp_path / 'guests'}", *allow, *options)
        driver = VsockDriver(pci, cid)
        driver.peer = allowed[0]
        return driver

    return start


@pytest.fixture
def pair(guest):
    return guest(ONE, OTHER), guest(OTHER, ONE)


def connect(one, other, kind=STREAM, buf_alloc=262144, other_buf_alloc=262144):
    one.send(REQUEST, FROM, PORT, kind=kind, buf_alloc=buf_alloc)
    other.expect(REQUEST, src_cid=one.cid, src_port=FROM, dst_port=PORT, type=kind)
    other.send(RESPONSE, PORT, FROM, kind=kind, buf_alloc=other_buf_alloc)
    one.expect(RESPONSE, src_cid=other.cid, src_port=PORT, dst_port=FROM, type=kind)


@pytest.mark.parametrize("wires", [("mpqemu", "vfio-user"), ("vfio-user-doorbells", "mpqemu")])
def test_bytes_both_ways(guest, wires):
    one, other = guest(ONE, OTHER, wire=wires[0]), guest(OTHER, ONE, wire=wires[1])
    connect(one, other)
    data = os.urandom(50000)
    one.send(RW, FROM, PORT, data)
    assert other.read(len(data)) == data
    other.send(RW, PORT, FROM, data[::-1])
    assert one.read(len(data)) == data[::-1]


def test_each_connects_from_the_same_port(pair):
    """A pair of ports names two connections, one in each direction, only if the ports are not the same."""
    one, other = pair
    connect(one, other)
    other.send(REQUEST, PORT + 1, FROM)
    one.expect(REQUEST, src_port=PORT + 1, dst_port=FROM)
    one.send(RESPONSE, FROM, PORT + 1)
    other.expect(RESPONSE, src_port=FROM, dst_port=PORT + 1)
    one.send(RW, FROM, PORT, b"first")
    assert other.expect(RW, dst_port=PORT).payload == b"first"
    one.send(RW, FROM, PORT + 1, b"second")
    assert other.expect(RW, dst_port=PORT + 1).payload == b"second"


def test_nobody_listens_there(pair):
    one, other = pair
    one.send(REQUEST, FROM, PORT)
    other.expect(REQUEST)
    other.send(RST, PORT, FROM)
    one.expect(RST, src_cid=OTHER, src_port=PORT, dst_port=FROM)


def test_no_device_is_there(guest):
    one = guest(ONE, OTHER)
    one.send(REQUEST, FROM, PORT)
    one.expect(RST, src_cid=OTHER, src_port=PORT, dst_port=FROM)


def test_each_device_must_allow_the_other_guest(guest):
    one, other = guest(ONE, OTHER, STRANGER), guest(OTHER, STRANGER)
    one.send(REQUEST, FROM, PORT)
    one.expect(RST, src_cid=OTHER)
    other.peer = ONE
    other.send(REQUEST, FROM, PORT)
    other.expect(RST, src_cid=ONE)
    for cid in (0, 1, HOST, ONE, 99, 0xFFFFFFFF, 1 << 32 | OTHER):
        one.peer = cid
        one.send(REQUEST, FROM, PORT)
        one.expect(RST, src_cid=cid)


def test_each_direction_ends_by_itself(pair):
    one, other = pair
    connect(one, other)
    one.send(RW, FROM, PORT, b"question")
    one.send(SHUTDOWN, FROM, PORT, flags=NO_SEND)
    assert other.read(8) == b"question"
    other.expect(SHUTDOWN, flags=NO_SEND)
    other.send(RW, PORT, FROM, b"answer")
    assert one.read(6) == b"answer"
    other.send(SHUTDOWN, PORT, FROM, flags=NO_SEND | NO_RECEIVE)
    other.expect(RST)
    assert one.expect(SHUTDOWN).flags & NO_SEND


def test_a_guest_that_is_reset_closes_its_connections(pair):
    one, other = pair
    connect(one, other)
    other.pci.reset()
    one.expect(SHUTDOWN, flags=NO_SEND | NO_RECEIVE)


def test_messages(pair):
    """Bounds, the mark of MSG_EOR, and a message that is longer than any packet."""
    one, other = pair
    connect(one, other, SEQPACKET)
    for flags in (END_OF_MESSAGE, END_OF_MESSAGE | END_OF_RECORD):
        one.send(RW, FROM, PORT, b"x", kind=SEQPACKET, flags=flags)
        packet = other.expect(RW, type=SEQPACKET, flags=flags)
        assert packet.payload == b"x"
    long = os.urandom(150000)
    for at in range(0, len(long), 50000):
        one.send(RW, FROM, PORT, long[at : at + 50000], kind=SEQPACKET, flags=END_OF_MESSAGE if at == 100000 else 0)
    got, flags = b"", 0
    while not flags:
        packet = other.expect(RW)
        got, flags = got + packet.payload, packet.flags
    assert got == long and flags == END_OF_MESSAGE
    one.send(RW, FROM, PORT, b"", kind=SEQPACKET, flags=END_OF_MESSAGE)  # an empty one is dropped
    one.send(RW, FROM, PORT, b"begin", kind=SEQPACKET)
    one.send(RW, FROM, PORT, b"", kind=SEQPACKET, flags=END_OF_MESSAGE)  # but ends what has begun
    assert other.expect(RW, flags=0).payload == b"begin"
    assert other.expect(RW, flags=END_OF_MESSAGE).payload == b""


def test_message_that_the_other_guest_has_no_room_for(pair):
    one, other = pair
    connect(one, other, SEQPACKET, other_buf_alloc=1000)
    one.send(RW, FROM, PORT, bytes(800), kind=SEQPACKET)
    assert len(other.expect(RW).payload) == 800
    one.send(RW, FROM, PORT, bytes(800), kind=SEQPACKET, flags=END_OF_MESSAGE)
    other.expect(SHUTDOWN, flags=NO_SEND | NO_RECEIVE)


def test_credit_is_that_of_each_guest(pair):
    """A guest that does not read blocks its connection and no other."""
    one, other = pair
    connect(one, other, other_buf_alloc=3000)
    one.send(RW, FROM, PORT, bytes(60000))
    assert len(other.expect(RW).payload) == 3000
    other.expect(CREDIT_REQUEST)
    one.send(REQUEST, FROM + 1, PORT)
    other.expect(REQUEST, src_port=FROM + 1)
    other.send(RESPONSE, PORT, FROM + 1)
    one.expect(RESPONSE, dst_port=FROM + 1)
    one.send(RW, FROM + 1, PORT, b"free")
    assert other.expect(RW, src_port=FROM + 1).payload == b"free"


@pytest.mark.parametrize("line", [b"CONNECT 80\n", b"CONNECT 80 FROM\n", b"CONNECT 80 FROM 4294967295\n", b"CONNECT 80 FROM 1 \n", b"x" * 99])
def test_lines_of_another_device_that_are_wrong(guest, tmp_path, line):
    other = guest(OTHER, ONE)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect(str(tmp_path / f"guests_{OTHER}_{ONE}"))
        sock.sendall(line)
        try:
            assert sock.recv(1) == b""
        except ConnectionResetError:
            pass  # it has not read all
    assert other.pci.process.running


@pytest.mark.parametrize("answer", [b"", b"OK\n", b"O", b"NO 1\n", b"OK 1 \n", b"x" * 99])
def test_answers_of_another_device_that_are_wrong(guest, tmp_path, answer):
    one = guest(ONE, OTHER)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(PATIENCE_S)
        listener.bind(str(tmp_path / f"guests_{OTHER}_{ONE}"))
        listener.listen()
        one.send(REQUEST, FROM, PORT)
        with listener.accept()[0] as sock:
            sock.settimeout(PATIENCE_S)
            assert sock.recv(100) == b"CONNECT %d FROM %d\n" % (PORT, FROM)
            if answer:
                sock.sendall(answer)
            else:
                sock.close()
            one.expect(RST, src_cid=OTHER)


def test_paths_are_removed(guest, tmp_path):
    one = guest(ONE, OTHER, STRANGER)
    expected = {f"guests_{ONE}_{cid}{kind}" for cid in (OTHER, STRANGER) for kind in ("", ".seqpacket")}
    assert {path.name for path in tmp_path.glob("guests*")} == expected
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.glob("guests*"))
    one.pci.process.terminate()
    assert one.pci.process.wait(PATIENCE_S) == 0
    assert list(tmp_path.glob("guests*")) == []

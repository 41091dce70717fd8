# SPDX-License-Identifier: BSD-3-Clause
"""outboard-vsock, driven over each wire, with real sockets on the host's side."""
import os
import socket

import pytest
from guestlab import paths
from virtio_driver import RING_PACKED, VERSION_1
from vsock_driver import (
    END_OF_MESSAGE, END_OF_RECORD, NO_RECEIVE, NO_SEND, REQUEST, RESPONSE, RST, RW, SEQPACKET, SEQPACKET_FEATURE, SHUTDOWN, VsockDriver)  # fmt: skip
from vsock_host import PATIENCE_S, HostSockets

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-vsock"
CID = 5


class World(HostSockets):
    """A device and its driver, and the host's programs."""

    def __init__(self, attach, cleanup, folder, wire, options=(), features=VERSION_1 | SEQPACKET_FEATURE):
        super().__init__(folder / "host", cleanup)
        self.pci = attach(wire, PROGRAM, f"--guest-cid={CID}", f"--host-socket={self.path}", *options)
        self.guest = VsockDriver(self.pci, CID, features)


@pytest.fixture
def world(attach, cleanup, tmp_path):
    return lambda wire="vfio-user", *options, **more: World(attach, cleanup, tmp_path, wire, options, **more)


def receive(sock, length):
    data = b""
    while len(data) < length:
        piece = sock.recv(length - len(data))
        assert piece, f"the end after {len(data)} of {length} bytes"
        data += piece
    return data


def ended(sock):
    """Whether the other end has closed the connection; one that has not read all resets it."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("features", [0, RING_PACKED], ids=["split", "packed"])
def test_guest_connects_and_bytes_go_both_ways(world, wire, features):
    one = world(wire, features=VERSION_1 | SEQPACKET_FEATURE | features)
    listener = one.listen(80)
    one.guest.connect(1000, 80)
    host = one.accept(listener)
    data = os.urandom(60000)
    one.guest.send(RW, 1000, 80, data, split=20)
    assert receive(host, len(data)) == data
    host.sendall(data)
    assert one.guest.read(len(data)) == data


def test_host_connects(world, wire):
    one = world(wire)
    client = one.ask(22)
    port = one.guest.expect(REQUEST, dst_port=22).src_port
    one.guest.send(RESPONSE, 22, port)
    assert receive(client, len(f"OK {port}\n")) == f"OK {port}\n".encode()
    one.guest.send(RW, 22, port, b"SSH-2.0")
    assert receive(client, 7) == b"SSH-2.0"
    client.sendall(b"hello")
    assert one.guest.read(5) == b"hello"


def test_guest_refuses(world):
    one = world()
    client = one.ask(22)
    port = one.guest.expect(REQUEST).src_port
    one.guest.send(RST, 22, port)
    assert client.recv(1) == b""


def test_nobody_listens(world):
    one = world()
    one.guest.send(REQUEST, 1000, 99)
    one.guest.expect(RST, src_port=99, dst_port=1000)
    one.listen(99)
    one.guest.connect(1000, 99)


@pytest.mark.parametrize("line", [b"HELLO 22\n", b"CONNECT\n", b"CONNECT x\n", b"CONNECT 4294967296\n", b"x" * 40])
def test_lines_that_are_wrong(world, line):
    one = world()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect(str(one.path))
        sock.sendall(line)
        assert ended(sock)
    assert one.ask(22) and one.guest.expect(REQUEST, dst_port=22)


def test_line_in_pieces_and_in_lower_case(world):
    one = world()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(one.path))
        for byte in b"connect 77\nrest":
            sock.sendall(bytes([byte]))
        port = one.guest.expect(REQUEST, dst_port=77).src_port
        one.guest.send(RESPONSE, 77, port)
        assert one.guest.read(4) == b"rest"


def test_forwards(world, tmp_path, cleanup):
    other = cleanup.enter_context(socket.socket(socket.AF_UNIX))
    other.settimeout(PATIENCE_S)
    other.bind(str(tmp_path / "elsewhere"))
    other.listen()
    web = cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))
    web.settimeout(PATIENCE_S)
    one = world("vfio-user", f"--forward=81=unix:{tmp_path}/elsewhere", f"--forward=80=tcp:127.0.0.1:{web.getsockname()[1]}",
                "--only-forwards")  # fmt: skip
    for number, (port, listener) in enumerate([(80, web), (81, other)]):
        one.guest.connect(1000 + number, port)
        host = one.accept(listener)
        one.guest.send(RW, 1000 + number, port, b"x")
        assert receive(host, 1) == b"x"
    one.listen(82)
    one.guest.send(REQUEST, 2000, 82)
    one.guest.expect(RST, src_port=82)


def test_listens_for_the_guest(world, tmp_path):
    path = tmp_path / "door"
    one = world("vfio-user", f"--listen=22=unix:{path}")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect(str(path))
        port = one.guest.expect(REQUEST, dst_port=22).src_port
        one.guest.send(RESPONSE, 22, port)
        one.guest.send(RW, 22, port, b"at once")
        assert receive(sock, 7) == b"at once"  # no line


def test_host_ends_its_direction_alone(world):
    one = world()
    listener = one.listen(80)
    one.guest.connect(1000, 80)
    host = one.accept(listener)
    host.sendall(b"last")
    host.shutdown(socket.SHUT_WR)
    assert one.guest.read(4) == b"last"
    one.guest.expect(SHUTDOWN, flags=NO_SEND)
    one.guest.send(RW, 1000, 80, b"answer")
    assert receive(host, 6) == b"answer"


def test_guest_ends_its_direction_alone(world):
    one = world()
    listener = one.listen(80)
    one.guest.connect(1000, 80)
    host = one.accept(listener)
    one.guest.send(RW, 1000, 80, b"question")
    one.guest.send(SHUTDOWN, 1000, 80, flags=NO_SEND)
    assert receive(host, 8) == b"question"
    assert host.recv(1) == b""
    host.sendall(b"answer")
    assert one.guest.read(6) == b"answer"
    host.close()
    one.guest.expect(SHUTDOWN, flags=NO_SEND | NO_RECEIVE)
    one.guest.send(RST, 1000, 80)
    one.guest.connect(1000, 80)


def test_slow_host_reads_all_that_a_closed_guest_has_sent(world):
    one = world()
    listener = one.listen(80)
    one.guest.connect(1000, 80)
    host = one.accept(listener)
    data = os.urandom(256 << 10)
    for at in range(0, len(data), 65536):
        one.guest.send(RW, 1000, 80, data[at : at + 65536])
    one.guest.send(SHUTDOWN, 1000, 80, flags=NO_SEND | NO_RECEIVE)
    one.guest.expect(RST)
    assert receive(host, len(data)) == data
    assert host.recv(1) == b""


def test_blocked_connection_stops_no_other(world):
    one = world()
    listener = one.listen(80)
    one.guest.connect(1000, 80)
    blocked = one.accept(listener)
    one.guest.connect(1001, 80)
    free = one.accept(listener)
    for _ in range(4):
        one.guest.send(RW, 1000, 80, bytes(65536))
    blocked.sendall(bytes(100000))  # more than the guest takes of it: it tells no credit
    for turn in range(100):
        one.guest.send(RW, 1001, 80, b"%3d" % turn)
        assert receive(free, 3) == b"%3d" % turn


def test_messages_of_the_guest(world):
    """SOCK_SEQPACKET at the host's side, too; a socket of the other type is as if nobody listened."""
    one = world()
    listener = one.listen(80, socket.SOCK_SEQPACKET)
    one.guest.connect(1000, 80, kind=SEQPACKET)
    host = one.accept(listener)
    one.guest.send(RW, 1000, 80, b"in two ", kind=SEQPACKET)
    one.guest.send(RW, 1000, 80, b"parts", kind=SEQPACKET, flags=END_OF_MESSAGE)
    one.guest.send(RW, 1000, 80, b"next", kind=SEQPACKET, flags=END_OF_MESSAGE)
    assert [host.recv(100), host.recv(100)] == [b"in two parts", b"next"]
    data = os.urandom(20000)
    host.send(data)
    host.send(b"x")
    pieces = [one.guest.expect(RW, type=SEQPACKET)]
    while not pieces[-1].flags & END_OF_MESSAGE:
        pieces.append(one.guest.expect(RW))
    assert b"".join(piece.payload for piece in pieces) == data
    assert one.guest.expect(RW, flags=END_OF_MESSAGE).payload == b"x"
    one.guest.send(REQUEST, 1001, 80)
    one.guest.expect(RST, src_port=80, dst_port=1001)


def test_messages_of_a_client(world):
    one = world()
    client = one.ask(22, socket.SOCK_SEQPACKET)
    port = one.guest.expect(REQUEST, type=SEQPACKET, dst_port=22).src_port
    one.guest.send(RESPONSE, 22, port, kind=SEQPACKET)
    assert client.recv(100) == f"OK {port}\n".encode()
    client.send(b"question")
    assert one.guest.expect(RW, flags=END_OF_MESSAGE).payload == b"question"
    one.guest.send(RW, 22, port, b"answer", kind=SEQPACKET, flags=END_OF_MESSAGE)
    assert client.recv(100) == b"answer"


def test_driver_that_knows_no_messages(world):
    one = world(features=VERSION_1)
    one.guest.send(REQUEST, 1000, 80, kind=SEQPACKET)
    one.guest.expect(RST, type=SEQPACKET)
    assert ended(one.ask(22, socket.SOCK_SEQPACKET))


def test_reset_and_the_next_driver(world):
    one = world()
    listener = one.listen(80)
    one.guest.connect(1000, 80)
    host = one.accept(listener)
    one.pci.reset()
    assert host.recv(1) == b""
    one.guest = VsockDriver(one.pci, CID)
    one.guest.connect(1000, 80)


def test_client_before_there_is_a_guest(attach, tmp_path):
    """It reads the end at once, and does not wait for a guest that may never come."""
    path = tmp_path / "host"
    attach("vfio-user", PROGRAM, f"--guest-cid={CID}", f"--host-socket={path}")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect(str(path))
        sock.sendall(b"CONNECT 22\n")
        assert sock.recv(1) == b""


def test_more_connections_than_the_soft_limit_of_files(spawn, attach, cleanup, tmp_path):
    """All of them are open at once, and the last one has bytes."""
    host = HostSockets(tmp_path / "host", cleanup)
    argv = ["/usr/bin/prlimit", "--nofile=128:4096", PROGRAM, f"--guest-cid={CID}", f"--host-socket={host.path}", "--connections=600"]
    guest = VsockDriver(attach("vfio-user", *argv), CID)
    listener = host.listen(80)
    socks = []
    for number in range(600):
        guest.connect(1000 + number, 80)
        socks.append(host.accept(listener))
    socks[-1].sendall(b"last")
    assert guest.read(4) == b"last"


def test_limit_of_files_is_too_low(spawn, tmp_path):
    argv = ["/usr/bin/prlimit", "--nofile=128:128", PROGRAM, f"--socket-path={tmp_path}/device", "--guest-cid=5", f"--host-socket={tmp_path}/host"]
    process = spawn(argv, name="low")
    assert process.wait(PATIENCE_S) != 0
    assert "limit of open files: got 128, expected 1" in process.log_tail()


def test_path_is_removed(world):
    one = world()
    assert one.path.exists()
    one.pci.process.terminate()
    assert one.pci.process.wait(PATIENCE_S) == 0
    assert list(one.path.parent.glob('host*')) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "give --guest-cid=N"),
        (["--guest-cid=2"], "--guest-cid: got '2', expected a number from 3"),
        (["--guest-cid=5"], "give --host-socket=PATH, --forward, --listen or --guests"),
        (["--guest-cid=5", "--forward=80"], "--forward: got '80', expected PORT=ADDRESS"),
        (["--guest-cid=5", "--forward=80=unix:/a", "--forward=80=unix:/b"], "got port 80 twice"),
        (["--guest-cid=5", "--host-socket=@x"], "expected a path"),
        (["--guest-cid=5", "--guests=/x"], "give --guests=PATH and --allow-guest=CID together"),
        (["--guest-cid=5", "--guests=/x", "--allow-guest=5"], "got the guest's own context id 5"),
        (["--guest-cid=5", "--allow-guest=6", "--allow-guest=6"], "got guest 6 twice"),
        (["--guest-cid=5", "--guests=@x"], "PATH_CID_CID is beside it"),
        (["--guest-cid=5", "--allow-guest=2"], "--allow-guest: got '2', expected a number from 3"),
        (["--guest-cid=5", "--host-socket=/nonexistent/x"], "can't listen at unix:/nonexistent/x: No such file"),
    ],
)
def test_options_that_are_wrong(spawn, tmp_path, options, words):
    process = spawn([PROGRAM, f"--socket-path={tmp_path}/device", *options], name="wrong")
    assert process.wait(PATIENCE_S) != 0
    assert words in process.log_tail()

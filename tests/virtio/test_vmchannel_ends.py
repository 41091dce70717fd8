# SPDX-License-Identifier: BSD-3-Clause
"""Each kind of host end of outboard-vmchannel, with its real peer and a driver of the tests' own."""
import contextlib
import os
import pathlib
import shutil
import socket
import tempfile
import tty

import proxylab
import pytest
from guestlab import paths
from vmchannel_driver import PORT_ADD, PORT_OPEN, PORT_REMOVE, OnePort

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-vmchannel"
PATIENCE_S = 60
NAME = "port.name"


@pytest.fixture
def folder(cleanup):
    name = pathlib.Path(tempfile.mkdtemp(prefix="outboard-"))
    cleanup.callback(shutil.rmtree, name, ignore_errors=True)
    return name


@pytest.fixture
def start(attach):
    """start(end, property...): the driver of a device with that host end."""

    def start_with(end, *properties, inherit=()):
        port = ",".join([NAME, *properties, end])
        return OnePort(attach("vfio-user", PROGRAM, f"--port={port}", inherit=inherit), NAME.encode())

    return start_with


def read_exactly(sock, length):
    data = b""
    while len(data) < length:
        piece = sock.recv(length - len(data))
        assert piece, f"the end after {len(data)} of {length} bytes"
        data += piece
    return data


def exchange(driver, sock):
    """Bytes each way, at a guest that has opened the port."""
    data = os.urandom(5000)
    sock.sendall(data)
    assert driver.read(len(data)) == data
    driver.write(data[::-1])
    assert read_exactly(sock, len(data)) == data[::-1]


def test_listen_waits_behind_the_peer(start, folder, cleanup):
    driver = start(f"listen:{folder}/socket")
    first, second = [cleanup.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2)]
    for sock in (first, second):
        sock.settimeout(PATIENCE_S)
        sock.connect(f"{folder}/socket")
    driver.expect(PORT_OPEN)
    driver.open()
    exchange(driver, first)
    first.close()
    driver.expect(PORT_OPEN, 0)
    driver.close()
    driver.expect(PORT_OPEN)
    driver.open()
    exchange(driver, second)


def test_legacy_continues_in_both_directions(start, folder, cleanup):
    """The guest's descriptor serves each peer, and what it writes while there is no peer is nobody's."""
    driver = start(f"listen:{folder}/socket", "reconnect=legacy")
    for number in range(3):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE_S)
            sock.connect(f"{folder}/socket")
            driver.expect(PORT_OPEN)
            if number == 0:
                driver.open()
            exchange(driver, sock)
        driver.expect(PORT_OPEN, 0)
        driver.write(b"lost")


def test_connect_comes_again_after_each_end(start, folder, cleanup):
    """Nobody listens at the start, and the listener sees a new connection after each session."""
    path = folder / "socket"
    driver = start(f"connect:{path}")
    listener = cleanup.enter_context(socket.socket(socket.AF_UNIX))
    listener.settimeout(PATIENCE_S)
    listener.bind(str(path))
    listener.listen()
    for _ in range(2):
        with listener.accept()[0] as sock:
            sock.settimeout(PATIENCE_S)
            driver.expect(PORT_OPEN)
            driver.open()
            exchange(driver, sock)
            sock.sendall(b"last")
        assert driver.read(4) == b"last"
        driver.expect(PORT_OPEN, 0)
        driver.close()
    with listener.accept()[0] as sock:
        sock.settimeout(PATIENCE_S)
        driver.expect(PORT_OPEN)
        driver.open()
        driver.write(b"rest")
        driver.close()
        assert read_exactly(sock, 4) == b"rest"
        assert sock.recv(1) == b""


def test_terminal_of_the_console_gets_its_size(attach, folder, cleanup):
    link, control = folder / "terminal", folder / "control"
    attach("vfio-user", PROGRAM, f"--console=pty:{link}", f"--control={control}")
    terminal = cleanup.enter_context(open(os.open(link, os.O_RDWR | os.O_NOCTTY), "r+b", buffering=0))
    client = cleanup.enter_context(socket.socket(socket.AF_UNIX))
    client.settimeout(PATIENCE_S)
    client.connect(str(control))
    client.sendall(b"resize 90 40\n")
    assert b'"done"' in client.recv(1000)
    assert os.get_terminal_size(terminal.fileno()) == (90, 40)


def test_terminal(start, folder):
    """It is raw, and each opening is a session."""
    link = folder / "terminal"
    driver = start(f"pty:{link}")
    for _ in range(2):
        with open(os.open(link, os.O_RDWR | os.O_NOCTTY), "r+b", buffering=0) as terminal:
            driver.expect(PORT_OPEN)
            driver.open()
            terminal.write(b"\x03line\r\n\x04")
            assert driver.read(8) == b"\x03line\r\n\x04"
            driver.write(b"answer\n\x00")
            assert terminal.read(8) == b"answer\n\x00"
        driver.expect(PORT_OPEN, 0)
        driver.close()
    driver.pci.process.terminate()
    assert driver.pci.process.wait(PATIENCE_S) == 0
    assert not link.is_symlink()


def test_file_gets_all_bytes_of_all_sessions(start, folder):
    path = folder / "file"
    path.write_bytes(b"before,")
    driver = start(f"file:{path}")
    driver.expect(PORT_OPEN)
    for word in (b"one,", b"two,"):
        driver.open()
        driver.write(word)
        driver.close()
    driver.open()
    driver.write(b"three")
    assert path.read_bytes() == b"before,one,two,three"


def test_pipe(start, folder):
    """A program that writes or reads may come and go; the port stays open."""
    for name in ("pipe.in", "pipe.out"):
        os.mkfifo(folder / name)
    driver = start(f"pipe:{folder}/pipe")
    driver.expect(PORT_OPEN)
    driver.open()
    with open(folder / "pipe.out", "rb", buffering=0) as reader:
        for word in (b"one", b"two"):
            with open(folder / "pipe.in", "wb", buffering=0) as writer:
                writer.write(word)
            assert driver.read(3) == word
            driver.write(word)
            assert reader.read(3) == word
        driver.close()
        driver.open()
        driver.write(b"again")
        assert reader.read(5) == b"again"


def test_command_is_started_at_each_opening(start):
    driver = start('command:read word; echo "$OUTBOARD_SERVICE $word"; exec cat')
    driver.expect(PORT_OPEN)
    for word in (b"one", b"two"):
        driver.open()
        driver.write(word + b"\nrest")
        expected = NAME.encode() + b" " + word + b"\nrest"
        assert driver.read(len(expected)) == expected
        driver.close()
        driver.wait_open()


def test_command_that_ends(start):
    """The guest reads all that it has written, and the end."""
    driver = start("command:echo words; exit 3")
    driver.expect(PORT_OPEN)
    driver.open()
    assert driver.read(6) == b"words\n"
    driver.expect(PORT_OPEN, 0)


@pytest.mark.parametrize("kind", ["socket", "terminal"])
def test_descriptor_is_one_session(start, cleanup, kind):
    if kind == "socket":
        ours, theirs = [cleanup.enter_context(sock) for sock in socket.socketpair()]
        number, inherit = theirs.fileno(), [theirs]
    else:
        ours, other = [cleanup.enter_context(open(fd, "r+b", buffering=0)) for fd in os.openpty()]
        tty.setraw(other)
        number, inherit = other.fileno(), [other]
    driver = start(f"fd:{number}", inherit=inherit)
    driver.expect(PORT_OPEN)
    driver.open()
    os.write(ours.fileno(), b"words\n")
    assert driver.read(6) == b"words\n"
    driver.write(b"answer")
    assert os.read(ours.fileno(), 6) == b"answer"
    for end in (ours, *(inherit if kind == "terminal" else [])):
        end.close()
    driver.expect(PORT_OPEN, 0)


def test_pipe_as_descriptor(start, cleanup):
    """A pipe has one direction."""
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as reader, open(writing, "wb", buffering=0) as writer:
        driver = start(f"fd:{reading}", inherit=[reader])
        driver.expect(PORT_OPEN)
        driver.open()
        writer.write(b"words")
        assert driver.read(5) == b"words"
        writer.close()
        driver.expect(PORT_OPEN, 0)


def test_stream_of_a_proxys_session(start, spawn, cleanup):
    """The guest's port leads to a service of a proxy's other end."""
    lab = proxylab.Lab(spawn, cleanup)
    socket_path, service = lab.folder / "socket", lab.listen(socket.AF_UNIX)
    lab.pair(host=[f"-Lunix:{socket_path}:service"], guest=[f"--service=service=unix:{service.getsockname()}"])
    driver = start(f"connect:{socket_path}")
    with service.accept()[0] as sock:
        sock.settimeout(PATIENCE_S)
        driver.expect(PORT_OPEN)
        driver.open()
        exchange(driver, sock)
    driver.offer(driver.INPUT)  # for bytes that may come before the end of the service's direction
    driver.expect(PORT_OPEN, 0)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("pipe:{folder}/nothing", "can't open pipe:"),
        ("pipe:{folder}/plain", "it is no FIFO"),
        ("file:{folder}/none/file", "can't open file:"),
        ("fd:999", "expected an open descriptor above 2"),
        ("connect:", "expected a value behind it"),
        ("other:x", "a host end such as listen:PATH"),
    ],
)
def test_ends_that_are_wrong(spawn, folder, end, words):
    for name in ("plain.in", "plain.out"):
        (folder / name).touch()
    end = end.format(folder=folder)
    process = spawn([PROGRAM, f"--socket-path={folder}/device", f"--port={NAME},{end}"], name="wrong")
    assert process.wait(PATIENCE_S) != 0
    assert words in process.log_tail()


def hold(driver):
    """The guest never closes its descriptor: the next peer comes only after the port's end."""
    driver.expect(PORT_REMOVE)
    driver.expect(PORT_ADD)
    driver.set_up(NAME.encode())
    driver.expect(PORT_OPEN)


@pytest.mark.parametrize("kind", ["connect", "pty"])
def test_guest_that_holds_the_port_learns_of_the_next_peer(start, folder, cleanup, kind):
    path = folder / "end"
    driver = start(f"{kind}:{path}")
    with contextlib.ExitStack() as first:
        if kind == "connect":
            listener = cleanup.enter_context(socket.socket(socket.AF_UNIX))
            listener.settimeout(PATIENCE_S)
            listener.bind(str(path))
            listener.listen()
            peer = first.enter_context(listener.accept()[0])
        else:
            peer = first.enter_context(open(os.open(path, os.O_RDWR | os.O_NOCTTY), "r+b", buffering=0))
        driver.expect(PORT_OPEN)
        driver.open()
        os.write(peer.fileno(), b"first")
        assert driver.read(5) == b"first"
    driver.expect(PORT_OPEN, 0)
    if kind == "connect":
        peer = cleanup.enter_context(listener.accept()[0])
    else:
        peer = cleanup.enter_context(open(os.open(path, os.O_RDWR | os.O_NOCTTY), "r+b", buffering=0))
    os.write(peer.fileno(), b"second")
    hold(driver)
    driver.open()
    assert driver.read(6) == b"second"

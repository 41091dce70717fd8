# SPDX-License-Identifier: BSD-3-Clause
"""--trace of device programs: a line for each message, and what it costs when nobody reads it."""
import os
import re
import socket
import struct

import mpqemu
import pytest
import vfio_user
from conftest import CONTROL
from guestlab import paths

LIBEXEC = paths.BUILD / "root/libexec/outboard"
EXAMPLES = paths.BUILD / "release/examples"
LINE = re.compile(r"\d+\.\d{6} (got|sent|refused|signals|doorbell|  write|\.\.\.)[ :]")


@pytest.fixture
def programs(library, tmp_path):
    """{name: how it is started}: every device program of the tree."""
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(1 << 20))
    return {
        "backdoor": [LIBEXEC / "outboard-backdoor", f"--library={library}"],
        "nvme": [LIBEXEC / "outboard-nvme", f"--image={image}"],
        "led": [EXAMPLES / "led"],
        "alarm": [EXAMPLES / "alarm"],
    }


@pytest.fixture
def serve(programs, spawn):
    """serve(name, option...): its process and a socket to it."""

    def start(name, *options):
        ours, theirs = socket.socketpair()
        argv = [*programs[name], f"--fd={theirs.fileno()}", *options]
        return spawn(argv, name=name, inherit=[theirs]), ours

    return start


@pytest.mark.parametrize("name", ["backdoor", "nvme", "led", "alarm"])
def test_each_message_of_vfio_user_is_a_line(serve, tmp_path, name):
    trace = tmp_path / "trace"
    process, sock = serve(name, f"--trace={trace}")
    client = vfio_user.Client(sock)
    client.negotiate()
    vendor = struct.unpack("<H", client.read(vfio_user.CONFIG, 0, 2))[0]
    client.write(vfio_user.CONFIG, 4, b"\x06\x00")
    with pytest.raises(vfio_user.ServerError):
        client.read(99, 0, 4)
    client.close()
    assert process.wait() == 0
    lines = trace.read_text().splitlines()
    assert [line for line in lines if not LINE.match(line)] == []
    said = [line.partition(" ")[2] for line in lines]
    assert said[0].startswith("got VERSION id ") and said[1].startswith("sent VERSION reply id ")
    assert re.fullmatch(r"got REGION_READ id \d+ size 32 fds 0 region 7 offset 0x0 len 2", said[2])
    assert re.fullmatch(rf"sent REGION_READ reply id \d+ size 34 fds 0 region 7 offset 0x0 len 2 value {vendor:#x}", said[3])
    assert said[4].endswith("region 7 offset 0x4 len 2 value 0x6")
    assert said[7].endswith("error 22 (Invalid argument)")
    assert len(said) == 8


def test_each_message_of_mpqemu_is_a_line_of_the_log(serve):
    process, sock = serve("backdoor", "--trace")
    with mpqemu.Proxy(sock) as proxy:
        proxy.send(proxy.sysmem())
        proxy.config_write(0x10, 4, CONTROL)
        proxy.config_write(0x04, 2, 2)
        assert proxy.bar_read(CONTROL, 8) == 4096
    assert process.wait() == 0
    lines = process.log.read_text().splitlines()
    assert all(line.startswith("outboard-backdoor: ") for line in lines)
    traced = [line.removeprefix("outboard-backdoor: ") for line in lines[:-1]]
    assert [line for line in traced if not LINE.match(line)] == []
    assert "got SYNC_SYSMEM size 192 fds 0" in traced[0]
    assert traced[-2].endswith("got BAR_READ size 24 fds 0 address 0xfebf0000 region 0 offset 0x0 len 8")
    assert traced[-1].endswith("sent RET size 8 fds 0 value 0x1000")


def test_a_breach_of_the_rules_is_told(serve, tmp_path):
    trace = tmp_path / "trace"
    process, sock = serve("led", f"--trace={trace}", "--wire=vfio-user")
    sock.sendall(struct.pack("<HHIII", 0, 1, 3, 0, 0))
    assert sock.recv(1) == b""
    sock.close()
    process.wait()
    assert "refused: a message: expected 16 to " in trace.read_text()


def test_a_trace_that_nobody_reads_holds_nobody_up(serve, tmp_path):
    fifo = tmp_path / "trace"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    process, sock = serve("led", f"--trace={fifo}")
    client = vfio_user.Client(sock)
    client.negotiate()
    for _ in range(2000):  # more lines than a pipe holds
        assert client.read(0, 0, 4) == b"\xff\xff\xff\x00"
    client.close()
    assert process.wait() == 0
    os.close(reader)


def test_a_file_that_can_not_be_written_is_told(serve, tmp_path):
    process, sock = serve("led", f"--trace={tmp_path}/no/such/folder")
    assert process.wait() == 1
    sock.close()
    assert "--trace: can't open" in process.log.read_text()

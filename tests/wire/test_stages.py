# SPDX-License-Identifier: BSD-3-Clause
"""Stages of a device program: what is open before the device is made, and what is undone."""
import socket
import subprocess

import mpqemu
import pytest
from guestlab import paths
from server import Server
from vfio_user import PATIENCE_S

STAGES = paths.BUILD / "release/tests/wire/stages"
NO_CELL = "--cell=none"  # the program sets a filter of its own at create(), which a cell refuses


def lines(log):
    return [line.removeprefix("stages: ") for line in log.read_text().splitlines()]


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path, STAGES, NO_CELL, f"--trace={tmp_path}/trace", wire=None)
    yield server
    server.end()


def test_from_create_on_no_path_is_opened(server, tmp_path):
    """A listener, a trace and a launcher; a peer of either wire; the kernel kills it for the first open(2) or connect(2)."""
    (tmp_path / "notify").unlink()
    client = server.connect()
    client.negotiate()
    client.close()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(str(server.path))
    with mpqemu.Proxy(sock) as proxy:
        proxy.send(proxy.sysmem())
        assert proxy.config_read(0, 4) == 0x10FE1AF4
    while b"serving" not in server.notify.recv(4096):
        pass
    server.end()
    said = lines(server.log)
    assert said[:2] == ["open with 1 thread", "create"]
    assert said[-3:-1] == ["destroy", "close"]


def fail(tmp_path, stage):
    path = tmp_path / "device"
    done = subprocess.run(
        [STAGES, f"--socket-path={path}", f"--fails={stage}"], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 1
    assert not path.exists()
    return [line.removeprefix("stages: ") for line in done.stderr.splitlines()]


def test_open_fails(tmp_path):
    assert fail(tmp_path, "open") == ["open with 1 thread", "open() failed: No data available"]


def test_create_fails(tmp_path):
    """What open() did is undone, and the path at which it listened already is free again."""
    assert fail(tmp_path, "create") == ["open with 1 thread", "create", "close", "create() failed: No data available"]


def test_the_path_is_taken(server):
    """It can't listen, so no device is made."""
    done = subprocess.run([STAGES, f"--socket-path={server.path}"], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 1
    said = [line.removeprefix("stages: ") for line in done.stderr.splitlines()]
    assert said[:2] == ["open with 1 thread", "close"] and "can't listen" in said[2]
    assert server.path.exists()

# SPDX-License-Identifier: BSD-3-Clause
"""A launcher's notify socket is told from inside a cell, wherever its name leads by then."""
import os
import pathlib
import signal
import socket
import struct
import tempfile

import mpqemu
import pytest

CELL = "--cell=default"
CREDENTIALS_LEN = struct.calcsize("3i")


@pytest.fixture
def folder():
    """A folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="outboard-") as path:
        yield pathlib.Path(path)


class Launcher:
    """A socket as systemd has it: who sends is known to it."""

    def __init__(self, name):
        self.name = name
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.settimeout(mpqemu.PATIENCE_S)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.sock.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)

    def hear(self):
        """The next notification, as a dict, and the number of the process that has sent it."""
        text, messages, _, _ = self.sock.recvmsg(4096, socket.CMSG_SPACE(CREDENTIALS_LEN))
        (level, kind, content) = messages[0]
        assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
        return dict(line.split("=", 1) for line in text.decode().split("\n")), struct.unpack("3i", content)[0]


@pytest.fixture(params=["path", "abstract"])
def launcher(request, folder, cleanup):
    name = str(folder / "notify") if request.param == "path" else f"@outboard-test-{os.getpid()}-notify"
    launcher = Launcher(name)
    cleanup.enter_context(launcher.sock)
    return launcher


def is_served(proxy):
    proxy.send(proxy.sysmem())
    return proxy.config_read(0, 4) == 0x10F01AF4


def test_a_launcher_hears_of_a_device_in_a_cell_until_its_end(start, folder, launcher):
    path = folder / "device"
    device = start(CELL, f"--socket-path={path}", env={"NOTIFY_SOCKET": launcher.name})
    assert launcher.hear() == ({"READY": "1", "STATUS": "waiting for a peer"}, device.process.pid)
    if not launcher.name.startswith("@"):
        os.unlink(launcher.name)  # no path leads there any more, for nobody
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(str(path))
    with mpqemu.Proxy(sock) as proxy:
        assert is_served(proxy)
        said, pid = launcher.hear()
        assert (said["STATUS"], pid) == (f"serving pid {os.getpid()} over mpqemu", device.process.pid)
    assert launcher.hear()[0] == {"X_OUTBOARD_CLIENT": "0", "STATUS": "waiting for a peer"}
    device.process.signal(signal.SIGTERM)
    assert launcher.hear() == ({"STOPPING": "1", "STATUS": "ended"}, device.process.pid)
    assert device.end()[0] == 0


def test_a_launcher_whose_socket_is_connected_elsewhere_is_left_alone(connect, launcher, cleanup):
    """The kernel lets nobody else send to such a socket."""
    elsewhere = cleanup.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    elsewhere.bind(f"\0outboard-test-{os.getpid()}-elsewhere")
    launcher.sock.connect(elsewhere.getsockname())
    proxy, device = connect(mpqemu.SHIPPED, CELL, env={"NOTIFY_SOCKET": launcher.name})
    assert is_served(proxy)
    proxy.sock.close()
    assert device.end() == (0, ["outboard-backdoor: the peer has gone, ending"])
    launcher.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        launcher.sock.recv(1)


def test_a_launcher_may_go_before_its_device(connect, launcher):
    proxy, device = connect(mpqemu.SHIPPED, CELL, env={"NOTIFY_SOCKET": launcher.name})
    assert launcher.hear()[0]["READY"] == "1"
    launcher.sock.close()
    assert is_served(proxy)
    proxy.sock.close()
    assert device.end() == (0, ["outboard-backdoor: the peer has gone, ending"])

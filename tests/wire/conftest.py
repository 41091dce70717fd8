# SPDX-License-Identifier: BSD-3-Clause
"""outboard-backdoor as a process, for whoever speaks to it over a socket."""
import os
import pathlib
import socket
import subprocess

import pytest
from guestlab import count_descriptors, paths

import mpqemu
from server import EXERCISE, Server

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-backdoor"
CONTROL = 0xFEBF0000
DATA = 0xFEC00000


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """Code for the host's side of the backdoor."""
    path = tmp_path_factory.mktemp("library") / "callee.so"
    source = pathlib.Path(__file__).with_name("callee.c")
    include = paths.BUILD / "root/include"
    subprocess.run(["cc", "-shared", "-fPIC", f"-I{include}", "-o", path, source], check=True)
    return path


class Device:
    """A running outboard-backdoor, and what can be seen of it from outside."""

    def __init__(self, process):
        self.process = process

    def descriptors(self):
        """How many descriptors it has open. Ask after a reply: it is at rest then."""
        return count_descriptors(self.process.pid)

    def end(self):
        """Waits for its end: the exit status and the lines that it has printed."""
        return self.process.wait(), self.lines()

    def lines(self):
        return self.process.log.read_text().splitlines()


@pytest.fixture
def start(spawn, library):
    """start(option...): a Device that is given these options and the library; env: more environment."""

    def start_device(*options, inherit=(), env=None):
        argv = [PROGRAM, f"--library={library}", *options]
        return Device(spawn(argv, name=f"device-{os.urandom(4).hex()}", inherit=inherit, env=env))

    return start_device


@pytest.fixture
def connect(start, cleanup):
    """connect(dialect, option...): a Proxy and the Device at the other end of its socket."""

    def connect_device(dialect=mpqemu.SHIPPED, *options, env=None):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        proxy = cleanup.enter_context(mpqemu.Proxy(ours, dialect))
        return proxy, start(f"--fd={theirs.fileno()}", *options, inherit=[theirs], env=env)

    return connect_device


@pytest.fixture
def serve(connect):
    """serve(dialect, option...): as connect, with the BARs placed at CONTROL and DATA."""

    def serve_device(dialect=mpqemu.SHIPPED, *options):
        proxy, device = connect(dialect, *options)
        proxy.send(proxy.sysmem())
        assert proxy.config_write(0x10, 4, CONTROL) == 0
        assert proxy.config_write(0x14, 4, DATA) == 0
        assert proxy.config_write(0x04, 2, 0x0002) == 0
        return proxy, device

    return serve_device


@pytest.fixture(params=mpqemu.DIALECTS, ids=str)
def dialect(request):
    return request.param


@pytest.fixture
def exercise(tmp_path):
    """The device that does whatever its registers say, over vfio-user."""
    server = Server(tmp_path, EXERCISE)
    yield server
    server.end()


@pytest.fixture
def backdoor(tmp_path, library):
    """outboard-backdoor over vfio-user."""
    server = Server(tmp_path, PROGRAM, f"--library={library}")
    yield server
    server.end()

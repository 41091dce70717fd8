# SPDX-License-Identifier: BSD-3-Clause
"""The client library against remotes of all kinds."""
import os
import pathlib
import socket
import subprocess

import pytest
from mpqemu import PATIENCE_S
from outboard_client import PAGE, Client
from guestlab import paths


@pytest.fixture
def program():
    return paths.BUILD / "root/libexec/outboard/outboard-backdoor"


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """Code for the host's side of the backdoor: command 1 adds the first two numbers of the data channel, and
    command 2 never returns."""
    folder = tmp_path_factory.mktemp("library")
    source = folder / "callee.c"
    source.write_text(
        "#include <poll.h>\n#include <stdint.h>\n"
        "void backdoor(uint64_t command, void *data)\n"
        "{ uint64_t *n = data; if (command == 1) n[2] = n[0] + n[1]; while (command == 2) poll(0, 0, -1); }\n"
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "callee.so", source], check=True)
    return folder / "callee.so"


@pytest.fixture(scope="session", autouse=True)
def what_a_process_has_once():
    """The first client of a process makes what all share: a thread, and a descriptor."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs, Client(ours):
        pass


@pytest.fixture
def client(cleanup):
    """client(sock, **options): a Client that has taken the socket over; it is freed with the test."""

    def make(sock, **options):
        return cleanup.enter_context(Client(sock, **options))

    return make


@pytest.fixture
def backdoor(spawn, program, library):
    """backdoor(option..., wire=): a running outboard-backdoor and the socket to it. Both dialects of mpqemu are
    served by the same."""

    def start(*options, wire="mpqemu"):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        argv = [program, f"--library={library}", f"--fd={theirs.fileno()}", *options]
        argv += [f"--wire={wire.removesuffix('-v8')}"]
        return spawn(argv, inherit=[theirs]), ours

    return start


@pytest.fixture
def ram(cleanup):
    """64 pages that can be shared."""
    fd = os.memfd_create("ram")
    os.ftruncate(fd, 64 * PAGE)
    cleanup.callback(os.close, fd)
    return fd


@pytest.fixture
def qemu(spawn, cleanup):
    """QEMU's own remote with an LSI 53C895A, and the socket to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    monitor, monitored = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    cleanup.enter_context(monitor)
    argv = ["qemu-system-x86_64", "-machine", "x-remote", "-nodefaults", "-display", "none"]
    argv += ["-chardev", f"socket,id=monitor,fd={monitored.fileno()}", "-mon", "chardev=monitor,mode=control"]
    argv += ["-device", "lsi53c895a,id=dev", "-object", f"x-remote-object,id=robj,devid=dev,fd={theirs.fileno()}"]
    process = spawn(argv, inherit=[theirs, monitored])
    wait_until_started(monitor)
    return process, ours


def wait_until_started(monitor):
    """QEMU resets its devices once more after it has begun to serve; what it was told before is lost."""
    monitor.settimeout(PATIENCE_S)
    monitor.sendall(b'{"execute": "qmp_capabilities"} {"execute": "query-status", "id": "started"}')
    heard = b""
    while b'"started"' not in heard:
        more = monitor.recv(4096)
        assert more, f"QEMU has ended: {heard}"
        heard += more


@pytest.fixture
def lsi():
    return pathlib.Path(paths.BUILD / "release/tests/client/lsi")

# SPDX-License-Identifier: BSD-3-Clause
"""Programs in a container that forbids user namespaces work, in what is left of a cell, and say what is missing."""
import os
import signal
import socket
import subprocess

import mpqemu
import pytest
from celllab import parts_of, status_of
from conftest import CONTROL, PROGRAM
from guestlab import paths
from registers import RESULT
from server import EXERCISE, Server
from vfio_user import PATIENCE_S

CONTAINER = paths.BUILD / "release/tests/wire/container"
PROFILE = "or the container's seccomp profile"


def run(*words):
    return subprocess.run([CONTAINER, *words], capture_output=True, text=True, timeout=PATIENCE_S)


def test_a_device_serves_and_names_what_is_missing(tmp_path):
    server = Server(tmp_path, [CONTAINER, EXERCISE], "--cell=default")
    client = server.client()
    assert len(client.read(0, RESULT, 8)) == 8
    lines = [line for line in server.messages().splitlines() if "cell: " in line]
    assert lines[0].startswith("exercise: cell: ") and "'own namespaces': got 'Operation not permitted'" in lines[0]
    assert lines[0].endswith(PROFILE)
    fields = status_of(server.process.pid)
    assert fields["NoNewPrivs"] == "1" and int(fields["CapPrm"], 16) == 0
    server.end()


def test_inspect_has_what_is_left_of_its_cell(tmp_path):
    server = Server(tmp_path, EXERCISE)
    inspect = [paths.BUILD / "root/bin/outboard", "inspect", "--wire=vfio-user"]
    done = run(*inspect, server.path)
    assert done.returncode == 0 and "Region 0" in done.stdout
    lines = done.stderr.splitlines()
    assert lines and all(line.startswith("outboard: cell: continues without ") for line in lines)
    assert "'own namespaces': got 'Operation not permitted'" in lines[0] and lines[0].endswith(PROFILE)
    done = run(*inspect, "--cell=required", server.path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--cell=required: own namespaces: got 'Operation not permitted'; allow user namespaces: " in done.stderr
    server.end()


def test_what_is_required_and_missing_is_an_error(tmp_path):
    path = tmp_path / "device.sock"
    done = run(EXERCISE, "--cell=required", f"--socket-path={path}")
    assert done.returncode == 1
    assert "--cell=required: own namespaces: got 'Operation not permitted'; allow user namespaces: " in done.stderr
    assert PROFILE in done.stderr
    assert not path.exists()


def test_print_cell_names_what_is_missing():
    done = run(PROGRAM, "--cell=default", "--print-cell")
    assert done.returncode == 0
    parts = parts_of(done.stdout)
    assert parts["own namespaces"].startswith("refused: Operation not permitted; ")
    assert parts["empty root"].startswith("left out: ")
    for name in ("no capabilities", "limits of memory and processes", "no inspection by its user", "no privileges by exec"):
        assert parts[name] == "yes"
    assert parts["listed system calls only"] == "yes"
    assert parts["own user id"] == ("yes" if os.geteuid() == 0 else "left out: the program does not run as root")


def test_calls_are_refused_there_too(tmp_path, spawn, cleanup):
    library, source = tmp_path / "escape.so", tmp_path / "escape.c"
    source.write_text(
        "#include <sys/socket.h>\nvoid backdoor(unsigned long command, void *data) { socket(AF_INET, SOCK_STREAM, 0); }"
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    ours, theirs = socket.socketpair()
    proxy = cleanup.enter_context(mpqemu.Proxy(ours, mpqemu.SHIPPED))
    words = [CONTAINER, PROGRAM, f"--library={library}", "--cell=default", f"--fd={theirs.fileno()}"]
    device = spawn(words, name="device", inherit=[theirs])
    proxy.send(proxy.sysmem())
    proxy.config_write(0x10, 4, CONTROL)
    proxy.config_write(0x04, 2, 2)
    proxy.send(proxy.bar("BAR_WRITE", CONTROL, 8, 1))
    assert device.wait(PATIENCE_S) == -signal.SIGSYS
    assert "refused the system call 'socket'" in device.log.read_text().splitlines()[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a program as another user")
def test_an_ordinary_user_has_the_same_there(tmp_path):
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", CONTAINER, EXERCISE, "--cell=default", "--print-cell"],
        capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no capabilities                  yes" in done.stdout
    assert "no privileges by exec            yes" in done.stdout
    assert "listed system calls only         yes" in done.stdout

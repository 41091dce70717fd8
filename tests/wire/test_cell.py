# SPDX-License-Identifier: BSD-3-Clause
"""Cells of device programs, as their users see them. What they refuse is in tests/escape."""
import errno
import os
import pathlib
import signal
import socket
import struct
import subprocess

import mpqemu
import pytest
from celllab import FOR_USERS, check_print_cell, status_of, user_of
from conftest import CONTROL, DATA, PROGRAM
from guestlab import paths
from registers import RESULT
from server import EXERCISE, Server
from vfio_user import PATIENCE_S

# Their numbers in escapes.c.
OPEN_A_FILE, MAKE_A_FILE = 0, 1


def build(folder, *flags):
    path = folder / "escapes.so"
    source = pathlib.Path(__file__).with_name("escapes.c")
    include = paths.BUILD / "root/include"
    subprocess.run(["cc", "-shared", "-fPIC", "-pthread", *flags, f"-I{include}", "-o", path, source], check=True)
    return path


@pytest.fixture(scope="module")
def escapes(tmp_path_factory):
    return build(tmp_path_factory.mktemp("escapes"))


@pytest.fixture
def taken_over(spawn, cleanup, escapes):
    """taken_over(option...): a Proxy and the process of a device whose library does what it is told."""

    def start(*options):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        proxy = cleanup.enter_context(mpqemu.Proxy(ours, mpqemu.SHIPPED))
        argv = [PROGRAM, f"--library={escapes}", f"--fd={theirs.fileno()}", *options]
        process = spawn(argv, name="device", inherit=[theirs])
        proxy.send(proxy.sysmem())
        proxy.config_write(0x10, 4, CONTROL)
        proxy.config_write(0x14, 4, DATA)
        proxy.config_write(0x04, 2, 2)
        return proxy, process

    return start


def do(proxy, deed):
    """What the deed gives: 0 or a negative errno."""
    assert proxy.bar_write(CONTROL, 8, deed) == 0
    return struct.unpack("<q", struct.pack("<Q", proxy.bar_read(DATA, 8)))[0]


def test_a_cell_names_what_it_refuses_and_the_line_to_add(taken_over):
    proxy, process = taken_over("--cell=default")
    proxy.send(proxy.bar("BAR_WRITE", CONTROL, 8, OPEN_A_FILE))
    assert process.wait(PATIENCE_S) == -signal.SIGSYS
    line = process.log.read_text().splitlines()[-1]
    assert "outboard-backdoor: cell: refused the system call 'openat'" in line
    assert "--cell-policy=FILE" in line


def test_a_policy_of_the_user_is_added_and_paths_stay_away(taken_over, tmp_path):
    policy = tmp_path / "my.policy"
    policy.write_text("openat # the library looks for its table\n")
    proxy, _ = taken_over("--cell=default", f"--cell-policy={policy}")
    assert do(proxy, OPEN_A_FILE) in (-errno.ENOENT, -errno.EACCES)
    assert do(proxy, MAKE_A_FILE) in (-errno.EROFS, -errno.EACCES, -errno.ENOENT)


def run(*options):
    return subprocess.run([PROGRAM, *options], capture_output=True, text=True, timeout=PATIENCE_S)


def test_a_policy_that_is_none_is_named(tmp_path):
    policy = tmp_path / "my.policy"
    policy.write_text("openat\nopnat\n")
    done = run("--library=none", f"--cell-policy={policy}", "--cell=default", "--print-cell")
    assert done.returncode == 1
    assert f"{policy}:2: got 'opnat', expected the name of a system call" in done.stderr
    done = run("--library=none", "--cell-policy=/there/is/none", "--cell=default", "--print-cell")
    assert done.returncode == 1 and "can't read /there/is/none" in done.stderr


def test_print_cell_says_what_the_program_could_do():
    check_print_cell(PROGRAM)


def test_print_cell_prints_to_what_is_not_a_file():
    """The C library asks such a descriptor what it is, which a cell refuses later."""
    ours, theirs = os.openpty()
    for target in (theirs, subprocess.DEVNULL):
        done = subprocess.run([PROGRAM, "--print-cell"], stdout=target, stderr=subprocess.PIPE, timeout=PATIENCE_S)
        assert (done.returncode, done.stderr) == (0, b"")
    os.close(theirs)
    assert os.read(ours, 3) == b"own"
    os.close(ours)


def test_a_thread_of_the_library_is_found(tmp_path):
    library = build(tmp_path, "-DWITH_THREAD")
    done = run("--cell=required", f"--library={library}", f"--socket-path={tmp_path / 'device.sock'}")
    assert done.returncode == 1
    assert "--cell=required: own namespaces: got " in done.stderr
    if "Invalid argument" not in done.stderr:
        pytest.skip("this machine refuses user namespaces before it looks at threads")
    assert "a thread was running" in done.stderr
    assert not (tmp_path / "device.sock").exists()


def test_the_socket_is_removed_and_root_has_an_own_user(tmp_path, library):
    server = Server(tmp_path, PROGRAM, "--cell=default", f"--library={library}")
    fields = status_of(server.process.pid)
    assert user_of(server.process.pid) in (FOR_USERS if os.geteuid() == 0 else [os.geteuid()])
    assert fields["NoNewPrivs"] == "1" and fields["Seccomp"] == "2"
    server.client()
    server.end()  # which looks for the socket


def test_a_device_in_a_cell_serves_one_vmm_after_the_other(tmp_path):
    server = Server(tmp_path, EXERCISE, "--cell=default")
    for _ in range(3):
        client = server.client()
        assert len(client.read(0, RESULT, 8)) == 8
        client.close()
    server.end()


def test_a_log_without_a_reader_ends_no_device_in_a_cell(tmp_path):
    ours, theirs = os.pipe()
    os.close(ours)
    with open(theirs, "w") as gone:
        server = Server(tmp_path, EXERCISE, "--cell=default", "--trace", stderr=gone)
    client = server.client()
    assert len(client.read(0, RESULT, 8)) == 8
    server.end()


def test_only_root_becomes_another_user():
    done = run("--user=1234", "--cell=default", "--print-cell")
    if os.geteuid() == 0:
        assert done.returncode == 0 and done.stdout.splitlines()[0].endswith(" yes")
    else:
        assert done.returncode == 2 and "only root can become another user" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_hundred_programs_share_no_user(tmp_path, cleanup):
    processes, launchers, ends = [], [], []
    for number in range(100):
        ours, theirs = socket.socketpair()
        launcher = cleanup.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        launcher.settimeout(PATIENCE_S)
        launcher.bind(str(tmp_path / f"notify-{number}"))
        launchers.append(launcher)
        ends.append(cleanup.enter_context(ours))
        with theirs:
            processes.append(
                subprocess.Popen(
                    [EXERCISE, "--cell=default", f"--fd={theirs.fileno()}"],
                    pass_fds=[theirs.fileno()],
                    env=os.environ | {"NOTIFY_SOCKET": launcher.getsockname()},
                    stderr=subprocess.DEVNULL,
                )
            )
        cleanup.callback(processes[-1].wait, PATIENCE_S)
    cleanup.callback(lambda: [end.close() for end in ends])
    for launcher in launchers:
        assert launcher.recv(4096).startswith(b"READY=1")
    users = {user_of(process.pid) for process in processes}
    assert len(users) == len(processes)
    assert all(user in FOR_USERS for user in users)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_that_another_program_has_is_refused_until_it_is_killed(tmp_path):
    server = Server(tmp_path, EXERCISE, "--cell=default", "--user=1879113777")
    done = run("--user=1879113777", "--cell=default", "--print-cell")
    assert "another program runs as this user" in done.stdout.splitlines()[0]
    server.process.kill()
    server.process.wait(PATIENCE_S)
    server.notify.close()
    done = run("--user=1879113777", "--cell=default", "--print-cell")
    assert done.stdout.splitlines()[0].endswith(" yes")

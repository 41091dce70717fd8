# SPDX-License-Identifier: BSD-3-Clause
"""Commands at the other end, and services that are commands."""
import os
import pty
import signal
import socket
import subprocess

import pytest
from guestlab import paths

from apps import pattern, receive

STATIC = paths.BUILD / "root/bin/outboard-proxy"


@pytest.fixture
def guest(lab):
    """The end at which commands are typed; they run in the other one."""
    return lab.pair(["--allow-run", "-sfail=exec:cat; exit 9", "-sterm=pty:tty; exit 5", "-sweb=tcp:127.0.0.1:1"])[1]


def test_streams_and_status(guest):
    done = guest.outboard("run", "--", "sh", "-c", "cat; echo problem >&2; exit 7", input=b"question")
    assert (done.stdout, done.stderr, done.returncode) == (b"question", b"problem\n", 7)


def test_much_of_everything(guest):
    data = pattern("run", 5_000_000)
    done = guest.outboard("run", "tee", "/dev/stderr", input=data)
    assert (done.stdout == data, done.stderr == data, done.returncode) == (True, True, 0)


def test_arguments_stay_apart(guest):
    done = guest.outboard("run", "printf", "%s|", "two words", "", "$HOME", "'")
    assert done.stdout == b"two words||$HOME|'|"


def test_command_that_is_not_there(guest):
    done = guest.outboard("run", "no-such-command")
    assert done.returncode == 127
    assert b"No such file" in done.stderr
    assert guest.outboard("run", "/etc/passwd").returncode == 126


def test_command_that_is_killed(guest):
    assert guest.outboard("run", "sh", "-c", "kill -9 $$").returncode == 128 + 9


def test_command_that_reads_nothing(guest):
    assert guest.outboard("run", "sh", "-c", "exec <&-; exit 3", input=bytes(2_000_000)).returncode == 3


def start(guest, *words, **options):
    argv = [paths.BUILD / "root/bin/outboard", "proxy", "run", f"--control={guest.control}", *words]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)


def test_signal_reaches_the_command(guest):
    with start(guest, "sh", "-c", "trap 'echo got; exit 4' TERM; echo ready; while :; do read x || wait; done") as run:
        assert run.stdout.readline() == b"ready\n"
        run.send_signal(signal.SIGTERM)
        assert run.stdout.readline() == b"got\n"
        run.stdin.close()
        assert run.wait(30) == 4


def test_command_is_hung_up_with_its_client(guest, lab):
    fifo = lab.folder / "fifo"
    os.mkfifo(fifo)
    with start(guest, "sh", "-c", f"exec 3>{fifo}; echo ready; sleep 1000") as run:
        with open(fifo, "rb") as held:  # for as long as the command or its child lives
            assert run.stdout.readline() == b"ready\n"
            run.kill()
            assert held.read() == b""


def test_session_that_ends_is_told(guest):
    with start(guest, "sh", "-c", "echo ready; cat", stderr=subprocess.PIPE) as run:
        assert run.stdout.readline() == b"ready\n"
        assert guest.process.terminate() == 0
        assert b"broke" in run.stderr.read()
        run.stdin.close()
        assert run.wait(30) == 255


def test_terminal(guest):
    """On a terminal of ours: its size goes along, and keys become signals at the other end."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "r+b", buffering=0) as keyboard:
        subprocess.run(["stty", "rows", "33", "cols", "77"], stdin=theirs, check=True)
        argv = [paths.BUILD / "root/bin/outboard", "proxy", "run", f"--control={guest.control}", "-t",
                "sh", "-c", "stty size; tty >/dev/null && echo yes; exec sleep 1000"]  # fmt: skip
        with subprocess.Popen(argv, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
            os.close(theirs)
            assert [run.stdout.readline() for _ in range(2)] == [b"33 77\r\n", b"yes\r\n"]
            keyboard.write(b"\3")
            run.stdout.read()
            assert run.wait(30) == 130


def test_declared_command_with_its_status(guest):
    done = guest.outboard("run", "--service=fail", input=b"through")
    assert (done.stdout, done.returncode) == (b"through", 9)
    done = guest.outboard("run", "--service=term", stdin=subprocess.DEVNULL)
    assert done.stdout.startswith(b"/dev/pts/")
    assert done.returncode == 5


def test_service_that_is_no_command(guest):
    for service in ("web", "absent"):
        done = guest.outboard("run", f"--service={service}")
        assert done.returncode == 255
        assert b"no such service" in done.stderr or b"no service" in done.stderr


def test_run_without_leave(lab):
    guest = lab.pair(["-secho=exec:echo declared"])[1]
    done = guest.outboard("run", "true")
    assert done.returncode == 255
    assert b"not allowed" in done.stderr
    assert guest.outboard("run", "--service=echo").stdout == b"declared\n"


def test_run_without_a_proxy_of_its_own(lab):
    """--channel: the command brings its proxy along, and takes it away."""
    lab.start("host", f"--channel=unix-listen:{lab.channel}", "--allow-run")
    for _ in range(2):
        argv = [STATIC, "run", f"--channel=unix:{lab.channel}", "--", "sh", "-c", "cat; exit 6"]
        done = subprocess.run(argv, input=b"data", capture_output=True, timeout=60, check=False)
        assert (done.stdout, done.returncode) == (b"data", 6)


def test_nobody_at_the_other_end(lab):
    guest = lab.start("guest", f"--channel=unix:{lab.channel}")
    done = guest.outboard("run", "--timeout=1", "true")
    assert done.returncode == 255
    assert b"not answered within 1 s" in done.stderr


@pytest.fixture
def exec_service(lab):
    """exec_service(target): a connection to a service that is a command."""

    def connect(target):
        path = lab.folder / "exec"
        lab.pair([f"--service=exec={target}"], [f"-Lunix:{path}:exec"])
        return lab.connect(path)

    return connect


def test_exec_service(exec_service):
    sock = exec_service("exec:wc -c; echo $OUTBOARD_SERVICE")
    sock.sendall(bytes(100_000))
    sock.shutdown(socket.SHUT_WR)
    assert receive(sock) == b"100000\nexec\n"


def test_exec_service_that_stops_reading(exec_service):
    sock = exec_service("exec:head -c 5")
    sock.sendall(b"hello" + bytes(1_000))
    assert receive(sock) == b"hello"


def test_pty_service(exec_service):
    sock = exec_service("pty:read line; tty; echo got $line")
    sock.sendall(b"words\n")
    answer = receive(sock)
    assert b"/dev/pts/" in answer
    assert answer.endswith(b"got words\r\n")

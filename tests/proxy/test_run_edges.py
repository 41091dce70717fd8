# SPDX-License-Identifier: BSD-3-Clause
"""`run` and `connect` where things end: outputs that can't be written, signals, clients that die, environments."""
import contextlib
import os
import pathlib
import pty
import resource
import select
import shutil
import signal
import socket
import subprocess
import tty

import pytest
from guestlab import paths

from apps import heed_hangups, pattern, receive

OUTBOARD = paths.BUILD / "root/bin/outboard"
PATIENCE_S = 30


@pytest.fixture
def ends(lab):
    """(the end at which commands are typed, the one in which they run)."""
    host, guest = lab.pair(["--allow-run", "-scat=exec:cat", "-sterm=pty:echo is $TERM; read x"])
    return guest, host


@pytest.fixture
def guest(ends):
    return ends[0]


def argv(guest, *words, command="run"):
    return [OUTBOARD, "proxy", command, f"--control={guest.control}", *words]


@contextlib.contextmanager
def start(guest, *words, command="run", **options):
    """A client that runs, which ends with the block in any case."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "bufsize": 0}
    options = {"preexec_fn": heed_hangups} | options
    client = subprocess.Popen(argv(guest, *words, command=command), **pipes, **options)
    try:
        yield client
    finally:
        client.kill()
        for pipe in (client.stdin, client.stdout, client.stderr):
            with contextlib.suppress(OSError):
                pipe.close()
        client.wait()


@pytest.fixture
def held_open():
    """A standard input from which nothing comes. Commands that read it end with their proxy in any case."""
    reader, writer = os.pipe()
    yield reader
    os.close(reader)
    os.close(writer)


# Outputs.


@pytest.mark.parametrize("redirection", [">/dev/full", "2>/dev/full"])
def test_output_that_can_not_be_written_is_told(guest, redirection, held_open):
    script = f'exec "$@" {redirection}'
    done = subprocess.run(["sh", "-c", script, "sh", *argv(guest, "sh", "-c", "echo out; echo err >&2; exec cat")],
                          stdin=held_open, capture_output=True, timeout=PATIENCE_S, check=False)  # fmt: skip
    assert done.returncode == 255
    if redirection[0] == ">":
        assert b"can't write to standard output: No space left on device" in done.stderr


def test_output_that_is_closed_is_told(guest):
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *argv(guest, "echo", "out")],
                          capture_output=True, timeout=PATIENCE_S, check=False)  # fmt: skip
    assert done.returncode == 255
    assert b"can't write to standard output" in done.stderr


CLOSE_THAT_FINDS_THE_DISK_FULL = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
int close(int fd)
{
    int result = ((int (*)(int))dlsym(RTLD_NEXT, "close"))(fd);
    if (fd != 1 || result < 0)
        return result;
    errno = EDQUOT;
    return -1;
}
"""


def test_a_disk_that_is_found_full_at_the_end_is_told(guest, lab):
    """As NFS and FUSE tell it: writes were taken, and close(2) fails."""
    source, library = lab.folder / "close.c", lab.folder / "close.so"
    source.write_text(CLOSE_THAT_FINDS_THE_DISK_FULL)
    if not (compiler := shutil.which("cc")):
        pytest.skip("no compiler, for a close(2) that fails")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    for words in (["run", "echo", "x"], ["connect", "cat"], ["status"]):
        done = guest.outboard(*words, env={**os.environ, "LD_PRELOAD": str(library)}, stdin=subprocess.DEVNULL)
        assert done.returncode == 255
        assert b"can't write to standard output: Disk quota exceeded" in done.stderr


def test_a_reader_that_has_gone_ends_it_without_a_word(ends, lab):
    guest, _ = ends
    fifo = lab.folder / "fifo"
    os.mkfifo(fifo)
    with start(guest, "sh", "-c", f"exec 3>{fifo}; yes") as run:
        with open(fifo, "rb") as held:
            assert run.stdout.read(2) == b"y\n"
            run.stdout.close()
            assert run.wait(PATIENCE_S) == 255
            assert run.stderr.read() == b""
            assert held.read() == b""  # the command was hung up


def test_nothing_is_said_where_nothing_went_wrong(lab):
    lab.start("host", f"--channel=unix-listen:{lab.channel}", "--allow-run", "-scat=exec:cat")
    for words in (["run", "--", "echo", "x"], ["connect", "cat"], ["ping"]):
        done = subprocess.run([OUTBOARD, "proxy", words[0], f"--channel=unix:{lab.channel}", *words[1:]],
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S, check=False)  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b"")


# Signals.


def feed_without_end(run):
    """Fills its standard input; returns once nothing more is taken."""
    os.set_blocking(run.stdin.fileno(), False)
    while select.select([], [run.stdin], [], 0.5)[1]:
        run.stdin.write(bytes(65536))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("state", ["deaf", "input", "output", "hung"])
def test_a_second_signal_ends_it_in_every_state(ends, number, state):
    guest, host = ends
    script = {"deaf": "trap '' INT TERM HUP; echo ready; while read x; do :; done",
              "input": "echo ready; exec sleep 1000", "output": "echo ready; exec yes", "hung": "echo ready; exec cat"}  # fmt: skip
    with start(guest, "sh", "-c", script[state]) as run:
        assert run.stdout.readline() == b"ready\n"
        if state == "input":
            feed_without_end(run)
        if state == "hung":
            os.kill(host.process.pid, signal.SIGSTOP)
        if state == "output":
            poll = select.poll()
            poll.register(run.stdout, select.POLLIN)
            assert poll.poll(PATIENCE_S * 1000)  # and nobody reads on
        try:
            run.send_signal(number)
            wait_until_taken(run.pid, number)
            run.send_signal(number)
            assert run.wait(PATIENCE_S) == 128 + number
        finally:
            os.kill(host.process.pid, signal.SIGCONT)


def wait_until_taken(pid, number):
    """Two signals of a number that are sent at once are one."""
    while True:
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
        pending = int(text.split("ShdPnd:\t")[1].split()[0], 16)
        if not pending & 1 << (number - 1):
            return


def test_one_signal_ends_it_after_a_while(ends):
    guest, _ = ends
    with start(guest, "sh", "-c", "trap '' TERM; echo ready; while read x; do :; done") as run:
        assert run.stdout.readline() == b"ready\n"
        run.send_signal(signal.SIGTERM)
        assert run.wait(PATIENCE_S) == 128 + signal.SIGTERM
        assert b"has not ended within 5 s" in run.stderr.read()


DEAF = "trap 'exit 7' TERM; sleep 1000 & echo ready; wait"


@pytest.mark.parametrize("words", [["sh", "-c", DEAF], ["--service=deaf"]])
def test_a_signal_passes_input_that_is_not_read(lab, words):
    """For a command that START names and for a declared one."""
    _, guest = lab.pair(["--allow-run", f"-sdeaf=exec:{DEAF}"])
    with start(guest, *words) as run:
        assert run.stdout.readline() == b"ready\n"
        feed_without_end(run)
        run.send_signal(signal.SIGTERM)
        assert (run.wait(PATIENCE_S), run.stderr.read()) == (7, b"")


def test_input_that_the_command_closed_is_refused(guest):
    """As ssh does: who writes gets EPIPE, though the command goes on."""
    with start(guest, "sh", "-c", "exec <&-; echo ready; exec sleep 1000") as run:
        assert run.stdout.readline() == b"ready\n"
        with pytest.raises(BrokenPipeError):
            while True:
                run.stdin.write(bytes(65536))
        assert run.poll() is None


def test_nohup_is_kept(guest):
    with start(guest, "sh", "-c", "echo ready; read x; exit 3", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as run:
        assert run.stdout.readline() == b"ready\n"
        run.send_signal(signal.SIGHUP)
        run.send_signal(signal.SIGHUP)
        run.stdin.write(b"\n")
        run.stdin.close()
        assert run.wait(PATIENCE_S) == 3


# A client that dies.


@pytest.mark.parametrize("state", ["idle", "output", "input", "closed", "stopped"])
def test_a_client_that_is_killed_hangs_the_command_up_in_every_state(ends, lab, state):
    guest, _ = ends
    fifo = lab.folder / "fifo"
    os.mkfifo(fifo)
    script = {"idle": "sleep 1000", "output": "yes", "input": "sleep 1000", "closed": "exec <&- >&- 2>&-; sleep 1000",
              "stopped": "kill -STOP $$; sleep 1000"}  # fmt: skip
    with start(guest, "sh", "-c", f"exec 3>{fifo}; echo ready; {script[state]}") as run:
        with open(fifo, "rb") as held:  # for as long as the command or its child lives
            assert run.stdout.readline() == b"ready\n"
            if state == "input":
                feed_without_end(run)
            run.kill()
            assert held.read() == b""


@pytest.mark.parametrize("lost", ["near", "far", "killed"])
def test_a_session_that_ends_hangs_the_command_up(ends, lab, lost):
    guest, host = ends
    fifo = lab.folder / "fifo"
    os.mkfifo(fifo)
    with start(guest, "sh", "-c", f"exec 3>{fifo} <&- >&- 2>&-; exec sleep 1000") as run:
        with open(fifo, "rb") as held:
            if lost == "killed":
                guest.process.kill()
            else:
                assert (guest if lost == "near" else host).process.terminate() == 0
            assert held.read() == b""
            assert run.wait(PATIENCE_S) == 255


def test_a_client_that_says_nothing_and_goes_leaves_nothing(ends, lab):
    guest, host = ends
    sock = lab.connect(guest.control)
    sock.sendall(b"RUN @run\n")
    assert sock.recv(3) == b"OK\n"
    assert [stream["service"] for stream in host.status()["streams"]] == ["@run"]
    sock.close()
    while host.status()["streams"]:
        assert guest.ask("PING").startswith("PONG")


# What travels.


def test_environment_is_the_users(lab, spawn):
    """What the service manager told the proxy does not reach commands, of any kind."""
    env = {"NOTIFY_SOCKET": "/x", "LISTEN_FDS": "1", "LISTEN_PID": "1", "WATCHDOG_USEC": "1", "INVOCATION_ID": "1",
           "JOURNAL_STREAM": "8:1", "HOME": "/wrong", "USER": "wrong", "KEPT": "yes"}  # fmt: skip
    spawn([OUTBOARD, "proxy", f"--channel=unix-listen:{lab.channel}", "--allow-run", "-senv=exec:env"], name="far", env=env)
    near = lab.start("near", f"--channel=unix:{lab.channel}")
    near.wait_up()
    expected = subprocess.run(["getent", "passwd", str(os.geteuid())], capture_output=True, text=True, check=True).stdout
    name, *_, home, shell = expected.strip().split(":")
    for words in (["env"], ["--service=env"]):
        got = dict(line.split("=", 1) for line in near.outboard("run", *words).stdout.decode().splitlines())
        assert (got["HOME"], got["USER"], got["LOGNAME"], got["SHELL"]) == (home, name, name, shell)
        assert got["KEPT"] == "yes"
        assert not {"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "INVOCATION_ID", "JOURNAL_STREAM"} & set(got)


def test_limit_of_open_files_is_the_one_from_before(lab):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lower = min(1024, hard - 1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lower, hard))
    try:
        lab.start("far", f"--channel=unix-listen:{lab.channel}", "--allow-run", "-slimit=exec:ulimit -Sn")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    near = lab.start("near", f"--channel=unix:{lab.channel}")
    near.wait_up()
    for words in (["sh", "-c", "ulimit -Sn"], ["--service=limit"]):
        assert near.outboard("run", *words).stdout == f"{lower}\n".encode()


def test_type_of_the_terminal_travels(guest):
    env = {**os.environ, "TERM": "outboard-test"}
    done = guest.outboard("run", "-t", "sh", "-c", "echo is $TERM", env=env, stdin=subprocess.DEVNULL)
    assert done.stdout == b"is outboard-test\r\n"
    done = guest.outboard("run", "-t", "--service=term", env=env, stdin=subprocess.DEVNULL)
    assert done.stdout.startswith(b"is outboard-test\r\n")
    assert b"outboard-test" not in guest.outboard("run", "sh", "-c", "echo is $TERM", env=env).stdout


def test_arguments_as_long_as_execve_takes_them(guest):
    """Of 128 KiB each, the kernel's own limit, and more of them than one frame holds."""
    words = ["x" * (128 * 1024 - 1)] * 8 + ["y"] * 5000
    done = guest.outboard("run", "--", "sh", "-c", 'printf "%s %s " $# "${8}${9}" | wc -c', "sh", *words)
    assert (done.stdout, done.stderr) == (f"{len('5008 ') + 128 * 1024 - 1 + 1 + 1}\n".encode(), b"")


def test_an_end_of_version_1_is_served(guest, lab):
    """START alone, to the service of that name, as an older client sends it."""
    sock = lab.connect(guest.control)
    sock.sendall(b"RUN @run\n\1\0\x0c\0\0\0\0\0\0echo\0x\0")
    assert receive(sock).startswith(b"OK\n\5\0\2\0x\n\7\0")


# The escape.


@pytest.fixture
def terminal(guest):
    """terminal(script): a run with -t on a terminal of its own, once it says ready."""
    started = []

    def begin(script):
        ours, theirs = pty.openpty()
        run = subprocess.Popen(argv(guest, "-t", "sh", "-c", script), stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append((run, ours, theirs))
        assert run.stdout.readline().strip() == b"ready"
        return run, ours, theirs

    yield begin
    for run, ours, theirs in started:
        run.kill()
        with run:
            os.close(ours)
            os.close(theirs)


def test_escape_ends_and_puts_the_terminal_back(ends, terminal):
    _, host = ends
    run, keyboard, screen = terminal("echo ready; exec sleep 1000")
    assert not tty.tcgetattr(screen)[3] & tty.ICANON
    os.kill(host.process.pid, signal.SIGSTOP)  # the guest hangs
    try:
        os.write(keyboard, b"~.")
        assert run.wait(PATIENCE_S) == 255
    finally:
        os.kill(host.process.pid, signal.SIGCONT)
    assert tty.tcgetattr(screen)[3] & tty.ICANON
    assert b"ended by ~." in run.stderr.read()


def test_escape_works_while_what_was_typed_is_not_taken(ends, terminal):
    _, host = ends
    run, keyboard, _ = terminal("stty raw; echo ready; exec sleep 1000")
    os.kill(host.process.pid, signal.SIGSTOP)
    try:
        os.set_blocking(keyboard, False)
        typed = (b"x" * 1000 + b"\r") * 1000 + b"~."  # more than the client, its proxy and the channel hold
        while typed:
            assert select.select([], [keyboard], [], PATIENCE_S)[1]
            with contextlib.suppress(BlockingIOError):
                typed = typed[os.write(keyboard, typed[:1000]) :]
        assert run.wait(PATIENCE_S) == 255
    finally:
        os.kill(host.process.pid, signal.SIGCONT)


def test_escape_of_itself_and_elsewhere(terminal):
    run, keyboard, _ = terminal("stty raw -echo; echo ready; head -c 12")
    os.write(keyboard, b"~~.\ra~.\r~x\r"[:12] + b"~z")
    assert run.stdout.read() == b"~.\ra~.\r~x\r~z"
    assert run.wait(PATIENCE_S) == 0


# connect.


def test_connect_carries_both_ways_and_half_closes(guest):
    data = pattern("connect", 3_000_000)
    done = guest.outboard("connect", "cat", input=data)
    assert (done.stdout == data, done.stderr, done.returncode) == (True, b"", 0)


def test_connect_whose_service_ends_first(lab):
    app = lab.listen()
    _, guest = lab.pair([f"-sapp=tcp:127.0.0.1:{app.getsockname()[1]}"])
    with start(guest, "app", command="connect") as client:
        there = lab.accept(app)
        there.sendall(b"all of it")
        there.shutdown(socket.SHUT_WR)
        assert client.stdout.read() == b"all of it"  # its end is ours
        client.stdin.write(b"and back")
        client.stdin.close()
        assert receive(there) == b"and back"
        assert client.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("words", [["connect", "bye"], ["run", "-s", "bye"]], ids=["connect", "run"])
def test_output_ends_with_the_service_where_the_channel_is_its_own(lab, words):
    """The proxy that runs for the command alone does not keep the command's standard output open."""
    lab.start("host", f"--channel=unix-listen:{lab.channel}", "-sbye=exec:echo bye")
    command = [OUTBOARD, "proxy", words[0], f"-cunix:{lab.channel}", *words[1:]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        with select.epoll() as hang_up:
            hang_up.register(process.stdout, 0)
            assert hang_up.poll(PATIENCE_S), "the other end of the pipe is still open"
        assert process.stdout.read() == b"bye\n"
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0


def test_connect_that_breaks(ends):
    guest, host = ends
    with start(guest, "cat", command="connect") as client:
        client.stdin.write(b"x")
        client.stdin.flush()
        assert client.stdout.read(1) == b"x"
        host.process.kill()
        assert client.wait(PATIENCE_S) == 255
        assert b"broke" in client.stderr.read()


def test_connect_as_a_proxy_command(lab):
    """ssh itself reads the greeting of what stands in for a far sshd."""
    guest = lab.pair(["-sssh=exec:printf 'SSH-2.0-none\\r\\n'; read x; exec cat >/dev/null"])[1]
    words = ["ssh", "-F", "none", "-o", "BatchMode=yes", "-v", "-o",
             f"ProxyCommand={OUTBOARD} proxy connect --control={guest.control} ssh", "nobody@nowhere"]  # fmt: skip
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as ssh:
        assert any(b"remote software version none" in line for line in ssh.stderr)
        ssh.terminate()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["connect", "nope"], b"the other end has no service 'nope'"),
        (["run", "--service=nope"], b"the other end has no service 'nope'"),
        (["connect", "tcp:127.0.0.1:1"], b"--allow-connect"),
        (["connect"], b"give one SERVICE"),
        (["connect", "a", "b"], b"give one SERVICE"),
    ],
)
def test_reasons_of_refusals(lab, words, reason):
    guest = lab.pair(["-scat=exec:cat"])[1]
    done = guest.outboard(*words, stdin=subprocess.DEVNULL)
    assert done.returncode in (2, 255)
    assert reason in done.stderr


def test_connect_to_where_nobody_listens(lab, free_port):
    guest = lab.pair(["--trust-peer"])[1]
    done = guest.outboard("connect", f"tcp:127.0.0.1:{free_port()}", stdin=subprocess.DEVNULL)
    assert done.returncode == 255
    assert b"refuses connections" in done.stderr


def test_a_key_that_is_missing_is_told_at_once(lab):
    key = lab.folder / "key"
    key.write_text("0123456789abcdef0123456789abcdef\n")
    key.chmod(0o600)
    lab.start("far", f"--channel=unix-listen:{lab.channel}", "--allow-run", f"--key-file={key}")
    done = subprocess.run([OUTBOARD, "proxy", "run", f"--channel=unix:{lab.channel}", "--timeout=600", "true"],
                          capture_output=True, timeout=PATIENCE_S, check=False)  # fmt: skip
    assert done.returncode == 255
    assert done.stderr.splitlines() == [b"outboard proxy run: the other end asks for a key: give --key-file=PATH"]

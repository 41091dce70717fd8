# SPDX-License-Identifier: BSD-3-Clause
"""The cell of `outboard inspect` and `outboard poke`: what it is, and that nothing is missed in it."""
import contextlib
import errno
import os
import select
import signal
import socket
import subprocess
import time

import migration
import pytest
import vfio_user
from celllab import FOR_USERS, check_print_cell, children_of, status_of, user_of
from guestlab import paths
from mpqemu import PATIENCE_S
from vfio_user_server import BAR_LEN, Server

OUTBOARD = paths.BUILD / "root/bin/outboard"
COMMANDS = {"inspect": [], "poke": ["read", "cfg", "0"]}


def dialer_of(process):
    """The process that connects, as soon as it is there. strace may have a child of the same parent."""
    while True:
        for child in children_of(process.pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if status_of(child)["Name"] == "outboard":
                    return child
        assert process.poll() is None


def no_feature(server, message):
    server.reply(message, error=errno.EOPNOTSUPP)


class Looking:
    """A command, and the connection that it has made to a server which has not answered yet."""

    def __init__(self, command, path, *options, **streams):
        self.path = path
        with socket.socket(socket.AF_UNIX) as listener:
            listener.settimeout(PATIENCE_S)
            listener.bind(str(self.path))
            listener.listen()
            argv = [OUTBOARD, command, "--wire=vfio-user", f"--timeout-ms={PATIENCE_S * 1000}", *options]
            streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
            self.process = subprocess.Popen([*argv, self.path, *COMMANDS[command]], text=True, **streams)
            self.connection = listener.accept()[0]
        self.connection.settimeout(PATIENCE_S)
        assert select.select([self.connection], [], [], PATIENCE_S)[0], "the command has sent no greeting"

    def answer(self, lies=None):
        """Serves it as a device would, until its end."""
        Server(self.connection.dup(), {migration.FEATURE: no_feature} | (lies or {})).run()
        printed = self.process.communicate(timeout=PATIENCE_S)
        return (self.process.returncode, *printed)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def looking(cleanup, tmp_path):
    return lambda command, *options, name="device.sock", **streams: cleanup.enter_context(Looking(command, tmp_path / name, *options, **streams))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_cell_stands_before_a_byte_of_the_device_is_read(looking, command):
    look = looking(command)
    fields = status_of(look.process.pid)
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert user_of(look.process.pid) in (FOR_USERS if os.geteuid() == 0 else [os.geteuid()])
    code, printed, complaints = look.answer()
    assert (code, complaints) == (0, "")
    assert "0x10f01af4\n" == printed if command == "poke" else printed.startswith("1af4:10f0 ")


@pytest.fixture(params=["memory", "pipe", "socket", "file", "eventfd"])
def descriptor(request, cleanup, tmp_path):
    if request.param == "memory":
        fds = [os.memfd_create("memory")]
        os.ftruncate(fds[0], BAR_LEN)
    elif request.param == "pipe":
        fds = os.pipe()
    elif request.param == "socket":
        fds = [end.detach() for end in socket.socketpair()]
    elif request.param == "eventfd":
        fds = [os.eventfd(0)]
    else:
        fds = [os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)]
        os.ftruncate(fds[0], BAR_LEN)
    for fd in fds:
        cleanup.callback(os.close, fd)
    return request.param, fds[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_descriptors_of_the_device_are_looked_at_in_the_cell(looking, command, descriptor):
    kind, fd = descriptor

    def with_descriptor(server, message):
        payload = server.truth(message)
        if vfio_user.REGION_INFO.unpack(payload)[2] == 0:
            payload = vfio_user.REGION_INFO.pack(32, 7, 0, 0, BAR_LEN, 0)
        server.reply(message, payload, [fd])

    def with_unwanted(server, message):
        server.reply(message, server.truth(message), [fd, fd])

    code, printed, complaints = looking(command).answer({vfio_user.GET_REGION_INFO: with_descriptor})
    assert (code, complaints) == (0, "")
    if command == "inspect" and kind != "file":  # which is memory on tmpfs
        assert ("Mappable" in printed) == (kind == "memory")
    look = looking(command, name="other.sock")
    code, _, complaints = look.answer({vfio_user.GET_INFO: with_unwanted, vfio_user.REGION_READ: with_unwanted})
    assert code in (0, 1) and "refused the system call" not in complaints


def test_without_a_cell_there_is_none(looking):
    look = looking("inspect", "--cell=none")
    assert status_of(look.process.pid)["Seccomp"] == "0"
    assert not children_of(look.process.pid)
    assert look.answer()[0] == 0


def test_the_process_that_connects_holds_nothing_else_and_ends_with_the_command(looking):
    look = looking("inspect")
    dialer = dialer_of(look.process)
    assert status_of(dialer)["NoNewPrivs"] == "1"
    until = time.monotonic() + PATIENCE_S
    while len(os.listdir(f"/proc/{dialer}/fd")) > 1:  # the connection, for a moment after it was passed on
        assert time.monotonic() < until
    ended = os.pidfd_open(dialer)
    look.process.kill()
    assert select.select([ended], [], [], PATIENCE_S)[0]
    os.close(ended)


def test_the_process_that_connects_does_not_outlive_its_command_before_a_listener_that_accepts_nobody(cleanup, tmp_path):
    listener = cleanup.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(str(tmp_path / "full"))
    listener.listen(0)
    with contextlib.suppress(BlockingIOError):
        while True:
            waiting = cleanup.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            waiting.connect(str(tmp_path / "full"))
    process = subprocess.Popen([OUTBOARD, "inspect", "--timeout-ms=60000", tmp_path / "full"])
    cleanup.callback(process.wait, PATIENCE_S)
    cleanup.callback(process.kill)
    ended = os.pidfd_open(dialer_of(process))
    cleanup.callback(os.close, ended)
    process.kill()
    assert select.select([ended], [], [], PATIENCE_S)[0]


def test_a_lost_dialer_is_an_error(cleanup, tmp_path):
    process = subprocess.Popen(
        [OUTBOARD, "inspect", "--wait", tmp_path / "nobody"], stderr=subprocess.PIPE, text=True
    )
    cleanup.callback(process.kill)
    os.kill(dialer_of(process), signal.SIGKILL)
    assert f"can't connect to {tmp_path / 'nobody'}: Broken pipe" in process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 1


def test_output_goes_where_it_went(looking, cleanup):
    """A terminal and /dev/null are asked for their kind before the cell."""
    ours, theirs = os.openpty()
    cleanup.callback(os.close, ours)
    look = looking("poke", stdout=theirs)
    os.close(theirs)
    assert look.answer() == (0, None, "")
    assert os.read(ours, 100) == b"0x10f01af4\r\n"


def test_output_to_nowhere(looking):
    assert looking("inspect", stdout=subprocess.DEVNULL).answer() == (0, None, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_has_gone_is_not_told(looking, command):
    ours, theirs = os.pipe()
    os.close(ours)
    with open(theirs, "w") as gone:
        look = looking(command, stdout=gone)
    assert look.answer() == (1, None, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_told(looking, command):
    with open("/dev/full", "w") as full:
        look = looking(command, stdout=full)
    code, _, complaints = look.answer()
    assert code == 1
    assert complaints == "outboard: can't write to standard output: No space left on device\n"


def run(*words, folder=None):
    return subprocess.run([OUTBOARD, *words], capture_output=True, text=True, timeout=PATIENCE_S, cwd=folder)


@pytest.mark.parametrize("command", COMMANDS)
def test_print_cell_says_what_the_command_could_do(command):
    check_print_cell(OUTBOARD, command)


@pytest.mark.parametrize("command", COMMANDS)
def test_options_that_are_none_are_named(command, tmp_path):
    done = run(command, "--cell=maybe", "nobody")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "outboard: --cell: got 'maybe', expected none, default or required\n"
    (tmp_path / "my.policy").write_text("opnat\n")
    for ending in ["--print-cell"], ["nobody", *COMMANDS[command]]:
        done = run(command, "--cell-policy=my.policy", *ending, folder=tmp_path)
        assert done.returncode == 1 and "my.policy:1: got 'opnat'" in done.stderr


def test_only_root_becomes_another_user(looking):
    if os.geteuid() != 0:
        done = run("inspect", "--user=1234", "nobody")
        assert done.returncode == 2 and "only root can become another user" in done.stderr
        return
    look = looking("inspect", "--user=1879113778")
    assert status_of(look.process.pid)["Uid"].split()[0] == "1879113778"
    assert look.answer()[0] == 0


# Does what a client does that was taken over, once it has read from its device in its cell.
TAKEN_OVER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static char *name;

/* A cell forgets the environment. */
__attribute__((constructor)) static void prepare(void)
{
    name = strdup(getenv("DEED"));
}

static void deed(void)
{
    int result = -1;
    if (strcmp(name, "open") == 0)
        result = open("/etc/passwd", O_RDONLY);
    else if (strcmp(name, "socket") == 0)
        result = socket(AF_UNIX, SOCK_STREAM, 0);
    else if (strcmp(name, "fork") == 0 && (result = fork()) == 0)
        _exit(0);
    else if (strcmp(name, "exec") == 0)
        result = execl("/bin/true", "true", (char *)NULL);
    else if (strcmp(name, "kill") == 0)
        result = kill(getpid(), 0);
    _exit(result < 0 ? 99 : 77);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    ssize_t (*real)(int, struct msghdr *, int) = dlsym(RTLD_NEXT, "recvmsg");
    int type = 0;
    socklen_t len = sizeof(type);
    ssize_t got = real(fd, message, flags);
    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
    if (got > 0 && type == SOCK_STREAM)
        deed();
    return got;
}
"""
# The status of one that did it; exec has that of its program. tools/policies leaves out programs with "escape" among
# their arguments.
DEEDS = {"open": ("openat", 77), "socket": ("socket", 77), "fork": ("clone", 77), "exec": ("execve", 0), "kill": ("kill", 77)}


@pytest.fixture(scope="module")
def takes_over(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hook")
    (folder / "hook.c").write_text(TAKEN_OVER)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "hook.so", folder / "hook.c", "-ldl"], check=True)
    return folder / "hook.so"


@pytest.mark.parametrize("deed", DEEDS)
def test_a_call_that_no_line_allows_is_the_end(looking, takes_over, deed):
    call, done = DEEDS[deed]
    look = looking("inspect", name="escape.sock", env=os.environ | {"LD_PRELOAD": str(takes_over), "DEED": deed})
    code, _, complaints = look.answer()
    assert code == -signal.SIGSYS
    assert f"outboard: cell: refused the system call '{call}'" in complaints


@pytest.mark.parametrize("deed", DEEDS)
def test_without_a_cell_it_is_made(looking, takes_over, deed):
    look = looking("inspect", "--cell=none", name="escape.sock", env=os.environ | {"LD_PRELOAD": str(takes_over), "DEED": deed})
    assert look.answer()[0] == DEEDS[deed][1]

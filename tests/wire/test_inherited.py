# SPDX-License-Identifier: BSD-3-Clause
"""Descriptors that a launcher has left open: each program closes them at its start, but for those that it is to use."""
import contextlib
import fcntl
import os
import pathlib
import select
import socket
import subprocess

import pytest
from guestlab import paths
from vfio_user import PATIENCE_S

BIN = paths.BUILD / "root/bin"
BACKDOOR = paths.BUILD / "root/libexec/outboard/outboard-backdoor"
LIBRARY = paths.BUILD / "root/share/outboard/examples/backdoor_library.so"
LEFT = 777  # a number that stands in no word of a command line by chance

# '@' is the test's folder.
PROGRAMS = {
    "outboard-backdoor": [BACKDOOR, f"--library={LIBRARY}", "--socket-path=@/device"],
    "outboard-backdoor without a cell": [BACKDOOR, f"--library={LIBRARY}", "--socket-path=@/device", "--cell=none"],
    "an example": [paths.BUILD / "release/examples/led", "--socket-path=@/device"],
    "outboard proxy": [BIN / "outboard", "proxy", "--channel=unix-listen:@/channel"],
    "outboard proxy with an agent": [BIN / "outboard", "proxy", "--channel=unix-listen:@/channel", "--allow-agent"],
    "outboard-proxy": [BIN / "outboard-proxy", "--channel=unix-listen:@/channel"],
    "outboard-agent": [BIN / "outboard-agent", "--channel=unix-listen:@/channel"],
    "outboard-agent at a socket": [BIN / "outboard-agent", "--method=unix-listen", "--path=@/agent"],
}


@contextlib.contextmanager
def leaving(argv, folder, fd=LEFT):
    """Starts a program with a descriptor that it has no use for: the end of a pipe. The program and the pipe's other end."""
    ours, theirs = os.pipe()
    left = fcntl.fcntl(theirs, fcntl.F_DUPFD, fd)
    os.close(theirs)
    assert left == fd
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, contextlib.ExitStack() as stack:
        stack.callback(os.close, ours)
        notify.bind(str(folder / "notify"))
        notify.settimeout(PATIENCE_S)
        environment = os.environ | {"NOTIFY_SOCKET": str(folder / "notify")}
        words = [str(word).replace("@", str(folder)) for word in argv]
        process = subprocess.Popen(words, pass_fds=[left], env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(left)
        stack.callback(process.wait, PATIENCE_S)
        stack.callback(process.terminate)
        while b"READY=1" not in notify.recv(4096):
            pass
        yield process, ours


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_descriptor_without_a_use_is_closed(tmp_path, name):
    with leaving(PROGRAMS[name], tmp_path) as (process, pipe):
        assert select.select([pipe], [], [], PATIENCE_S)[0] and os.read(pipe, 1) == b""
        assert process.poll() is None


# With a cell. The agent at a socket has no channel, and no cell.
CONFINED = [name for name in PROGRAMS if name not in ("outboard-backdoor without a cell", "outboard-agent at a socket")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into a cell")
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_cell_forgets_the_environment(tmp_path, name, monkeypatch):
    """The kernel shows the bytes that it has put beside the stack; static programs are no exception."""
    monkeypatch.setenv("OUTBOARD_TEST_SECRET", "hush")
    with leaving(PROGRAMS[name], tmp_path) as (process, _):
        there = b"OUTBOARD_TEST_SECRET=hush" in pathlib.Path(f"/proc/{process.pid}/environ").read_bytes()
        assert there == (name not in CONFINED)


def test_one_that_an_option_names_is_kept(tmp_path):
    argv = [BACKDOOR, f"--library={LIBRARY}", "--socket-path=@/device", f"--trace=/proc/self/fd/{LEFT}"]
    with leaving(argv, tmp_path) as (_, pipe):
        assert not select.select([pipe], [], [], 0)[0]  # READY was told before


def test_a_program_of_the_user_has_what_its_launcher_left(tmp_path):
    """outboard pair becomes a VMM."""
    ours, theirs = os.pipe()
    left = fcntl.fcntl(theirs, fcntl.F_DUPFD, LEFT)
    os.close(theirs)
    vmm = ["bash", "-c", f"echo kept >&{LEFT}"]
    done = subprocess.run([BIN / "outboard", "pair", BACKDOOR, f"--library={LIBRARY}", "--", *vmm],
                          pass_fds=[left], capture_output=True, text=True, timeout=PATIENCE_S)  # fmt: skip
    os.close(left)
    with open(ours, "rb") as pipe:
        assert pipe.read() == b"kept\n", done.stderr

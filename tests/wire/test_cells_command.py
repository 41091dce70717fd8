# SPDX-License-Identifier: BSD-3-Clause
"""outboard cells: what the kernel tells of running programs."""
import os
import re
import subprocess
import sys

import pytest
from guestlab import paths
from registers import RESULT
from server import EXERCISE, Server
from vfio_user import PATIENCE_S

COMMAND = [paths.BUILD / "root/bin/outboard", "cells"]
ROOT = os.geteuid() == 0


@pytest.fixture
def server(request, tmp_path):
    """A device with the options of the test's parameter."""
    made = Server(tmp_path, EXERCISE, *getattr(request, "param", ["--cell=default"]))
    yield made
    made.end()


def ask(*words, user=None):
    prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
    return subprocess.run([*prefix, *COMMAND, *map(str, words)], capture_output=True, text=True, timeout=PATIENCE_S)


def rows(text):
    """The rows of one process, each with its further lines."""
    found, name = {}, None
    for line in text.splitlines()[1:]:
        name = line[2:22].strip() or name
        found[name] = f"{found.get(name, '')} {line[22:]}".strip()
    return found


def test_a_device_in_a_cell(server):
    done = ask(server.process.pid)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{server.process.pid} exercise\n")
    found = rows(done.stdout)
    assert found["capabilities"] == "none" and found["privileges by exec"] == "none"
    assert (found["most open files"], found["most threads"]) == ("4096", "64") or int(found["most open files"]) < 4096
    assert (found["most private memory"], found["largest core file"], found["most locked memory"]) == ("1073741824", "0", "0")
    assert "unknown" in found["Landlock, io_uring"]
    assert found["cgroup"]
    if ROOT:
        assert int(found["user"]) >= 0x70000000 and int(found["open files"]) > 3


@pytest.mark.skipif(not ROOT, reason="only root can read the filters of a process")
def test_root_sees_which_calls_are_allowed(server):
    client = server.client()
    found = rows(ask(server.process.pid).stdout)
    allowed, by_argument = found["system calls"].split(), found["by argument"].split()
    assert {"read", "recvmsg", "epoll_wait", "exit_group"} <= set(allowed)
    assert {"mmap", "fcntl", "sendmsg"} <= set(by_argument)
    for call in ("socket", "openat", "execve", "ptrace", "memfd_create", "ftruncate", "clone", "seccomp", "clone3", "bpf"):
        assert call not in allowed + by_argument, call
    assert len(client.read(0, RESULT, 8)) == 8  # it was stopped for a moment only


@pytest.mark.skipif(not ROOT, reason="only root can start a program as another user")
def test_an_ordinary_user_is_told_what_only_root_can_read(server):
    found = rows(ask(server.process.pid, user=65534).stdout)
    assert found["namespaces"] == "unknown: only root can read it"
    assert found["open files"] == "unknown: only root can read it"
    assert found["system calls"] == "filtered; which ones is unknown: only root can read it"
    assert found["capabilities"] == "none"


@pytest.mark.parametrize("server", [["--cell=none"]], indirect=True)
def test_a_device_without_a_cell(server):
    found = rows(ask(server.process.pid).stdout)
    assert found["system calls"] == "all" and found["privileges by exec"] == "can be gained"
    assert int(found["user"]) == os.geteuid()
    assert re.fullmatch(r"own: none; shared with this command: .*", found["namespaces"])


def test_several_processes_and_one_that_is_not_there(server):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(PATIENCE_S)
    done = ask(server.process.pid, ended.pid, os.getpid())
    assert done.returncode == 1
    assert f"process {ended.pid}: got 'No such file or directory', expected a running process" in done.stderr
    assert re.findall(r"^(\d+) ", done.stdout, re.MULTILINE) == [str(server.process.pid), str(os.getpid())]


@pytest.mark.parametrize("words", [[], ["0"], ["one"], ["-1"]])
def test_what_is_no_process_id_is_refused(words):
    done = ask(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "process id" in done.stderr

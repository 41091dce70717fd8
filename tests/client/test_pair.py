# SPDX-License-Identifier: BSD-3-Clause
"""outboard pair: devices and their VMM on socket pairs."""
import subprocess

import pytest
from guestlab import paths

OUTBOARD = paths.BUILD / "root/bin/outboard"
EXERCISE = paths.BUILD / "release/tests/wire/exercise"
PATIENCE_S = 30


def pair(*words):
    return subprocess.run([OUTBOARD, "pair", *words], capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_a_device_and_its_vmm():
    done = pair(EXERCISE, "--", OUTBOARD, "inspect", "--fd=3")
    assert done.returncode == 0, done.stderr
    assert "Region 0" in done.stdout


def test_each_device_has_the_next_number():
    look = f"for fd in 3 4; do {OUTBOARD} inspect --wire=vfio-user --fd=$fd | head -1; done; [ ! -e /proc/self/fd/5 ]"
    done = pair(EXERCISE, "--", EXERCISE, "--dma=messages", "--", "sh", "-c", look)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_it_becomes_the_vmm():
    assert pair(EXERCISE, "--", "sh", "-c", "exit 7").returncode == 7
    assert pair(EXERCISE, "--", "sh", "-c", "kill -PIPE $$").returncode == -13  # signals are as they were


@pytest.mark.parametrize("words", [["/no/such/device", "--", "true"], [EXERCISE, "--", "/no/such/vmm"]])
def test_what_is_not_there_is_told(words):
    done = pair(*words)
    assert done.returncode == 127
    assert "outboard pair: can't start /no/such/" in done.stderr and ": No such file or directory\n" in done.stderr


@pytest.mark.parametrize("words", [[], [EXERCISE], [EXERCISE, "--"], ["--", "true"], ["--nonsense", "--", "true"]])
def test_usage(words):
    done = pair(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("outboard pair: ")


def test_help():
    done = pair("--help")
    assert done.returncode == 0 and "usage: outboard pair" in done.stdout

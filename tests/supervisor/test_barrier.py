# SPDX-License-Identifier: BSD-3-Clause
"""Requests of a dead process come to their end before its successor begins any, on a file system that is slow."""
import subprocess

import hung_fs
import late_fs
import pytest
from guestlab import paths
from restartlab import LAB_PATH

SIZE = 1 << 20
# Longer than a life without a barrier takes on a busy machine.
FOREVER_S = 60


@pytest.fixture
def late(machine, cleanup):
    """late(hold_s): the path of an image there."""

    def make(hold_s):
        reason = hung_fs.why_not()
        if reason:
            pytest.skip(f"a file system that is late can't be made here: {reason}")
        folder = machine.folder / "mount"
        folder.mkdir()
        made = late_fs.LateFs(folder, SIZE, machine.folder, hold_s)
        cleanup.callback(made.close)
        return made.path

    return make


@pytest.fixture
def loop(cleanup):
    """loop(file): a loop device that reads and writes it directly."""

    def attach(path):
        done = subprocess.run(["losetup", "--show", "-f", "--direct-io=on", path], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"a loop device can't be had here: {done.stderr.strip()}")
        cleanup.callback(subprocess.run, ["losetup", "-d", done.stdout.strip()], check=True)
        return done.stdout.strip()

    return attach


@pytest.fixture
def rounds(machine, faults):
    """rounds(image with options, count, first kind): the machine's end; the disk dies in each round, while a request is held."""

    def run(image, count, first="write", **environment):
        machine.write(f"""
            [machine]
              program = "{{PYTHON}}"
              arguments = "{paths.TREE}/tests/supervisor/barrierlab.py rounds %fd:disk% {{FOLDER}} {count} {first}"
            [device "disk"]
              program = "{faults}/devices/nvme/outboard-nvme"
              image = "{image}"
              on-death = "restart"
              restart-limit = "100000"
        """)
        return machine.run(PYTHONPATH=LAB_PATH, **environment)

    return run


def check(rounds, image, count):
    done = rounds(image, count)
    assert done.stdout == f"in order {count} times\n", done.stderr


@pytest.mark.parametrize("options", [",direct", ""])
def test_on_a_slow_file_system(rounds, late, options):
    check(rounds, f"{late(0.3)}{options}", 4)


def test_on_a_block_device_over_it(rounds, late, loop):
    check(rounds, f"{loop(late(0.3))},direct", 4)


@pytest.mark.long
def test_on_a_slow_file_system_500_times(rounds, late):
    check(rounds, f"{late(0.1)},direct", 500)


@pytest.mark.long
def test_on_a_block_device_500_times(rounds, late, loop):
    check(rounds, f"{loop(late(0.1))},direct", 500)


@pytest.mark.parametrize("kind", ["write", "read"])
def test_without_the_barrier_an_old_request_comes_last(rounds, late, kind):
    done = rounds(f"{late(FOREVER_S)},direct", 1, kind, OUTBOARD_WITHOUT_BARRIER="1")
    assert f"an old {kind} came last" in done.stderr


def test_without_the_barrier_a_block_device_is_late_too(rounds, late, loop):
    done = rounds(f"{loop(late(FOREVER_S))},direct", 1, OUTBOARD_WITHOUT_BARRIER="1")
    assert "an old write came last" in done.stderr

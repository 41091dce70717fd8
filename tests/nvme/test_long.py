# SPDX-License-Identifier: BSD-3-Clause
"""Storms, which ./dev test long runs."""
import os
import random
import signal
import subprocess

import pytest
from disklab import OUTBOARD, all_end, children
from driver import IMAGE_LEN, PAGE, SUCCESS, Controller, Disk

STORMS, LIVES = 100, 5
EACH = PAGE // 512

pytestmark = pytest.mark.long


@pytest.fixture(params=range(STORMS))
def chance():
    """Random numbers from a seed that a failure shows."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


def write_some(disk, chance):
    written = {}
    for _ in range(chance.randrange(32)):
        slba, data = chance.randrange(IMAGE_LEN // PAGE) * EACH, os.urandom(PAGE)
        assert disk.write(slba, data) == SUCCESS
        written[slba] = data
    return written


def test_no_flushed_write_of_a_qcow2_is_lost_however_its_processes_end(chance, attach_to, tmp_path):
    """Any of the three is killed, or asked to end; what was flushed is there in the next life."""
    path, kept = tmp_path / "disk.qcow2", {}
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(IMAGE_LEN)], check=True)
    for _ in range(LIVES):
        machine = attach_to(OUTBOARD, "disk", f"--image={path}")
        process, disk = machine.process, Disk(Controller(machine).create_queue())
        for slba, data in kept.items():
            assert disk.read(slba, PAGE) == data
        written = write_some(disk, chance)
        if chance.random() < 0.5:
            assert disk.flush() == SUCCESS
            kept |= written
        else:  # these may be there or not
            kept = {slba: data for slba, data in kept.items() if slba not in written}
        with all_end(process):
            some = [process.pid, *(pid for pids in children(process).values() for pid in pids)]
            os.kill(chance.choice(some), chance.choice([signal.SIGKILL, signal.SIGTERM]))
            process.wait()

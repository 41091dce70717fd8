# SPDX-License-Identifier: BSD-3-Clause
"""An upgrade drains the process of before: nothing that it had in flight is done again, and nothing is lost."""
import collections
import json
import pathlib
import struct
import subprocess

import hung_fs
import late_fs
import pytest
from guestlab import paths
from restartlab import PLACES

TESTS = pathlib.Path(__file__).parent.parent
SIZE = 1 << 20
# Until somebody releases it.
FOREVER_S = 600
DRAINED, NOT_DRAINED = "{'drained': True}", "{'drained': False}"


class CountingFs(late_fs.LateFs):
    """Counts the writes of each version to the block that is held."""

    def __init__(self, *arguments):
        self.held_writes = collections.Counter()
        super().__init__(*arguments)

    def answer(self, opcode, unique, node, body):
        if opcode == hung_fs.WRITE and struct.unpack_from("<QQ", body)[1] == late_fs.HELD * late_fs.BLOCK:
            self.held_writes[struct.unpack_from("<Q", body, 40)[0]] += 1
        super().answer(opcode, unique, node, body)


@pytest.fixture
def late(machine, cleanup):
    reason = hung_fs.why_not()
    if reason:
        pytest.skip(f"a file system that is late can't be made here: {reason}")
    folder = machine.folder / "mount"
    folder.mkdir()
    made = CountingFs(folder, SIZE, machine.folder, FOREVER_S)
    cleanup.callback(made.close)
    return made


@pytest.fixture
def upgraded(machine):
    """upgraded(function of upgradelab, program, settings, argument...): the machine's end, with that VMM."""

    def run(name, program, settings, *arguments, lab="upgradelab.py"):
        words = " ".join([f"{TESTS}/supervisor/{lab}", name, *map(str, arguments)])
        machine.write_restarted(words, program, settings)
        folders = ("wire", "supervisor", "virtio", "nvme", "../tools")
        return machine.run(PYTHONPATH=":".join(str(TESTS / folder) for folder in folders))

    return run


def test_a_write_in_flight_is_done_once(machine, upgraded, late):
    done = upgraded("held", "nvme", f'image = "{late.path},direct"', "%fd:device%", machine.folder, late.path, "{FOLDER}/control")
    assert done.stdout.split("\n") == [DRAINED, DRAINED, ""], done.stderr
    assert late.held_writes[1] == late.held_writes[2] == 1


def test_a_refusal_after_that_leaves_the_old_process_serving(machine, upgraded, late):
    """It has drained, has stood still, and goes on; nothing was done twice."""
    with open(machine.folder / "other.img", "wb") as file:
        file.truncate(SIZE // 2)
    program = machine.folder / "refuses"
    program.write_text(f'#!/bin/sh\nexec {paths.BUILD}/root/libexec/outboard/outboard-nvme --fd=3 --image={machine.folder}/other.img\n')
    program.chmod(0o755)
    done = upgraded("held", "nvme", f'image = "{late.path},direct"', "%fd:device%", machine.folder, late.path, "{FOLDER}/control", program)
    assert done.stdout.split("\n") == ["the new process has ended; the log of outboard run says why"] * 2 + [""], done.stderr
    assert late.held_writes[1] == late.held_writes[2] == 1
    assert "is not drained" not in done.stderr and "restarts it" not in done.stderr


def test_a_write_that_does_not_end_in_time_is_done_again(machine, upgraded, late):
    done = upgraded("late", "nvme", f'image = "{late.path},direct"', "%fd:device%", machine.folder, late.path, "{FOLDER}/control")
    assert done.stdout == f"{NOT_DRAINED}\n", done.stderr
    assert late.held_writes[1] == 2
    assert "device: is not drained before its upgrade: requests in flight have not ended within 1000 ms" in done.stderr


@pytest.mark.parametrize("wire", PLACES)
def test_no_call_of_a_backdoor_is_cut_short(upgraded, tmp_path, wire):
    library = tmp_path / "slow_door.so"
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{paths.BUILD}/root/include", "-o", library,
                    TESTS / "supervisor/slow_door.c"], check=True)  # fmt: skip
    done = upgraded("call", "backdoor", f'library = "{library}"', wire, PLACES[wire], "{FOLDER}/control", 4)
    calls, *answers, end = done.stdout.split("\n")
    assert int(calls) >= 4 and answers == [DRAINED] * 4 and end == "", done.stderr


@pytest.mark.parametrize("wire", PLACES)
@pytest.mark.parametrize("name, program, kind", [("random_bytes", "rng", "split-event"), ("disk", "blk", "split"), ("disk", "blk", "packed")])
def test_a_virtio_device_under_load(machine, upgraded, wire, name, program, kind):
    settings = f'image = "{machine.image()}"' if program == "blk" else ""
    done = upgraded(name, program, settings, wire, PLACES[wire], "{FOLDER}/control:5", kind, lab="keptlab.py")
    assert done.stdout == "kept\n", done.stderr
    assert done.stderr.count("another process has taken its place") == 5


def test_the_command_tells_it(machine, spawn, runtime):
    """`outboard upgrade` of a device without a VMM, and its JSON."""
    machine.write(f"""
        [machine]
          program = "{{PYTHON}}"
          arguments = "-c 'import sys, socket; socket.socket(fileno=int(sys.argv[1])).recv(1)' %fd:device%"
          control = "{{FOLDER}}/control"
        [device "device"]
          program = "{paths.BUILD}/release/examples/counter"
          on-death = "restart"
    """)
    process = machine.start()
    outboard = paths.BUILD / "root/bin/outboard"
    words = [outboard, "ctl", f"--vm={machine.folder}/control", "--json", "upgrade", "device"]
    while (done := subprocess.run(words, capture_output=True, text=True, check=False)).returncode != 0:
        assert process.running, process.log_tail()
    assert json.loads(done.stdout) == {"drained": True}
    assert process.terminate() == 0

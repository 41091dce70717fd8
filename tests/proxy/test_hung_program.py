# SPDX-License-Identifier: BSD-3-Clause
"""A program on a file system whose server does not answer: it costs the request that asks for it."""
import subprocess

import hung_fs
import pytest
from guestlab import paths

pytestmark = pytest.mark.skipif(hung_fs.why_not() is not None, reason=str(hung_fs.why_not()))


@pytest.mark.parametrize("cell", ["required", "none"])
def test_a_command_that_hangs_before_it_runs(lab, tmp_path, cleanup, cell):
    folder = tmp_path / "hung"
    folder.mkdir()
    file_system = hung_fs.HungFs(folder, b"#!/bin/sh\n", hangs=(hung_fs.LOOKUP,))
    cleanup.callback(file_system.close)
    file_system.hang()
    _, guest = lab.pair(["--allow-run", f"--cell={cell}"], [f"--cell={cell}"])
    argv = [paths.BUILD / "root/bin/outboard", "proxy", "run", f"--control={guest.control}", f"{file_system.mount}/program"]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as hanging:
        cleanup.callback(hanging.kill)
        assert file_system.asked.wait(60)
        assert guest.outboard("run", "echo", "here").stdout == b"here\n"
        hanging.kill()
    assert guest.outboard("run", "echo", "still").stdout == b"still\n"

# SPDX-License-Identifier: BSD-3-Clause
"""The engine talks to another implementation, made from docs/session-protocol.md alone."""
import pathlib
import subprocess
import sys

from guestlab import paths


def test_the_specification_is_enough():
    peer = pathlib.Path(__file__).with_name("independent_peer.py")
    library = paths.BUILD / "root/lib/liboutboard.so"
    done = subprocess.run([sys.executable, peer, library], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "8 conversations\n"), done.stderr

# SPDX-License-Identifier: BSD-3-Clause
"""outboard disk and its processes."""
import contextlib
import os
import pathlib
import select

from driver import PATIENCE_S
from guestlab import paths

OUTBOARD = paths.BUILD / "root/bin/outboard"


def children(process):
    """The processes of outboard disk by name: {"qemu-nbd": [pid], "outboard-nvme": [pid]}."""
    found = {}
    for pid in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        found.setdefault(pathlib.Path(f"/proc/{pid}/comm").read_text().strip(), []).append(int(pid))
    return found


@contextlib.contextmanager
def all_end(process):
    """What is done within ends all processes of outboard disk."""
    pids = [pid for some in children(process).values() for pid in some]
    assert len(pids) >= 2
    with contextlib.ExitStack() as stack:
        watched = []
        for pid in pids:
            watched.append(os.pidfd_open(pid))
            stack.callback(os.close, watched[-1])
        yield
        for descriptor in watched:
            assert select.select([descriptor], [], [], PATIENCE_S)[0], "lives on"

# SPDX-License-Identifier: BSD-3-Clause
"""How many descriptors a process has open, once its closing thread has done what there was to do."""
import os
import pathlib
import time

PATIENCE_S = 20


def count_descriptors(pid=None):
    """Ask when the process is at rest itself: after a reply, say. What a peer should not have sent is closed by a
    thread, which sleeps when nothing is left. pid: this process unless it is given."""
    pid = pid or os.getpid()
    deadline = time.monotonic() + PATIENCE_S
    while _closes(pid) and time.monotonic() < deadline:
        time.sleep(0.001)  # nobody tells
    return len(os.listdir(f"/proc/{pid}/fd"))


def _closes(pid):
    """Whether the thread has something to do. One that waits for a file system that hangs sleeps too. It gives itself
    its name, so one that has not begun has another; a program of ours has no second thread."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            name, state = (task / "stat").read_text().partition("(")[2].rpartition(") ")[::2]
        except OSError:
            continue  # it has ended
        is_closer = name == "outboard-closer" or (pid != os.getpid() and int(task.name) != pid)
        if is_closer and state[0] == "R":
            return True
    return False

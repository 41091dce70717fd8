# SPDX-License-Identifier: BSD-3-Clause
"""Cells as their users see them: what --print-cell prints, and what the kernel says of a process."""
import pathlib
import re
import subprocess

PATIENCE_S = 60

# Where root's programs draw their user ids from.
FOR_USERS = range(0x70000000, 0x7FFF0000)

PARTS = [
    "own user id",
    "own namespaces",
    "empty root",
    "no capabilities",
    "limits of memory and processes",
    "no inspection by its user",
    "no privileges by exec",
    "Landlock",
    "listed system calls only",
]


def parts_of(printed):
    """{part: "yes", or why not} of what --print-cell has printed."""
    return {line[:32].rstrip(): line[33:] for line in printed.splitlines()}


def check_print_cell(*command):
    """A program names each part of its cell in order, or that it has none."""
    done = subprocess.run([*command, "--print-cell"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(parts_of(done.stdout)) == PARTS
    assert parts_of(done.stdout)[PARTS[-1]] == "yes"
    done = subprocess.run([*command, "--cell=none", "--print-cell"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout, done.stderr) == (0, "no cell (--cell=none)\n", "")


def status_of(pid):
    """{field: value} of proc(5)'s status."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def user_of(pid):
    return int(re.match(r"\d+", status_of(pid)["Uid"]).group())


def children_of(pid):
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

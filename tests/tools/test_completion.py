# SPDX-License-Identifier: BSD-3-Clause
"""Completion of bash: it offers the options and commands that the programs have, and no others."""
import re
import subprocess

import pytest
from guestlab import paths

BIN = paths.BUILD / "root/bin"
INSTALLED = paths.BUILD / "root/share/bash-completion/completions"
PROGRAMS = sorted(path.name for path in BIN.iterdir() if path.name.startswith("outboard"))

# As bash calls it: words split at =, which is one too. What it offers is printed line by line.
CALL = """
set -u
source "$1"; shift
COMP_CWORD=$1; shift
COMP_WORDS=("$@")
_outboard "$1" "${COMP_WORDS[COMP_CWORD]}" ""
printf '%s\\n' "${COMPREPLY[@]+"${COMPREPLY[@]}"}"
"""


def offered(program, *words, folder="/"):
    """What is offered for the last of the words."""
    split = [part for word in words for part in (re.split("(=)", word) if word else [""])]
    while len(split) > 1 and split[-1] == "" and split[-2] == "=":
        split.pop()
    argv = [str(BIN / program), *split]
    done = subprocess.run(["bash", "-c", CALL, "bash", INSTALLED / program, str(len(argv) - 1), *argv],
                          capture_output=True, text=True, cwd=folder, check=True)  # fmt: skip
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


def options(*command):
    """The long options of a help text."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"^ +(?:-\w, +)?(--[a-z-]+)", done.stdout, re.MULTILINE))


def long_options(words):
    return {word.rstrip("=") for word in words if word.startswith("--")}


def commands():
    printed = subprocess.run([BIN / "outboard", "--help"], capture_output=True, text=True, check=True).stdout
    return re.findall(r"^  ([a-z-]+) ", printed, re.MULTILINE)


def test_each_program_has_a_file():
    assert PROGRAMS
    for program in PROGRAMS:
        assert (INSTALLED / program).exists(), program


@pytest.mark.parametrize("program", [program for program in PROGRAMS if program != "outboard"])
def test_options_of_a_program(program):
    expected = options(BIN / program, "--help")
    assert len(expected) > 5 and long_options(offered(program, "--")) == expected


@pytest.mark.parametrize("command", commands())
def test_options_of_a_command(command):
    assert long_options(offered("outboard", command, "--")) == options(BIN / "outboard", command, "--help")


def test_commands():
    assert offered("outboard", "") == commands()
    assert offered("outboard", "qe") == ["qemu-args"]


def test_commands_of_ctl():
    """Each command that the control socket has is one of ctl, and is offered."""
    printed = subprocess.run([BIN / "outboard", "ctl", "--help"], capture_output=True, text=True, check=True).stdout
    listed = [word for line in re.findall(r"^  ([a-z][a-z, ]*?)(?: [A-Z\[].*|  .*)$", printed, re.MULTILINE) for word in line.split(", ")]
    assert offered("outboard", "ctl", "") == listed and {"list", "pause", "resume", "prometheus"} <= set(listed)
    assert offered("outboard", "ctl", "--vm=/a/b", "li") == ["list"]


def test_values(tmp_path):
    assert offered("outboard-nvme", "--cell=") == ["default", "required", "none"]
    assert offered("outboard-nvme", "--cell=re") == ["required"]
    (tmp_path / "disk.img").touch()
    assert offered("outboard-nvme", "--image=di", folder=tmp_path) == ["disk.img"]
    assert offered("outboard-nvme", "--fd=", folder=tmp_path) == []
    assert offered("outboard", "run", "", folder=tmp_path) == ["disk.img"]

# SPDX-License-Identifier: BSD-3-Clause
"""Sessions of outboard-vmchannel's ports through an upgrade: no byte is lost, doubled or reordered, and neither end notices.
What is promised of a death is in the last test."""
import pathlib

import pytest
from guestlab import paths
from restartlab import PLACES

TESTS = pathlib.Path(__file__).parent.parent
DRAINED = "{'drained': True}"


@pytest.fixture(params=PLACES)
def wire(request):
    return request.param


@pytest.fixture
def driven(machine, tmp_path, wire):
    """driven(function of portslab, argument..., port=): the machine's end, with that VMM."""

    def run(name, *arguments, port=f"one,reconnect=handshake,listen:{tmp_path}/one"):
        words = " ".join([f"{TESTS}/supervisor/portslab.py", name, wire, PLACES[wire], *map(str, arguments)])
        machine.write_restarted(words, "vmchannel", f'max-ports = "4"\nport = "{port}"')
        folders = ("wire", "supervisor", "virtio", "../tools")
        return machine.run(PYTHONPATH=":".join(str(TESTS / folder) for folder in folders))

    return run


@pytest.mark.parametrize("times", [5, pytest.param(100, marks=pytest.mark.long)])
def test_bytes_both_ways(driven, tmp_path, times):
    done = driven("streams", tmp_path, "{FOLDER}/control", times)
    assert done.stdout == "kept\n", done.stderr
    assert done.stderr.count("another process has taken its place") >= min(times, 5)


def test_bytes_of_a_guest_that_has_closed_the_port(driven, tmp_path):
    done = driven("rest", tmp_path, "{FOLDER}/control")
    assert done.stdout == f"{DRAINED}\nkept\n", done.stderr


def write_refusing(folder, words):
    """A program that has other ports than the one before, and so refuses to continue."""
    program = folder / "refuses"
    program.write_text(f"#!/bin/sh\nexec {paths.BUILD}/root/libexec/outboard/outboard-vmchannel {words}\n")
    program.chmod(0o755)
    return program


def test_a_new_process_that_refuses_changes_nothing(driven, tmp_path):
    program = write_refusing(tmp_path, "--fd=3 --port=other,pty --port=one,pty")
    done = driven("refused", tmp_path, "{FOLDER}/control", program)
    assert done.stdout == "the new process has ended; the log of outboard run says why\nkept\n", done.stderr


def test_a_new_process_that_refuses_takes_the_path_with_it(driven, tmp_path):
    """docs/restart.md says so: nobody new can connect until the next upgrade or restart."""
    program = write_refusing(tmp_path, '"$@" --port=other,pty')
    done = driven("path_of_a_refusal", tmp_path, "{FOLDER}/control", program)
    assert done.stdout == "gone\nthere\n", done.stderr


def test_a_command_stays(driven):
    done = driven("command", "{FOLDER}/control", 3, port="one,command:while read -r _; do echo $$; done")
    assert done.stdout == "kept\n", done.stderr


def test_after_a_death_nothing_but_what_was_delivered_is_read(driven, tmp_path):
    done = driven("killed", tmp_path)
    assert done.stdout == "kept\n", done.stderr
    assert done.stderr.count("restarts it") == 1

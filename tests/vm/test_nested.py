# SPDX-License-Identifier: BSD-3-Clause
"""tools/nested runs a command with this machine's files where KVM works."""
import subprocess

import pytest
from guestlab import accelerator, paths


@pytest.fixture(scope="module")
def nested_run():
    """What a shell script in one nested run printed, and its status: {section: text}, status."""
    script = r"""
        echo '== kvm'; ls /dev/kvm
        echo '== folder'; pwd
        echo '== arguments'; for word; do echo "<$word>"; done
        echo '== input'; cat
        echo '== terminal'; test -t 0 || test -t 1 || echo none
        echo '== temporary'; mktemp >/dev/null && echo usable
        echo '== logs'; echo kept >build/test-logs/of-nested
        echo '== writable'; echo lost >build/lost && cat build/lost
        echo '== kept machine'; ls -l /proc/$$/fd | grep -c kvm-vm
        echo '== error'; echo to-stderr >&2
        exit 42
    """
    command = [paths.TREE / "tools/nested", "sh", "-c", script, "sh", "two words", "$quoted'"]
    done = subprocess.run(command, cwd=paths.TREE, capture_output=True, text=True, check=False)
    sections = dict(part.split("\n", 1) for part in done.stdout.split("== ")[1:])
    return sections, done.returncode


def test_status_comes_back(nested_run):
    assert nested_run[1] == 42


@pytest.mark.parametrize(
    "section, expected",
    [
        ("kvm", "/dev/kvm\n"),
        ("folder", f"{paths.TREE}\n"),
        ("arguments", "<two words>\n<$quoted'>\n"),
        ("input", ""),
        ("terminal", "none\n"),
        ("temporary", "usable\n"),
        ("writable", "lost\n"),
        ("error", "to-stderr\n"),
    ],
)
def test_command_runs_as_it_would_here(nested_run, section, expected):
    assert nested_run[0][section] == expected


def test_a_machine_is_kept_in_the_emulated_one(nested_run):
    assert nested_run[0]["kept machine"] == ("0\n" if accelerator() == "kvm" else "1\n")


def test_only_the_logs_come_back(nested_run):
    kept = paths.TEST_LOGS / "of-nested"
    assert kept.read_text() == "kept\n"
    kept.unlink()
    lost = paths.BUILD / "lost"
    assert lost.exists() == (accelerator() == "kvm")  # where KVM works, nested runs things right here
    lost.unlink(missing_ok=True)


def test_usage():
    done = subprocess.run([paths.TREE / "tools/nested"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: nested [-h]" in done.stderr

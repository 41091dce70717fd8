# SPDX-License-Identifier: BSD-3-Clause
"""The comparison of policies with recorded calls."""
import importlib.machinery
import importlib.util
import re
import subprocess
import time

import pytest
from guestlab import paths

LOG = """\
100 openat(0xffffff9c, 0x7ffc, 0x80000, 0) = 0x3
100 clone3(0x7ffc, 0x58)                = 0x65
101 set_robust_list(0x7f10, 0x18)       = 0
100 seccomp(0x1, 0, 0)                  = -0xe
100 seccomp(0x1, 0x1, 0x5590)           = 0
101 close(0x5 <unfinished ...>
100 memfd_create(0x5590, 0x3)           = 0x6
101 <... close resumed>)                = 0
100 tgkill(0x64, 0x64, 0x6)             = 0
100 clone(0x11, 0, 0, 0, 0)             = 0x66
102 socket(0x1, 0x1, 0)                 = 0x7
100 seccomp(0x1, 0x1, 0x5590)           = 0
100 fcntl(0x6, 0x409, 0x4)              = 0
100 mmap(0, 0x1000, 0x3, 0x1, 0x6, 0)   = 0x7f20
"""


@pytest.fixture(scope="module")
def tool():
    loader = importlib.machinery.SourceFileLoader("policies", str(paths.TREE / "tools/policies"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("policies", loader))
    loader.exec_module(module)
    return module


def differences(tool, folder, policy):
    (folder / "one.policy").write_text(policy)
    (folder / "program.100.1.calls").write_text(LOG)
    (folder / "program.100.1.arguments").write_text("--fd=3 ")
    return list(tool.compare(tool.read_policies(folder), folder))


def test_calls_before_the_cell_do_not_count(tool):
    calls = tool.Run().read(LOG.splitlines())
    assert {call for call, *_ in calls} == {"close", "memfd_create", "tgkill", "clone", "socket", "seccomp", "fcntl", "mmap"}


def test_what_lines_and_calls_differ_in_is_told(tool, tmp_path):
    policy = (
        "close\nmemfd_create create\ntgkill a0=self a2=6\nclone a0=0x11\nsocket a0=1\nseccomp\nmmap a2&4=0\n"
        "fcntl a1=1033 create # it has ended\nread\nwrite # spare: for others\nsendmsg a0!=notify\n"
    )
    assert differences(tool, tmp_path, policy) == [
        "program: no line allows fcntl(0x6, 0x409, 0x4)",
        "one.policy: no program used 'fcntl a1=1033 create'",
        "one.policy: no program used 'read'",
        "one.policy: no program used 'sendmsg a0!=notify'",
    ]


def test_a_file_can_be_spare(tool, tmp_path):
    policy = "# spare: for others\nclose\nmemfd_create\ntgkill\nclone\nsocket\nseccomp\nmmap\nfcntl\nread\nwrite a1=3\n"
    assert differences(tool, tmp_path, policy) == []


def test_the_report_ends_with_the_differences(tool, tmp_path, capsys):
    policy = "close\nmemfd_create\ntgkill\nclone\nsocket\nseccomp\nfcntl\nread\nwrite # spare: for others\n"
    differences(tool, tmp_path, policy)
    lines = tool.read_policies(tmp_path)
    assert tool.report(lines, list(tool.compare(lines, tmp_path))) == 1
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "== differences",
        "program: no line allows mmap(0x0, 0x1000, 0x3)",
        "one.policy: no program used 'read'",
        "9 lines: 7 used, 1 spare for a reason, 1 unused; 1 calls without a line",
    ]


def test_all_parts_of_the_suite_with_programs_are_recorded(tool):
    folders = {path.parent.name for path in paths.TREE.glob("tests/*/test_*.py")}
    assert folders - set(tool.PARTS) == {"escape", "models", "session"}  # forbidden calls; no programs in cells
    assert "irqfd and not long" in tool.command("nested")


@pytest.mark.parametrize("condition, holds", [("a0=0x64", True), ("a0=101", False), ("a0&4=4", True), ("a0&4=0", False),
                                              ("a0!=100", False), ("a0!=99", True), ("a0=self", True), ("a1=7", True)])  # fmt: skip
def test_conditions(tool, condition, holds):
    assert tool.holds(condition, (100,), 100) == holds


def test_a_recorded_program_keeps_its_id_and_its_descriptors(tmp_path):
    if subprocess.run(["which", "strace"], capture_output=True, check=False).returncode:
        pytest.skip("strace is not installed")
    done = subprocess.Popen(
        [paths.TREE / "tools/record-calls", tmp_path, "/bin/sh", "-c", "echo $$; echo /proc/$$/fd/*"], stdout=subprocess.PIPE, text=True
    )
    said = done.communicate()[0].splitlines()
    assert said[0] == str(done.pid)
    log = next(tmp_path.glob("sh.*.calls"))
    deadline = time.monotonic() + 30
    while not re.search(rf"^{done.pid} +\+\+\+ exited with 0", log.read_text(), re.MULTILINE):  # strace ends after it
        assert time.monotonic() < deadline, log.read_text()
    assert re.search(rf"^{done.pid} +execve\(", log.read_text(), re.MULTILINE)
    assert next(tmp_path.glob("sh.*.arguments")).read_text().startswith("-c ")

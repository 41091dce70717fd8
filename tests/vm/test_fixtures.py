# SPDX-License-Identifier: BSD-3-Clause
"""The fixtures of conftest.py, in a pytest run of their own: what they promise when a test goes wrong."""
import os
import re
import shutil
import subprocess

import pytest
from guestlab import paths

SAMPLE = """
import os, subprocess

def test_good(logs):
    (logs / "console.log").write_text("good")

def test_bad(logs):
    (logs / "console.log").write_text("bad")
    assert False

def test_bad_with_a_guest(boot):
    boot().run("echo last words >/dev/kmsg")
    assert False

def test_bad_at_the_end(logs, cleanup):
    (logs / "console.log").write_text("bad")
    cleanup.callback(os.stat, "/no/such/file")

KEPT = []  # or the process would be waited for when its object goes

def test_leaves_a_process():
    KEPT.append(subprocess.Popen(["true"]))

def test_leaves_a_descriptor():
    os.open("/dev/null", os.O_RDONLY)

def test_programs_end_with_the_test(spawn, cleanup):
    spawn(["/bin/cat", "/dev/zero"], name="cat")
"""

SHARING_SAMPLE = """
import os, pytest

@pytest.fixture(scope="module")
def shared(shared_logs):
    (shared_logs / "console.log").write_text("shared")

def test_first(shared):
    assert "GOOD" in os.environ

def test_second(shared):
    pass
"""


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """What pytest prints of the sample."""
    yield pytest_run(tmp_path_factory.mktemp("sample"), "test_sample.py", SAMPLE)
    for left in paths.TEST_LOGS.glob("test_sample.py-*"):
        shutil.rmtree(left)


def pytest_run(folder, name, content, **environment):
    """What pytest prints of a file of tests, with the fixtures of this tree."""
    shutil.copy(paths.TREE / "tests/conftest.py", folder)
    (folder / name).write_text(content)
    command = ["/usr/bin/python3", "-m", "pytest", "-v", "-c", paths.TREE / "pytest.ini", "--rootdir", folder, folder]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    return done.stdout


def verdicts(sample, test):
    return re.findall(rf"^test_sample.py::{test} (\w+)", sample, re.MULTILINE)


def test_logs_of_a_good_test_are_removed(sample):
    assert verdicts(sample, "test_good") == ["PASSED"]
    assert not (paths.TEST_LOGS / "test_sample.py-test_good").exists()


@pytest.mark.parametrize("name, expected", [("test_bad", ["FAILED"]), ("test_bad_at_the_end", ["PASSED", "ERROR"])])
def test_logs_of_a_bad_test_are_kept_and_named(sample, name, expected):
    folder = paths.TEST_LOGS / f"test_sample.py-{name}"
    assert verdicts(sample, name) == expected
    assert (folder / "console.log").read_text() == "bad"
    assert f"\n{folder}\n" in sample


def test_the_console_of_a_bad_test_is_kept(sample):
    """Of a guest that was well, to the last line that it said."""
    assert verdicts(sample, "test_bad_with_a_guest") == ["FAILED"]
    guest = paths.TEST_LOGS / "test_sample.py-test_bad_with_a_guest/guest"
    assert (guest / "console.log").read_text().splitlines()[-1].endswith("last words")
    assert (guest / "commands.log").read_text().startswith("$ echo last words")


@pytest.mark.parametrize("environment", [{"GOOD": "1"}, {}], ids=["good", "bad"])
def test_logs_that_tests_share_are_kept_if_one_is_bad(tmp_path, environment):
    folder = paths.TEST_LOGS / "test_sharing.py"
    printed = pytest_run(tmp_path, "test_sharing.py", SHARING_SAMPLE, **environment)
    assert "test_second PASSED" in printed
    if environment:
        assert not folder.exists()
    else:
        assert f"\n{folder}\n" in printed
        assert (folder / "console.log").read_text() == "shared"
        shutil.rmtree(folder)


@pytest.mark.parametrize("name, what", [("test_leaves_a_process", "process"), ("test_leaves_a_descriptor", "descriptor")])
def test_what_is_left_behind_is_an_error(sample, name, what):
    assert verdicts(sample, name) == ["PASSED", "ERROR"]
    assert re.search(rf"left behind: \['{what} \d+", sample)


def test_programs_end_with_the_test(sample):
    assert verdicts(sample, "test_programs_end_with_the_test") == ["PASSED"]

# SPDX-License-Identifier: BSD-3-Clause
"""The fixtures of conftest.py, in a pytest run of their own: what they promise when a test goes wrong."""
import pathlib
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


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """What pytest prints of the sample."""
    folder = tmp_path_factory.mktemp("sample")
    shutil.copy(paths.TREE / "tests/conftest.py", folder)
    (folder / "test_sample.py").write_text(SAMPLE)
    command = ["/usr/bin/python3", "-m", "pytest", "-v", "-c", paths.TREE / "pytest.ini", "--rootdir", folder, folder]
    yield subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout
    for left in paths.TEST_LOGS.glob("test_sample.py-*"):
        shutil.rmtree(left)


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


@pytest.mark.parametrize("name, what", [("test_leaves_a_process", "process"), ("test_leaves_a_descriptor", "descriptor")])
def test_what_is_left_behind_is_an_error(sample, name, what):
    assert verdicts(sample, name) == ["PASSED", "ERROR"]
    assert re.search(rf"left behind: \['{what} \d+", sample)


def test_programs_end_with_the_test(sample):
    assert verdicts(sample, "test_programs_end_with_the_test") == ["PASSED"]

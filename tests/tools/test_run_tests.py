# SPDX-License-Identifier: BSD-3-Clause
"""tools/run-tests counts what real runs of Meson and pytest report, and never takes a broken run for a good one."""
import shutil
import subprocess

import pytest
import results
from guestlab import paths
from results import FAILED, PASSED, SKIPPED

PYTEST_FILE = """
import pytest
def test_good(): pass
def test_bad(): assert False, "for this reason"
@pytest.fixture
def breaks():
    yield
    raise OSError("at the end")
def test_good_until_teardown(breaks): pass
@pytest.mark.skip(reason="no such hardware")
def test_absent(): pass
"""

TAP_PROGRAMS = {
    "good": "echo 1..2; echo ok 1 - one; echo ok 2 - two",
    "bad": "echo 1..2; echo not ok 1 - one; echo ok 2 - two; exit 1",
    "skips": "echo 1..1; echo '# no such hardware'; echo 'not ok 1 # SKIP one'",
    "crashes": "echo 1..3; echo ok 1 - one; kill -SEGV $$",
    "leaks": "echo 1..1; echo ok 1 - one; exit 23",
    "says_nothing": "exit 0",
}


def outcomes(found):
    return {result.name.rpartition(".")[2]: result.outcome for result in found}


def test_pytest_results(tmp_path):
    (tmp_path / "test_sample.py").write_text(PYTEST_FILE)
    junit = tmp_path / "junit.xml"
    command = ["/usr/bin/python3", "-m", "pytest", "-q", f"--junitxml={junit}", "--rootdir", tmp_path, tmp_path]
    subprocess.run(command, capture_output=True, cwd=tmp_path, check=False)
    found = results.of_pytest(junit)
    assert outcomes(found) == {
        "test_good": PASSED,
        "test_bad": FAILED,
        "test_good_until_teardown": FAILED,
        "test_absent": SKIPPED,
    }
    assert [result.reason for result in found if result.outcome == SKIPPED] == ["no such hardware"]


@pytest.fixture(scope="module")
def tap_results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tap")
    recipe = "project('sample')\n"
    for name, script in TAP_PROGRAMS.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
        recipe += f"test('{name}', find_program('{folder / name}'), protocol: 'tap')\n"
    (folder / "meson.build").write_text(recipe)
    for command in (["setup", "build"], ["test", "-C", "build"]):
        subprocess.run(["/usr/bin/meson", *command], cwd=folder, capture_output=True, check=False)
    return results.of_meson(folder / "build/meson-logs/testlog.json")


@pytest.mark.parametrize(
    "program, expected",
    {
        "good": {"good: one": PASSED, "good: two": PASSED},
        "bad": {"bad: one": FAILED, "bad: two": PASSED},
        "skips": {"skips: one": SKIPPED},
        "crashes": {"crashes: one": PASSED, "crashes": FAILED},
        "leaks": {"leaks: one": PASSED, "leaks": FAILED},
        "says_nothing": {"says_nothing": FAILED},
    }.items(),
)
def test_tap_results(tap_results, program, expected):
    assert {name: kind for name, kind in outcomes(tap_results).items() if name.split(":")[0] == program} == expected


def test_reason_of_a_skipped_tap_test(tap_results):
    assert [result.reason for result in tap_results if result.outcome == SKIPPED] == ["no such hardware"]


@pytest.fixture
def tree(tmp_path):
    """A tree with the real run-tests and one passing pytest test; the test writes its `dev` as it needs it."""
    shutil.copytree(paths.TREE / "tools", tmp_path / "tools")
    (tmp_path / "tests/sample").mkdir(parents=True)
    (tmp_path / "tests/sample/test_sample.py").write_text("def test_good(): pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = irqfd\n")
    return tmp_path


def run_tests(tree, *arguments):
    done = subprocess.run([tree / "tools/run-tests", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()[-1]


def test_last_line_and_status(tree):
    assert run_tests(tree, "sample") == (0, "1 passed, 0 failed, 0 skipped")


def test_a_failed_test_fails_the_run(tree):
    (tree / "tests/sample/test_bad.py").write_text("def test_bad(): assert False\n")
    assert run_tests(tree, "sample") == (1, "1 passed, 1 failed, 0 skipped")


def test_a_file_that_does_not_import_fails_the_run(tree):
    (tree / "tests/sample/test_bad.py").write_text("import absent_module\n")
    assert run_tests(tree, "sample")[0] == 1


def test_nothing_selected_fails_the_run(tree):
    assert run_tests(tree, "sample", "-k", "absent") == (1, "0 passed, 0 failed, 0 skipped")


def test_a_part_that_breaks_fails_the_run(tree):
    (tree / "dev").write_text("#!/bin/sh\nexit 3\n")
    (tree / "dev").chmod(0o755)
    assert run_tests(tree, "unit", "sample") == (1, "1 passed, 1 failed, 0 skipped")


def test_a_part_that_kills_itself_fails_the_run(tree):
    (tree / "tests/sample/test_bad.py").write_text("import os\ndef test_bad(): os.kill(os.getpid(), 9)\n")
    assert run_tests(tree, "sample") == (1, "0 passed, 1 failed, 0 skipped")

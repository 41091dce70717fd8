# SPDX-License-Identifier: BSD-3-Clause
"""tools/run-tests counts what real runs of Meson and pytest report, and never takes a broken run for a good one."""
import os
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
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    irqfd\n    long\n")
    return tmp_path


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


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
    script(tree / "dev", "exit 3")
    assert run_tests(tree, "unit", "sample") == (1, "1 passed, 1 failed, 0 skipped")


def test_a_part_that_kills_itself_fails_the_run(tree):
    (tree / "tests/sample/test_bad.py").write_text("import os\ndef test_bad(): os.kill(os.getpid(), 9)\n")
    assert run_tests(tree, "sample") == (1, "0 passed, 1 failed, 0 skipped")


def test_long_tests_are_not_run_by_the_way(tree):
    (tree / "tests/sample/test_long.py").write_text("import pytest\n@pytest.mark.long\ndef test_long(): assert False\n")
    assert run_tests(tree, "sample") == (0, "1 passed, 0 failed, 0 skipped")


def test_checks_and_fuzz_targets_count(tree):
    script(tree / "tools/check", '(echo passed format; echo failed sizes) >>"$OUTBOARD_RESULTS"; exit 1')
    script(tree / "dev", '[ "$*" = "fuzz 5s" ] && echo passed codec >>"$OUTBOARD_RESULTS"')
    assert run_tests(tree, "check") == (1, "1 passed, 1 failed, 0 skipped")
    assert run_tests(tree, "fuzz") == (0, "1 passed, 0 failed, 0 skipped")
    script(tree / "dev", "exit 1")
    assert run_tests(tree, "fuzz") == (1, "0 passed, 1 failed, 0 skipped")


def test_ci_is_checks_fuzzing_and_every_test(tree):
    script(tree / "tools/check", '[ "$#" -gt 3 ] && echo passed "$1" >>"$OUTBOARD_RESULTS"')
    script(tree / "dev", '[ "$1" != fuzz ] || echo failed codec >>"$OUTBOARD_RESULTS"; [ "$1" != fuzz ]')
    script(tree / "tools/nested", "exit 5")
    done = subprocess.run([tree / "tools/run-tests", "ci"], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("== ")] == [
        "== check", "== fuzz", "== unit", "== sample", "== nested", "== sanitized", "== results"]  # fmt: skip
    assert "failed: fuzz: codec" in lines
    assert (done.returncode, lines[-1]) == (1, "2 passed, 1 failed, 0 skipped")


def test_the_scripts_say_what_came_of_each(tree, tmp_path):
    """tools/check and fuzz/run go on after a failure, and their status tells of it."""
    report = tmp_path / "report"
    shutil.copytree(paths.TREE / "fuzz", tree / "fuzz", ignore=shutil.ignore_patterns("corpus"))
    for target, status in (("bad", 1), ("good", 0)):
        (tree / "fuzz/corpus" / target).mkdir(parents=True)
        (tree / "fuzz/corpus" / target / "one").write_text("one")
        (tree / "build/fuzz/fuzz").mkdir(parents=True, exist_ok=True)
        script(tree / f"build/fuzz/fuzz/fuzz_{target}", f'echo "stat::number_of_executed_units: $*" >&2; exit {status}')
    environment = os.environ | {"OUTBOARD_RESULTS": str(report), "FUZZ_SEED": "7"}
    done = subprocess.run([tree / "fuzz/run", "5s"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "fuzz: good, 5s, seed 7" in done.stdout and "-max_total_time=5 -seed=7 " in done.stdout
    assert [(result.name, result.outcome) for result in results.of_lines(report)] == [
        ("report: bad", FAILED), ("report: good", PASSED)]  # fmt: skip
    report.unlink()
    script(tree / "tools/check-includes", "exit 1")
    script(tree / "tools/check-sizes", "exit 0")
    done = subprocess.run([tree / "tools/check", "includes", "sizes"], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "check: failed: includes")
    assert report.read_text() == "failed includes\npassed sizes\n"

# SPDX-License-Identifier: BSD-3-Clause
"""Reads what test runs leave behind: Meson's log of TAP programs, pytest's JUnit file, and lines of scripts."""
import dataclasses
import json
import re
import xml.etree.ElementTree

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclasses.dataclass(frozen=True)
class Result:
    name: str
    outcome: str
    reason: str = ""


def of_meson(log):
    """The results of the programs in a testlog.json, a Result for each TAP subtest."""
    found = []
    for line in log.read_text().splitlines():
        found += _of_program(json.loads(line))
    return found


_TAP = re.compile(
    r"(?P<ok>ok|not ok)\s+\d+\s*(?:- )?(?P<name>[^#]*?)\s*(?:#\s*(?P<skip>SKIP)\s*(?P<why>.*))?$", re.IGNORECASE
)
_TAP_PLAN = re.compile(r"1\.\.(\d+)$")


def _of_program(program):
    found, planned, before = [], None, ""
    for line in program.get("stdout", "").splitlines():
        plan, result = _TAP_PLAN.match(line), _TAP.match(line)
        if plan:
            planned = int(plan[1])
        elif result:
            found.append(_of_tap(program["name"], result, before))
        before = "" if result else line
    if planned is None and not found:  # no TAP: the program as a whole is one test
        passed = program["result"] == "OK"
        return [Result(program["name"], PASSED if passed else FAILED, "" if passed else program["result"])]
    kinds = {result.outcome for result in found}
    # Meson also knows of crashes, leaks found at exit and time limits; but it takes cmocka's "not ok # SKIP" for a failure.
    well = program["result"] in ("OK", "SKIP") or (program["returncode"] == 0 and SKIPPED in kinds)
    if planned != len(found) or not (well or FAILED in kinds):
        reason = f"{program['result']}, status {program['returncode']}, {len(found)} of {planned} results"
        found.append(Result(program["name"], FAILED, reason))
    return found


def _of_tap(program, result, before):
    if result["skip"]:
        # cmocka names the test here and gives no reason; the test prints one before.
        return Result(f"{program}: {result['name'] or result['why']}", SKIPPED, before.lstrip("# ") or result["why"])
    return Result(f"{program}: {result['name']}", PASSED if result["ok"] == "ok" else FAILED)


def of_pytest(junit):
    """The results in pytest's JUnit file."""
    found = []
    for case in xml.etree.ElementTree.parse(junit).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        kinds = {kind.tag: kind.get("message", "") for kind in case}
        if "failure" in kinds or "error" in kinds:
            message = kinds.get("failure", kinds.get("error"))
            found.append(Result(name, FAILED, message.splitlines()[0] if message else ""))
        elif "skipped" in kinds:
            found.append(Result(name, SKIPPED, kinds["skipped"]))
        else:
            found.append(Result(name, PASSED))
    return found


def of_lines(log):
    """The results in a file of lines, "passed NAME" or "failed NAME", that a script has written; it is called for its part."""
    found = []
    for line in log.read_text().splitlines():
        outcome, _, name = line.partition(" ")
        found.append(Result(f"{log.stem}: {name}", PASSED if outcome == PASSED else FAILED))
    return found

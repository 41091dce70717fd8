# SPDX-License-Identifier: BSD-3-Clause
"""The Spin models: their claims hold, and fail where a rule is left out."""
import pathlib
import re
import subprocess

import pytest

MODELS = pathlib.Path(__file__).resolve().parents[2] / "models"
TIMEOUT_S = 600

HANDSHAKE_FAULTS = [
    {"RESTARTS": 1, "LOSSES": 0, "STALE": 0},
    {"RESTARTS": 0, "LOSSES": 1, "STALE": 1},
]


def run(arguments, folder):
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def errors(model, claim, defines, folder):
    """How many errors an exhaustive search finds: of assertions and deadlocks (claim None), or of a claim."""
    words = [f"-D{name}" if value is None else f"-D{name}={value}" for name, value in defines.items()]
    run(["spin", "-a", *words, str(MODELS / model)], folder)
    kind = ["-DNFAIR=12"] if claim else ["-DSAFETY", "-DNOCLAIM"]
    run(["gcc", "-O2", "-w", "-DVECTORSZ=2048", "-DCOLLAPSE", "-DMEMLIM=6000", *kind, "-o", "pan", "pan.c"], folder)
    search = ["./pan", "-m2000000", *(["-a", "-f", "-N", claim] if claim else [])]
    report = run(search, folder)
    # A search that ran out of depth or memory has shown nothing.
    assert "search depth too small" not in report and "out of memory" not in report, report
    return int(re.search(r"errors: (\d+)", report)[1])


@pytest.mark.parametrize("faults", HANDSHAKE_FAULTS, ids=str)
def test_no_byte_of_one_session_reaches_another(faults, tmp_path):
    assert errors("handshake.pml", None, faults, tmp_path) == 0


@pytest.mark.parametrize("faults", [{"LOSSES": 0, "STALE": 0, "RESTARTS": 0}, {"LOSSES": 1, "STALE": 0, "RESTARTS": 0}], ids=str)
def test_a_session_stands_once_the_faults_are_over(faults, tmp_path):
    assert errors("handshake.pml", "stands", faults, tmp_path) == 0


@pytest.mark.parametrize("rule", ["TAG", "SEQUENCE", "RESTART", "ORDER"])
def test_a_handshake_without_a_rule_is_caught(rule, tmp_path):
    assert errors("handshake.pml", None, {f"FORGET_{rule}": None}, tmp_path) == 1


def test_nothing_recorded_convinces_a_clone_and_no_greeting_ends_a_session_with_a_key(tmp_path):
    assert errors("keyed.pml", None, {}, tmp_path) == 0


@pytest.mark.parametrize("change", ["FORGET_DRAW", "FORGET_CHALLENGE", "FORGET_GUARD", "REACH"])
def test_a_handshake_with_a_key_without_a_rule_is_caught(change, tmp_path):
    """REACH: and a session does come to stand, so the claims are about something."""
    assert errors("keyed.pml", None, {change: None}, tmp_path) == 1


def test_memory_is_bounded_and_nothing_deadlocks(tmp_path):
    assert errors("credit.pml", None, {}, tmp_path) == 0


def test_a_stopped_reader_stops_nobody_else(tmp_path):
    assert errors("credit.pml", "mary", {"NO_RESET": None}, tmp_path) == 0


def test_a_reset_is_learnt_by_both_ends(tmp_path):
    assert errors("credit.pml", "reset", {}, tmp_path) == 0


@pytest.mark.parametrize("fault", ["GATED_READS", "NO_CREDIT"])
def test_what_other_multiplexers_do_is_caught(fault, tmp_path):
    assert errors("credit.pml", "mary", {fault: None}, tmp_path) == 1


VIRTQUEUE_WISHES = [{}, {"FLAGS": None}]


@pytest.mark.parametrize("wishes", VIRTQUEUE_WISHES, ids=["event", "flags"])
def test_no_notification_of_a_virtqueue_is_lost(wishes, tmp_path):
    assert errors("virtqueue.pml", None, wishes, tmp_path) == 0


@pytest.mark.parametrize("wishes", VIRTQUEUE_WISHES, ids=["event", "flags"])
@pytest.mark.parametrize("missing", ["NO_SHOW_BARRIER", "NO_WISH_BARRIER", "NO_SECOND_LOOK"])
def test_a_virtqueue_without_a_barrier_loses_one(wishes, missing, tmp_path):
    assert errors("virtqueue.pml", None, {**wishes, missing: None}, tmp_path) > 0


@pytest.mark.parametrize("model", ["succession.pml", "keeper.pml", "completion.pml"])
def test_a_device_outlives_its_process(model, tmp_path):
    assert errors(model, None, {}, tmp_path) == 0


@pytest.mark.parametrize("rule", ["ARMED", "CLEAR", "COMMIT", "ORDER"])
def test_a_hand_over_without_a_rule_is_caught(rule, tmp_path):
    assert errors("succession.pml", None, {f"FORGET_{rule}": None}, tmp_path) == 1


@pytest.mark.parametrize("rule", ["KEEPER", "COLUMN", "OWNER", "CLOSE", "SIGNAL"])
def test_descriptors_without_a_rule_are_lost(rule, tmp_path):
    assert errors("keeper.pml", None, {f"FORGET_{rule}": None}, tmp_path) == 1


@pytest.mark.parametrize("rule", ["BARRIER", "INTENT"])
def test_a_disk_without_a_rule_is_caught(rule, tmp_path):
    assert errors("completion.pml", None, {f"FORGET_{rule}": None}, tmp_path) == 1

# SPDX-License-Identifier: BSD-3-Clause
"""Whether this machine's KVM can be used.

A /dev/kvm proves nothing: some create virtual machines and never get a stock kernel past early boot. So a
guest is really booted, once for each boot of this machine; the answer is kept in build/cache.
"""
import json
import os
import pathlib
import tempfile

from guestlab import kernels, paths
from guestlab.errors import LabError

PROBE_TIMEOUT_S = 10
ANSWER = paths.CACHE / "accelerator.json"

# Who knows the answer says so: nested.py does, where a probe would cost more than the test.
OVERRIDE = "GUESTLAB_ACCELERATOR"


def accelerator():
    """ "kvm" or "tcg": what guests run on here."""
    if os.environ.get(OVERRIDE):
        return os.environ[OVERRIDE]
    question = _question()
    try:
        known = json.loads(ANSWER.read_text())
    except (OSError, ValueError):
        known = {}
    if known.get("question") != question:
        known = {"question": question, "answer": "kvm" if _kvm_boots() else "tcg"}
        _keep(known)
    return known["answer"]


def _question():
    """What the answer depends on."""
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return [boot, kernels.kernel().release, os.access("/dev/kvm", os.R_OK | os.W_OK)]


def _kvm_boots():
    from guestlab.guest import Guest  # which asks us, unless told what to use

    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    with tempfile.TemporaryDirectory(prefix="guestlab-probe-") as logs:
        try:
            with Guest(logs, accel="kvm", boot_timeout=PROBE_TIMEOUT_S):
                return True
        except LabError:
            return False


def _keep(known):
    partial = ANSWER.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(known))
    partial.rename(ANSWER)

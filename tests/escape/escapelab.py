# SPDX-License-Identifier: BSD-3-Clause
"""The runner of deeds that cells refuse (runner.c), and what it prints."""
import dataclasses
import re
import subprocess

import pytest
from guestlab import paths

RELEASE = paths.BUILD / "release"
RUNNER = RELEASE / "tests/escape/escapes"
HOOK = RELEASE / "tests/escape/escape_hook.so"
INSTALLED = paths.BUILD / "root/libexec/outboard"

LINE = re.compile(r"^(ok|not ok) \d+ - ([^:]+): (.*?)(?: # SKIP (.*))?$")


@dataclasses.dataclass
class Outcome:
    verdict: str
    text: str  # "done", "killed CALL" or the name of an errno
    reason: str  # why the deed can't be done without a cell either, or None
    details: list = dataclasses.field(default_factory=list)

    def check_refused(self):
        assert self.verdict == "ok" and not self.reason, "\n".join([self.text, *self.details])

    def check_done(self):
        if self.reason:
            pytest.skip(f"{self.reason}: {self.text}")
        assert (self.verdict, self.text) == ("ok", "done"), "\n".join(self.details)


def outcomes(printed):
    """Of each deed that the runner has tried."""
    found, details = {}, []
    for line in printed.splitlines():
        match = LINE.match(line)
        if match:
            found[match[2]] = Outcome(match[1], match[3], match[4])
            details = found[match[2]].details
        else:
            details.append(line)
    return found


def deeds():
    """Names, and the words behind each: whether it takes a ring, whether a cell refuses it beneath its policy."""
    lines = subprocess.run([RUNNER, "--list"], capture_output=True, text=True, check=True).stdout.splitlines()
    return {name: words for name, *words in (line.split("\t") for line in lines)}


DEEDS = deeds()

# SPDX-License-Identifier: BSD-3-Clause
"""Where things are in this tree."""
import os
import pathlib

TREE = pathlib.Path(__file__).resolve().parents[2]
# tools/policies has another one, whose programs are recorded.
OVERRIDE = "OUTBOARD_BUILD"
BUILD = pathlib.Path(os.environ.get(OVERRIDE, TREE / "build"))
CACHE = BUILD / "cache"
TEST_LOGS = BUILD / "test-logs"

# Debian keeps depmod and friends where an ordinary user's PATH does not look.
TOOL_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"

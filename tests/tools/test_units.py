# SPDX-License-Identifier: BSD-3-Clause
"""tests/unit mirrors src: folders whose files have unit tests, each under its own name, keep them."""
import re

import pytest
from guestlab import paths

UNITS = paths.TREE / "tests/unit"


@pytest.mark.parametrize("folder", ["proxy", "remote"])
def test_each_file_has_unit_tests(folder):
    files = {path.stem for path in (paths.TREE / "src" / folder).glob("*.c")}
    tested = {path.name.removesuffix("_test.c") for path in (UNITS / folder).glob("*_test.c")}
    assert sorted(files - tested) == []


def test_each_unit_test_is_run():
    listed = set(re.findall(r"^  '([\w/]+)':", (UNITS / "meson.build").read_text(), re.MULTILINE))
    for own in UNITS.glob("*/meson.build"):  # a folder with a list of its own names its files there
        listed |= {f"{own.parent.name}/{name}" for name in re.findall(r"'(\w+)'", own.read_text())}
    found = {str(path.relative_to(UNITS)).removesuffix("_test.c") for path in UNITS.glob("*/*_test.c")}
    assert sorted(name for name in found - listed) == []

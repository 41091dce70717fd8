# SPDX-License-Identifier: BSD-3-Clause
"""The README shows the tree as it is."""
import re

from guestlab import paths

README = (paths.TREE / "README.md").read_text()


def test_the_device_shown_is_the_example():
    example = (paths.TREE / "examples/led.c").read_text()
    assert example in README
    assert len(example.splitlines()) < 80


def test_every_link_leads_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (paths.TREE / link).exists()] == []

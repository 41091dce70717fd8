# SPDX-License-Identifier: BSD-3-Clause
"""The manual pages: one dialect, the section of their name, installed, and references that lead somewhere."""
import re

import pytest
from guestlab import paths

PAGES = sorted((paths.TREE / "man").glob("*.[1-8]"))
INSTALLED = paths.BUILD / "root/share/man"
DEVICE_PROGRAMS = ("outboard-backdoor", "outboard-blk", "outboard-disk", "outboard-nvme", "outboard-rng", "outboard-vmchannel",
                   "outboard-vsock")  # fmt: skip


def reference(page):
    """What others write behind .Xr for it."""
    return f"{page.stem} {page.suffix[1:]}"


def test_there_are_pages_of_each_section():
    assert {page.suffix for page in PAGES} == {".1", ".5", ".7", ".8"}
    assert {page.stem for page in PAGES if page.suffix == ".8"} == {*DEVICE_PROGRAMS, "outboard-ctl", "outboard-keep", "outboard-run", "outboard-save", "outboard-top"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page):
    text = page.read_text()
    assert text.splitlines()[1].startswith(".Dd ") and not re.search(r"^\.(TH|SH|TP|BR?|IR?) ", text, re.MULTILINE), (
        f"{page.name}: not mdoc(7)"
    )
    assert f"\n.Dt {page.stem.upper()} {page.suffix[1:]}\n" in text
    assert (INSTALLED / f"man{page.suffix[1:]}" / page.name).read_text() == text
    known = {reference(other) for other in PAGES}
    ours = [name for name in re.findall(r"^\.Xr (\S+ \d)", text, re.MULTILINE) if re.match("outboard|backdoor", name)]
    assert [name for name in ours if name not in known] == []
    assert reference(page) not in text.partition(".Sh SEE ALSO")[2]


def test_every_page_is_in_the_overview():
    overview = (paths.TREE / "man/outboard.7").read_text()
    missing = [page.name for page in PAGES if page.name != "outboard.7" and not re.search(rf"Xr {reference(page)}\b", overview)]
    assert missing == []


def test_other_texts_name_a_page_by_its_section():
    """As in outboard-nvme(8); the units and the Markdown too."""
    known = {f"{page.stem}({page.suffix[1:]})" for page in PAGES}
    named = {}
    for text in [*paths.TREE.glob("*.md"), *(paths.TREE / "docs").glob("*.md"), *(paths.TREE / "share").rglob("*.service")]:
        for name in re.findall(r"\b(?:outboard[a-z-]*|backdoor)\(\d\)", text.read_text()):
            named[name] = text.name
    assert named and set(named) <= known, named

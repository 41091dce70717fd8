# SPDX-License-Identifier: BSD-3-Clause
"""The check of words and sentences, and the files that ARCHITECTURE.md names."""
import importlib.machinery
import importlib.util
import re
import runpy
import subprocess

import prose
import pytest
from guestlab import paths

TOOL = paths.TREE / "tools/check-words"


def check_words():
    loader = importlib.machinery.SourceFileLoader("check_words", str(TOOL))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("check_words", loader))
    loader.exec_module(module)
    return module


def test_the_tree_keeps_to_the_words():
    done = subprocess.run([TOOL], cwd=paths.TREE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_words_are_found_across_lines_and_comment_marks():
    found = list(check_words().found_in("/* It goes\n * on,\n * in\n * vain. Whoever\n */\nsomewhat\nthere is none"))
    assert found == [(1, "goes on"), (3, "in vain"), (4, "Whoever"), (7, "is none")]


def test_a_file_with_such_a_word_is_told_by_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("One.\nIt does what it must.\n")
    done = subprocess.run([TOOL, page], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, f'{page}:2: got "what"; name the thing, or put the condition first\n')


def test_a_sentence_that_is_too_long_is_told_by_its_beginning(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("Short.\n\nA sentence of twenty-six words " + "word " * 20 + "ends.\n\nOne of 25 " + "word " * 21 + "ends.\n")
    done = subprocess.run([TOOL, page], capture_output=True, text=True)
    told = f'{page}:3: "A sentence of twenty-six words word ...": got 26 words, expected at most 25; '
    assert (done.returncode, done.stdout) == (1, told + "make two sentences, a list or a table of it\n")


PAGES = {
    "page.md": """# A heading, which is no sentence
One sentence
over two lines (`a piece
of code.` is one word). [A link](https://example.org/a.b) is its text.
- an item
  with a second line
1. another one

| a table. | is left out. |
|---|---|

    indented code. is left out.

```
fenced code. is left out.
```
The end""",
    "page.8": """.Sh DESCRIPTION
The option
.Fl -fd Ns = Ns Ar n .
Another
.Xr outboard 7
page
.Pp
A paragraph
.Bd -literal -offset indent
literal text. is left out.
.Ed
.It Fl -help
An item.""",
    "page.h": """// one line. is left out.
/*
 * The theory. Of two
 * sentences.
 *
 *     code(); // left out.
 *
 * @name: an argument
 *        with a second line.
 *
 * Returns 0, -EINVAL when wrong, or
 * -ENOMEM.
 * - an item
 */
/** One line of it. */
int code; /* behind code */
""",
}
SENTENCES = {
    "page.md": [(2, 9), (4, 5), (5, 6), (7, 2), (17, 2)],
    "page.8": [(2, 3), (4, 3), (8, 2), (13, 2)],
    "page.h": [(3, 2), (3, 3), (8, 7), (11, 2), (11, 4), (12, 1), (13, 2), (15, 4), (16, 2)],
}


@pytest.mark.parametrize("name", PAGES)
def test_sentences_leave_out_code_and_tables(name, tmp_path):
    page = tmp_path / name
    page.write_text(PAGES[name])
    assert [(sentence.line, sentence.length) for sentence in prose.sentences(page)] == SENTENCES[name]


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "docs/decisions.md"])
def test_a_page_names_files_that_are_there(page):
    text = (paths.TREE / page).read_text()
    folders = [paths.TREE, paths.TREE / "src", paths.TREE / "devices/nvme", paths.TREE / "src/device", paths.TREE / "src/program"]
    named = set(re.findall(r"`([\w/-]+\.[ch])`", text))
    assert len(named) > 10
    assert [name for name in sorted(named) if not any((folder / name).exists() for folder in folders)] == []


def test_architecture_is_one_page():
    assert len((paths.TREE / "ARCHITECTURE.md").read_text().splitlines()) <= 140


def test_architecture_has_the_layers_that_the_include_check_knows():
    rules = runpy.run_path(str(paths.TREE / "tools/check-includes"))["ALLOWED"]
    rows = re.findall(r"^\| `src/(\w+)/` \|.*\| ([\w ]+) \|$", (paths.TREE / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    told = {layer: set(may.split()) - {"libc"} for layer, may in rows}
    layers = {path.name for path in (paths.TREE / "src").iterdir() if path.is_dir()}
    assert told.keys() == layers
    assert told == {layer: rules[layer] & layers for layer in layers}

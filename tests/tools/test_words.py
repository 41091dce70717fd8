# SPDX-License-Identifier: BSD-3-Clause
"""The check of words, and the files that ARCHITECTURE.md names."""
import importlib.machinery
import importlib.util
import re
import subprocess

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


def test_architecture_names_files_that_are_there():
    text = (paths.TREE / "ARCHITECTURE.md").read_text()
    folders = [paths.TREE, paths.TREE / "src", paths.TREE / "devices/nvme", paths.TREE / "src/device", paths.TREE / "src/program"]
    named = set(re.findall(r"`([\w/-]+\.[ch])`", text))
    assert len(named) > 30
    assert [name for name in sorted(named) if not any((folder / name).exists() for folder in folders)] == []

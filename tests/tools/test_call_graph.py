# SPDX-License-Identifier: BSD-3-Clause
"""tools/check-includes sees who calls whom in a folder, and refuses a circle."""
import subprocess

import call_graph
from guestlab import paths

FILES = {
    "top.c": "int top_start(void)\n{\n    return middle_go(&bottom_table);\n}\n",
    "middle.c": "static int helper(void)\n{\n    return 0;\n}\n\nint middle_go(const struct top *top)\n{\n    return helper() + top->top_start;\n}\n",
    "bottom.c": "/* top_start() is not called here. */\nconst struct table bottom_table = {\n    .size = 1,\n};\n\nstatic int helper(void)\n{\n    return 0;\n}\n",
}


def write(folder, files):
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_who_calls_whom(tmp_path):
    calls = call_graph.graph(write(tmp_path / "src/part", FILES))
    assert calls == {"top": {"middle": ["middle_go"], "bottom": ["bottom_table"]}, "middle": {}, "bottom": {}}
    assert call_graph.circles(calls) == []


def test_a_circle(tmp_path):
    files = dict(FILES, **{"bottom.c": FILES["bottom.c"] + "\nint bottom_up(void)\n{\n    return top_start();\n}\n"})
    calls = call_graph.graph(write(tmp_path / "src/part", files))
    assert call_graph.circles(calls) == [["bottom", "top"]]


def test_the_check_refuses_a_circle(tmp_path):
    write(tmp_path / "src/base", {"a.c": "int a(void)\n{\n    return b();\n}\n", "b.c": "int b(void)\n{\n    return a();\n}\n"})
    (tmp_path / "include").mkdir()
    done = subprocess.run([paths.TREE / "tools/check-includes", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "src/base: a circle of 2 files: a calls b (b); b calls a (a)" in done.stdout


def test_the_check_refuses_the_inside_of_another_folder(tmp_path):
    write(tmp_path / "src/memory", {"own.c": '#include "memory/internal.h"\n', "internal.h": ""})
    write(tmp_path / "src/device", {"other.c": '#include "memory/internal.h"\n'})
    done = subprocess.run([paths.TREE / "tools/check-includes", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == f'{tmp_path}/src/device/other.c:1: "memory/internal.h" is for the files of its own folder\n'


def test_the_tree_has_none_where_none_is_known():
    done = subprocess.run([paths.TREE / "tools/check-includes"], cwd=paths.TREE, capture_output=True, text=True, check=False)
    assert done.stdout == "include rules: kept\n"

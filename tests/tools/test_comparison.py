# SPDX-License-Identifier: BSD-3-Clause
"""Two long values that differ are told in a line, at once."""
import subprocess

import comparison
import pytest
from guestlab import paths

LONG = 1 << 20

TESTS = f"""
import os
import comparison
comparison.install()
zeroes, noise, text = bytes({LONG}), os.urandom({LONG}), "line\\n" * {LONG}
def test_bytes(): assert noise == zeroes
def test_bytearrays(): assert bytearray(noise) == memoryview(zeroes)
def test_within_others(): assert (1, [noise]) == (1, [zeroes])
def test_texts(): assert text == text[:-1] + "x"
def test_short(): assert [1, 2] == [1, 3]
"""


def test_a_failed_comparison_takes_a_line(tmp_path):
    """pytest alone makes a text of each byte and looks for the difference of a million lines with another million."""
    (tmp_path / "test_sample.py").write_text(TESTS)
    command = ["/usr/bin/python3", "-m", "pytest", "-v", "--tb=native", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path]
    command[4:4] = ["-c", "/dev/null", "-o", f"pythonpath={paths.TREE}/tools"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert "5 failed" in done.stdout
    assert f"AssertionError: assert {LONG} bytes, which differ from 0x" in done.stdout
    assert f"AssertionError: assert {5 * LONG} characters, which differ from {5 * LONG - 1:#x} on: '\\n' and 'x'" in done.stdout
    assert "At index 1 diff: 2 != 3" in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 600
    assert len(done.stdout) < 16000


@pytest.mark.parametrize("left, right, line", [
    (bytes(100), bytes(99) + b"\1", "100 bytes, which differ from 0x63 on: 00 and 01"),
    (bytes(100), bytes(90), "100 and 90 bytes, which differ from 0x5a on: 00 00 00 00 00 00 00 00 00 00 and nothing"),
    (b"a" * 4096, b"b" * 4096, f"4096 bytes, which differ from 0x0 on: {'61 ' * 16}... and {'62 ' * 16}..."),
    (bytes(64), b"", None),
    ("a" * 3000, "b", f"3000 and 1 characters, which differ from 0x0 on: '{'a' * 64}' ... and 'b'"),
    ("a" * 2000, "b", None),
    ([1], [2], None),
])  # fmt: skip
def test_the_line(left, right, line):
    assert comparison.in_a_line("==", left, right) == line

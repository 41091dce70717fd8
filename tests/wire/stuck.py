# SPDX-License-Identifier: BSD-3-Clause
"""Standard errors that nobody reads."""
import contextlib
import fcntl
import os
import re

SIZE = 4096


@contextlib.contextmanager
def full_pipe():
    """(reading end, writing end): a pipe without room, whose writers would wait."""
    reading, writing = os.pipe()
    assert fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, SIZE) == SIZE
    os.write(writing, b"x" * SIZE)
    try:
        yield reading, writing
    finally:
        os.close(writing)
        os.close(reading)


@contextlib.contextmanager
def gone_reader():
    """The writing end of a pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)


def drain(reading):
    """Reads what there is until now."""
    os.set_blocking(reading, False)
    data = b""
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(reading, 65536):
            data += piece
    return data.lstrip(b"x").decode()


def assert_clean(text, program):
    """Each line of a log is the program's and printable, whatever a peer has sent."""
    assert text.endswith("\n")
    for line in text.splitlines():
        assert line.startswith(f"{program}: "), line
    assert re.fullmatch(r"[ -~\n]*", text), text


def without(descriptors, folder, program):
    """A script that starts a program without some descriptors: "2", "012"."""
    path = folder / f"without-{descriptors}"
    path.write_text(f'#!/bin/sh\nexec {program} "$@" {" ".join(f"{number}>&-" for number in descriptors)}\n')
    path.chmod(0o755)
    return path

# SPDX-License-Identifier: BSD-3-Clause
"""outboard ctl and top at a socket that is no outboard run's, or one that was taken over: they end, and print no control character."""
import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import termios
import threading

import pytest
from machinelab import OUTBOARD

GREETING = b'{"outboard": {"version": "0", "machine": "m\\u001b[2J\\u009b", "pid": 1, "capabilities": ["events"]}}\n'
ESCAPES = "\x1b[2J\x9b1m\x7f\r\n\x07" + "x" * 300
TABLE = [{"device": ESCAPES, "state": ESCAPES, "pid": 2**64 - 1, ESCAPES: ESCAPES, "io-times": {"counts": [1] * 3, "first-ns": 1},
          "message-times": {"counts": [2**64 - 1] * 100, "sum-ns": 1}}] * 3  # fmt: skip
COMMANDS = {"list": ["ctl", "list"], "stats": ["ctl", "stats"], "status": ["ctl", "status"], "json": ["ctl", "--json", "list"],
            "prometheus": ["ctl", "prometheus"], "top": ["top", "--once"], "upgrade": ["upgrade", "d"]}  # fmt: skip


class Server:
    """Listens, and has `talk(connection)` for each client, in a thread. A context manager."""

    def __init__(self, path, talk):
        self.path, self.talk = path, talk
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with connection, contextlib.suppress(OSError):
                    self.talk(connection)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


def run(path, words):
    return subprocess.run([OUTBOARD, words[0], f"--vm={path}", *words[1:]], stdin=subprocess.DEVNULL, capture_output=True, check=False)


def is_plain(text):
    return all(byte == 10 or 32 <= byte < 127 for byte in text)


def answering(answer):
    """Greets, and gives this answer to each line."""

    def talk(connection):
        connection.sendall(GREETING)
        for _ in connection.makefile("rb"):
            connection.sendall(answer)

    return talk


def endlessly(*words):
    """Sends the first words, then the last of them without an end."""

    def talk(connection):
        connection.sendall(b"".join(words[:-1]))
        while True:
            connection.sendall(words[-1] * 1000)

    return talk


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("value", [TABLE, {"state": ESCAPES, ESCAPES: ESCAPES, "uptime-ms": 2**64 - 1}, [1, [], {}, None, ESCAPES], [], {},
                                   ESCAPES, 5, None, True, [[]], [{"device": 1, "counts": 5, "message-times": 1, "io-times": {"counts": {}}}],
                                   {"device": []}], ids=lambda value: type(value).__name__ + str(len(str(value))))  # fmt: skip
def test_any_value_for_an_answer(tmp_path, command, value):
    """Whatever it is, no byte of it reaches the terminal as a control."""
    with Server(tmp_path / "control", answering(json.dumps({"return": value}).encode() + b"\n")):
        done = run(tmp_path / "control", COMMANDS[command])
    assert done.returncode in (0, 1) and is_plain(done.stdout) and is_plain(done.stderr), done


def test_an_error_and_an_event(tmp_path):
    error = json.dumps({"error": {"class": "x", "desc": ESCAPES}}).encode() + b"\n"
    event = json.dumps({"event": ESCAPES, "data": {ESCAPES: ESCAPES, "a": {}}}).encode() + b"\n"
    with Server(tmp_path / "control", answering(error)):
        done = run(tmp_path / "control", COMMANDS["list"])
        assert done.returncode == 1 and is_plain(done.stderr) and b"\\033[2J" in done.stderr

    def talk(connection):
        connection.sendall(GREETING)
        connection.makefile("rb").readline()
        connection.sendall(b'{"return": {}}\n' + event * 10)

    with Server(tmp_path / "events", talk):
        done = run(tmp_path / "events", ["ctl", "events"])
    assert done.returncode == 0 and is_plain(done.stdout) and done.stdout.count(b"\\033[2J") >= 10


@pytest.mark.parametrize("command", ["list", "prometheus", "top", "upgrade"])
@pytest.mark.parametrize("talk", [
    endlessly(b"garbage"), endlessly(b" \n"), endlessly(b'{"'), endlessly(b"[" * 10), endlessly(GREETING),
    endlessly(GREETING, b"\xff"), endlessly(GREETING, b"\n"), endlessly(GREETING, b'{"return": "', b"x" * 100),
    endlessly(GREETING, b'{"event": "E", "data": {}}\n'), endlessly(GREETING, b"{}"), endlessly(GREETING, b'{"return": [', b"0,"),
    lambda connection: None, lambda connection: connection.sendall(GREETING[:20]), lambda connection: connection.sendall(GREETING),
    lambda connection: connection.sendall(GREETING + b'{"return": [{"device"'),
    lambda connection: connection.sendall(b'{"QMP": {}}\n'),
], ids=["garbage", "space", "string", "deep", "greetings", "noise", "lines", "long-string", "events", "empty", "long-array", "closed",
        "half-greeting", "no-answer", "half-answer", "other"])  # fmt: skip
def test_words_that_are_no_answer(tmp_path, talk, command):
    """An end with a sentence, though the other side never ends or never begins."""
    with Server(tmp_path / "control", talk):
        done = run(tmp_path / "control", COMMANDS[command])
    assert done.returncode == 1 and done.stdout == b"" and is_plain(done.stderr), done
    assert b"control" in done.stderr


def test_silence_before_the_greeting(tmp_path):
    """Not for ever: it is told after 2 s."""
    with Server(tmp_path / "control", lambda connection: connection.recv(1)):
        done = run(tmp_path / "control", COMMANDS["list"])
    assert done.returncode == 1 and b"can't connect" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_top_ends_while_nobody_answers(tmp_path, number):
    """Half an answer, then silence: a signal ends it at once, and the terminal is as it was."""
    asked = threading.Event()

    def talk(connection):
        connection.sendall(GREETING)
        connection.makefile("rb").readline()
        connection.sendall(b'{"return": [{"dev')
        asked.set()
        connection.recv(1)

    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    try:
        with Server(tmp_path / "control", talk):
            top = subprocess.Popen([OUTBOARD, "top", f"--vm={tmp_path}/control"], stdin=theirs, stdout=theirs)
            asked.wait()
            top.send_signal(number)
            assert top.wait() == 0
        assert termios.tcgetattr(theirs) == before
        assert os.read(ours, 4096).endswith(b"\x1b[?25h\x1b[?1049l")
    finally:
        os.close(theirs)
        os.close(ours)


def test_top_tells_why_it_ended(tmp_path):
    """The server's end is told after the screen was left, where a person reads it."""
    ours, theirs = pty.openpty()
    try:
        with Server(tmp_path / "control", lambda connection: connection.sendall(GREETING)):
            top = subprocess.Popen([OUTBOARD, "top", f"--vm={tmp_path}/control"], stdin=theirs, stdout=theirs, stderr=theirs)
            assert top.wait() == 1
        seen = b""
        while b"has ended\r\n" not in seen:
            seen += os.read(ours, 4096)
    finally:
        os.close(theirs)
        os.close(ours)
    assert seen.index(b"outboard run has ended") > seen.index(b"\x1b[?1049l")

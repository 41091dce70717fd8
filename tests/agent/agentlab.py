# SPDX-License-Identifier: BSD-3-Clause
"""Clients of an agent: each speaks qemu-ga's wire at a Unix socket."""
import base64
import collections
import contextlib
import json
import random
import selectors
import socket

from guestlab import paths

AGENT = paths.BUILD / "root/bin/outboard-agent"
PROGRAM = paths.BUILD / "root/bin/outboard"
PATIENCE_S = 60  # for what takes milliseconds, on a machine with other things to do
RESET = b"\xff"


class AgentError(Exception):
    """An error that the agent has answered."""

    def __init__(self, error):
        super().__init__(error["desc"])
        self.kind = error["class"]
        self.desc = error["desc"]


class Client:
    """One connection."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_S)
        try:
            self.sock.connect(str(path))
        except OSError:
            self.sock.close()
            raise
        self._lines = self.sock.makefile("rb")

    def close(self):
        self._lines.close()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, command, arguments=None, **members):
        request = {"execute": command} | ({"arguments": arguments} if arguments is not None else {}) | members
        self.sock.sendall(json.dumps(request).encode() + b"\n")

    def receive_line(self):
        """The bytes of the next answer."""
        return self._lines.readline()

    def receive(self):
        """The next answer, whole."""
        line = self.receive_line()
        if not line.endswith(b"\n"):
            raise ConnectionError(f"{line!r} and then the end")
        return json.loads(line.removeprefix(RESET))

    def answer(self):
        """What the next answer returns; an AgentError."""
        answer = self.receive()
        if "error" in answer:
            raise AgentError(answer["error"])
        return answer["return"]

    def ask(self, command, **arguments):
        """Arguments have _ for -."""
        self.send(f"guest-{command}", {name.replace("_", "-"): value for name, value in arguments.items()})
        return self.answer()

    def run(self, *words, **options):
        """A command to its end: its status."""
        pid = self.ask("exec", path=words[0], arg=list(words[1:]), **options)["pid"]
        while not (status := self.ask("exec-status", pid=pid))["exited"]:
            pass
        return status


def wait_listening(path, process):
    """Until a program that tells nobody listens at a path."""
    while process.running:
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError), socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            return
    raise AssertionError(process.log_tail())


def encode(data):
    return base64.b64encode(data).decode()


def decode(text):
    return base64.b64decode(text)


class Caller(Client):
    """A stream to a service of the other end that has the agent's wire, through a control socket."""

    def __init__(self, control, service):
        super().__init__(control)
        self.sock.sendall(f"OPEN {service}\n".encode())
        self.opened = self.receive_line().decode().rstrip("\n")
        if self.opened != "OK":
            self.close()
            raise ConnectionError(self.opened)

    def call(self, command, **arguments):
        """Arguments have _ for -. What it returns; an AgentError."""
        self.send(command, {name.replace("_", "-"): value for name, value in arguments.items()})
        return self.answer()


KINDS = ("kept", "delimited", "per-command")
Storm = collections.namedtuple("Storm", "requests vanished")


class Asker:
    """A client that asks by its own numbers, vanishes at times in the midst of a request, and comes again."""

    def __init__(self, path, number, kind, requests, patience_s):
        self.path, self.number, self.kind, self.left = path, number, kind, requests
        self.patience_s = patience_s
        self.random = random.Random(number)
        self.client, self.expected = None, None
        self.asked, self.vanished = 0, 0
        self.vanishes = number % 2 == 0

    def ask(self):
        """Sends the next request; afterwards an answer is expected, unless the client has vanished."""
        self.left -= 1
        self.asked += 1
        if self.client is None:
            self.client = Client(self.path)
            self.client.sock.settimeout(self.patience_s)
        self.expected = self.number * 1_000_000 + self.left
        command = "guest-sync-delimited" if self.kind == "delimited" else "guest-sync"
        request = json.dumps({"execute": command, "arguments": {"id": self.expected}}).encode() + b"\n"
        if self.vanishes and self.random.random() < 0.2:
            self.client.sock.sendall(request[: self.random.randrange(len(request) + 1)])
            self.vanished += 1
            self.leave()
            return
        self.client.sock.sendall((b"\xff" if self.kind == "delimited" else b"") + request)

    def leave(self):
        self.client.close()
        self.client = None

    def check(self):
        assert self.client.answer() == self.expected
        if self.kind == "per-command":
            self.leave()


def ask_as_many(path, requests, clients=100, patience_s=PATIENCE_S):
    """Clients of three kinds, of which half vanish at times, ask at once, and each checks its answers; how many requests there
    were, and after how many a client had gone."""
    askers = [Asker(path, number, KINDS[number % 3], requests // clients, patience_s) for number in range(clients)]
    with selectors.DefaultSelector() as selector:
        waiting = 0
        pending = list(askers)
        while pending or waiting:
            for asker in pending:
                while asker.left > 0:
                    asker.ask()
                    if asker.client:
                        selector.register(asker.client.sock, selectors.EVENT_READ, asker)
                        waiting += 1
                        break
            pending = []
            ready = selector.select(patience_s) if waiting else ()
            assert ready or not waiting, f"{waiting} clients have no answer"
            for key, _ in ready:
                selector.unregister(key.fileobj)
                waiting -= 1
                key.data.check()
                pending.append(key.data)
    for asker in askers:
        if asker.client:
            asker.leave()
    return Storm(sum(asker.asked for asker in askers), sum(asker.vanished for asker in askers))

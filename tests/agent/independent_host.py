# SPDX-License-Identifier: BSD-3-Clause
"""A host of outboard-agent, written from docs/agent.md and docs/session-protocol.md alone.

It has the standard library of Python, and tests/session/independent_peer.py, which was written from the second text.
"""
import base64
import json
import os
import struct

from independent_peer import ACCEPT, BYE, CREDIT, DATA, FIN, GOAWAY, OPEN, PING, PONG, REFUSE, RESET, Peer

WINDOW = 1 << 20
AGENT, HOST = b"@agent", b"@host"
NO_SERVICE = 2
FF = b"\xff"


class Refused(Exception):
    """The other end has refused a stream, or reset it; the argument is the reason."""


class Stream:
    """One stream to the agent: requests and answers."""

    def __init__(self, host, number):
        self.host, self.number = host, number
        self.got, self.taken, self.sent, self.limit = b"", 0, 0, None
        self.over = None  # the reason of its end
        self.finished = False

    def say(self, data):
        """Bytes, as far as the other end has given credit."""
        while data:
            while self.sent == self.limit:
                self.host.turn()
            piece = data[: min(self.limit - self.sent, 16384)]
            self.host.peer.send(DATA, piece, self.number)
            self.sent += len(piece)
            data = data[len(piece) :]
            self.host.flush()

    def line(self):
        """The next line of answers."""
        while b"\n" not in self.got:
            if self.over is not None:
                raise Refused(self.over)
            if self.finished:
                raise ConnectionError("the stream has ended")
            self.host.turn()
        line, self.got = self.got.split(b"\n", 1)
        self.taken += len(line) + 1
        self.host.peer.send(CREDIT, struct.pack("<QI", self.taken, WINDOW), self.number)
        self.host.flush()
        return line

    def answer(self):
        return json.loads(self.line().removeprefix(FF))

    def ask(self, command, arguments=None, **members):
        """The whole answer of a request."""
        request = {"execute": command} | ({} if arguments is None else {"arguments": arguments}) | members
        self.say(json.dumps(request).encode() + b"\n")
        return self.answer()

    def close(self):
        self.host.peer.send(RESET, struct.pack("<I", 1), self.number)
        self.host.flush()
        del self.host.streams[self.number]


class Host:
    """One end of a session over a connected socket, with the service @host."""

    def __init__(self, sock, offers_host=True):
        self.sock = sock
        self.offers_host = offers_host
        self.peer = Peer(int.from_bytes(os.urandom(8), "little") or 1, line=False)
        self.streams, self.asked, self.calls = {}, {}, []
        self.ended = False
        self.flush()
        while self.peer.tag is None:
            self.turn()
        self.next_id = 2 if self.peer.nonce > self.peer.theirs else 1

    def flush(self):
        data, self.peer.out = self.peer.out, b""
        self.sock.sendall(data)

    def turn(self):
        """Waits for bytes, and deals with the frames in them."""
        data = self.sock.recv(1 << 16)
        if not data:
            raise ConnectionError("the channel has ended")
        self.peer.take(data)
        frames, self.peer.frames = self.peer.frames, []
        for kind, number, payload in frames:
            self.take(kind, number, payload)
        self.flush()

    def take(self, kind, number, payload):
        if kind == PING:
            self.peer.send(PONG, payload)
        elif kind == OPEN:
            self.take_open(number, payload)
        elif kind in (BYE, GOAWAY):
            self.ended = True
        elif number in self.asked:
            self.serve(number, kind, payload)
        elif number in self.streams:
            self.deliver(self.streams[number], kind, payload)

    def deliver(self, stream, kind, payload):
        if kind == ACCEPT:
            stream.limit = struct.unpack("<I", payload)[0]
        elif kind in (REFUSE, RESET):
            stream.over = struct.unpack("<I", payload)[0]
        elif kind == DATA:
            stream.got += payload
        elif kind == CREDIT:
            consumed, window = struct.unpack("<QI", payload)
            stream.limit = consumed + window
        elif kind == FIN:
            stream.finished = True

    def open(self, service=AGENT, caller=b""):
        """A Stream; Refused."""
        stream = self.streams[self.next_id] = Stream(self, self.next_id)
        payload = struct.pack("<IHH", WINDOW, len(service), len(caller)) + service + caller
        self.peer.send(OPEN, payload, self.next_id)
        self.next_id += 2
        self.flush()
        while stream.limit is None and stream.over is None:
            self.turn()
        if stream.over is not None:
            raise Refused(stream.over)
        return stream

    # The other direction: the service @host.

    def take_open(self, number, payload):
        length = struct.unpack("<H", payload[4:6])[0]
        if payload[8 : 8 + length] == HOST and self.offers_host:
            self.asked[number] = {"rest": b"", "taken": 0, "sent": 0}
            self.peer.send(ACCEPT, struct.pack("<I", WINDOW), number)
        else:
            self.peer.send(REFUSE, struct.pack("<I", NO_SERVICE), number)

    def serve(self, number, kind, payload):
        state = self.asked[number]
        if kind == DATA:
            state["rest"] += payload
            state["taken"] += len(payload)
            self.peer.send(CREDIT, struct.pack("<QI", state["taken"], WINDOW), number)
            while b"\n" in state["rest"]:
                line, state["rest"] = state["rest"].split(b"\n", 1)
                answer = json.dumps(self.carry_out(json.loads(line))).encode() + b"\n"
                self.peer.send(DATA, answer, number)
                state["sent"] += len(answer)
        elif kind == FIN:
            self.peer.send(FIN, struct.pack("<Q", state["sent"]), number)
            del self.asked[number]
        elif kind == RESET:
            del self.asked[number]

    def carry_out(self, request):
        command, arguments = request["execute"], request.get("arguments", {})
        self.calls.append((command, arguments))
        if command == "host-hello":
            return {"return": {"boot-id": "independent", "version": "1", "capabilities": ["host-ping", "host-hello", "host-event"]}}
        if command in ("host-ping", "host-event"):
            return {"return": {}}
        return {"error": {"class": "CommandNotFound", "desc": f"no {command}"}}

    def wait_call(self, command, **arguments):
        """Until the agent has called this; its arguments."""
        while True:
            for called, given in self.calls:
                if called == command and arguments.items() <= given.items():
                    return given
            self.turn()


def decode(text):
    return base64.b64decode(text)

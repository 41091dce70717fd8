# SPDX-License-Identifier: BSD-3-Clause
"""A client of the control socket, in Python: it speaks the protocol of docs/control.md and nothing else."""
import json
import socket


class Refused(Exception):
    """The answer is an error; its arguments are the class and the description."""


class Control:
    """A connection; a context manager that ends it."""

    def __init__(self, path, process):
        self.socket = socket.socket(socket.AF_UNIX)
        while self.socket.connect_ex(str(path)) != 0:  # it may not listen yet
            assert process.running, process.log_tail()
        self.file = self.socket.makefile("rb")
        self.greeting = self.next()
        self.events = []

    def next(self):
        line = self.file.readline()
        return json.loads(line) if line else None

    def ask(self, command, **arguments):
        """The value of the answer; events that come before it are kept."""
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments, "id": command}).encode() + b"\n")
        while "event" in (answer := self.next()):
            self.events.append(answer)
        assert answer["id"] == command
        if "error" in answer:
            raise Refused(answer["error"]["class"], answer["error"]["desc"])
        return answer["return"]

    def want_events(self):
        self.ask("capabilities", enable=["events"])

    def wait_for_event(self, name):
        """The data of the next event of this name."""
        while True:
            event = self.events.pop(0) if self.events else self.next()
            assert event, f"the machine ended before {name}"
            if event.get("event") == name:
                return event["data"]

    def wait_until_ready(self):
        """Until no device is starting any more. Events are wanted from now on."""
        self.want_events()
        while any(device["state"] == "starting" for device in self.ask("list")):
            self.wait_for_event("DEVICE_READY")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

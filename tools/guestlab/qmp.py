# SPDX-License-Identifier: BSD-3-Clause
"""A client of QMP, the protocol by which QEMU is controlled (docs/interop/qmp-spec in the QEMU tree)."""
import array
import json
import select
import socket
import time

from guestlab.errors import GuestExited, GuestTimeout, LabError


class QmpError(LabError):
    """QEMU refused a command. `kind` is its class, such as "GenericError"."""

    def __init__(self, command, error):
        super().__init__(f"QMP {command}: {error['desc']}")
        self.kind = error["class"]


class Qmp:
    """One connection on a socket of its caller's, used by one thread. Events that come between are kept for wait_event()."""

    def __init__(self, sock, timeout=30):
        self._sock = sock
        self._timeout = timeout
        self._received = b""
        self._events = []
        self._next_id = 0
        self._message(time.monotonic() + timeout, "greeting")
        self.execute("qmp_capabilities")

    def execute(self, command, arguments=None, send_fd=None):
        """Runs a command; its "return" value. send_fd: a file whose descriptor rides along (getfd, add-fd)."""
        self._next_id += 1
        request = {"execute": command, "arguments": arguments or {}, "id": self._next_id}
        rights = []
        if send_fd is not None:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [send_fd.fileno()]))]
        self._send(json.dumps(request).encode() + b"\n", rights)
        deadline = time.monotonic() + self._timeout
        while True:
            message = self._message(deadline, f"answer to {command}")
            if "event" in message:
                self._events.append(message)
            elif message.get("id") == self._next_id:
                break
        if "error" in message:
            raise QmpError(command, message["error"])
        return message["return"]

    def give(self, name, file):
        """Gives QEMU a descriptor that later commands call `name` (fd=NAME); ours stays open."""
        self.execute("getfd", {"fdname": name}, send_fd=file)

    def wait_event(self, name, timeout=30, **data):
        """The first event of that name, now or within timeout seconds, whose data has these members."""
        deadline = time.monotonic() + timeout
        while True:
            for event in self._events:
                if event["event"] == name and data.items() <= event.get("data", {}).items():
                    self._events.remove(event)
                    return event
            message = self._message(deadline, f"event {name}")
            if "event" in message:
                self._events.append(message)

    def _send(self, data, rights):
        try:
            self._sock.sendmsg([data], rights)
        except ConnectionError:
            raise GuestExited("QEMU closed its QMP connection") from None

    def _message(self, deadline, what):
        while b"\n" not in self._received:
            left = deadline - time.monotonic()
            if not select.select([self._sock], [], [], max(0, left))[0]:
                raise GuestTimeout(f"QMP: no {what} in time")
            try:
                chunk = self._sock.recv(65536)
            except ConnectionError:
                chunk = b""
            if not chunk:
                raise GuestExited(f"QEMU ended instead of sending its QMP {what}")
            self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)

# SPDX-License-Identifier: BSD-3-Clause
"""The host's end of a guest's serial line.

A thread reads whatever comes at once, so that a guest never waits for a host that looks elsewhere. It
copies the bytes to a log file, keeps them as lines, and notifies a condition that all lines of one guest
share: who waits for one line also learns what the others have to say (a panic, the end of QEMU).
"""
import socket
import threading
import time

# QEMU sends what a serial port brings byte by byte. Taken as they come, each would cost a switch between three
# threads, which in an emulated machine (nested.py) takes longer than the guest's whole boot.
GATHER_S = 0.003


class SerialLine:
    def __init__(self, sock, changed, log=None, echo=None):
        """sock: our end. changed: the condition. log: a path. echo: a function to hand each chunk to."""
        self.lines = []  # complete lines, without their ends; read it with `changed` held
        self.ended = False
        self._sock = sock
        self._changed = changed
        self._log = open(log, "wb") if log else None
        self._echo = echo
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def send(self, text):
        self._sock.sendall(text.encode())

    def close(self):
        """After the other end is closed: takes what is still there. The socket is its owner's."""
        self._thread.join()
        if self._log:
            self._log.close()

    def _read(self):
        rest = b""
        while chunk := self._receive():
            if self._log:
                self._log.write(chunk)
                self._log.flush()
            if self._echo:
                self._echo(chunk)
            *complete, rest = (rest + chunk).split(b"\n")
            if complete:
                self._publish(complete)
        self._publish([rest] if rest else [], ended=True)

    def _receive(self):
        """At least a byte, and what follows within the next moment; nothing once the other end is closed."""
        try:
            first = self._sock.recv(1)
            time.sleep(GATHER_S)
            return first and first + self._sock.recv(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return first
        except ConnectionError:
            return b""  # QEMU was killed with bytes of ours unread

    def _publish(self, complete, ended=False):
        with self._changed:
            self.lines += [line.decode(errors="replace").rstrip("\r") for line in complete]
            self.ended = ended
            self._changed.notify_all()

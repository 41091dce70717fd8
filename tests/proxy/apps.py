# SPDX-License-Identifier: BSD-3-Clause
"""What applications do with a connection: send, receive, and compare by checksum."""
import hashlib
import signal
import socket
import threading

CHUNK = 1 << 16


def heed_hangups():
    """In a child process: the tests may run under nohup(1)."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pattern(seed, size):
    """Bytes that differ between seeds and positions, made fast."""
    block = b"".join(hashlib.sha256(f"{seed}:{n}".encode()).digest() for n in range(CHUNK // 32))
    return (block * (size // len(block) + 1))[:size]


def receive(sock, size=None):
    """Exactly size bytes, or all up to the end."""
    parts, left = [], size
    while left is None or left > 0:
        part = sock.recv(CHUNK if left is None else min(left, CHUNK))
        if not part:
            break
        parts.append(part)
        left = None if left is None else left - len(part)
    return b"".join(parts)


def is_reset(sock):
    """Whether the connection broke, which is not the same as that it ended."""
    try:
        return receive(sock) is None
    except ConnectionResetError:
        return True


class Transfer(threading.Thread):
    """Sends bytes on one socket and receives them on another, meanwhile."""

    def __init__(self, source, sink, data):
        super().__init__(daemon=True)
        self.source, self.sink, self.data = source, sink, data
        self.received = None
        self.start()

    def run(self):
        sender = threading.Thread(target=self._send, daemon=True)
        sender.start()
        self.received = receive(self.sink, len(self.data))
        sender.join()

    def _send(self):
        self.source.sendall(self.data)

    def check(self, timeout):
        self.join(timeout)
        assert not self.is_alive(), "the transfer does not come to its end"
        assert self.received == self.data


class Exchange(threading.Thread):
    """Keeps bytes on their way to an echo and back, until the connection breaks."""

    def __init__(self, sock, data):
        super().__init__(daemon=True)
        self.sock, self.data = sock, data
        self.outcome = None
        self.start()

    def run(self):
        try:
            self.sock.sendall(self.data)
            while receive(self.sock, len(self.data)) == self.data:
                self.sock.sendall(self.data)
            self.outcome = "something else came back"
        except OSError as error:
            self.outcome = type(error)

    def check_reset(self, timeout):
        self.join(timeout)
        assert self.outcome is ConnectionResetError


def send_until_blocked(sock):
    """Sends until the other end takes no more for good: how many bytes it took."""
    sent = 0
    payload = pattern("blocked", CHUNK)
    before = sock.gettimeout()
    sock.settimeout(0.5)
    try:
        while True:
            sent += sock.send(payload[sent % CHUNK :])
    except (BlockingIOError, socket.timeout):
        sock.settimeout(before)
        return sent

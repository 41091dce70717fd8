# SPDX-License-Identifier: BSD-3-Clause
"""The programs of a host at the sockets of outboard-vsock."""
import socket

PATIENCE_S = 60


class HostSockets:
    """path: that of --host-socket. cleanup: an ExitStack that closes what is made here."""

    def __init__(self, path, cleanup):
        self.path, self.cleanup = path, cleanup

    def make(self, kind=socket.SOCK_STREAM):
        sock = self.cleanup.enter_context(socket.socket(socket.AF_UNIX, kind))
        sock.settimeout(PATIENCE_S)
        return sock

    def listen(self, port, kind=socket.SOCK_STREAM):
        """A program that the guest reaches at a port of the host."""
        sock = self.make(kind)
        sock.bind(f"{self.path}_{port}")
        sock.listen(64)
        return sock

    def accept(self, listener):
        sock = self.cleanup.enter_context(listener.accept()[0])
        sock.settimeout(PATIENCE_S)
        return sock

    def ask(self, port, kind=socket.SOCK_STREAM):
        """A program that asks for a port of the guest, and has not read the answer yet."""
        sock = self.make(kind)
        sock.connect(f"{self.path}.seqpacket" if kind == socket.SOCK_SEQPACKET else str(self.path))
        sock.sendall(f"CONNECT {port}\n".encode())
        return sock

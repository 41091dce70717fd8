# SPDX-License-Identifier: BSD-3-Clause
"""A device program as a process of its own, ready to be connected to."""
import contextlib
import os
import signal
import socket
import subprocess

from guestlab import count_descriptors, paths
from vfio_user import PATIENCE_S, Client

EXERCISE = paths.BUILD / "release/tests/wire/exercise"


class Server:
    """program: its path, or a list of words that start it."""

    def __init__(self, folder, program, *arguments, wire="vfio-user", stderr=None):
        self.path = folder / "device.sock"
        self.log = folder / "device.log"
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.settimeout(PATIENCE_S)
        self.notify.bind(str(folder / "notify"))
        words = [f"--wire={wire}"] if wire else []
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [*(program if isinstance(program, list) else [program]), *words, f"--socket-path={self.path}", *arguments],
                env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify")},
                stderr=log if stderr is None else stderr,
            )
        while b"READY=1" not in self.notify.recv(4096):
            pass
        self.clients = []

    def heard(self):
        """What the launcher was told since the last time."""
        told = []
        self.notify.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                told.append(self.notify.recv(4096).decode())
        return told

    def connect(self):
        client = Client.connect(self.path)
        self.clients.append(client)
        return client

    def client(self, **arguments):
        """A client that has negotiated."""
        client = self.connect()
        client.negotiate(**arguments)
        return client

    def descriptors(self):
        return count_descriptors(self.process.pid)

    def messages(self):
        return self.log.read_text()

    def end(self):
        """Asks the program to end; it must do so cleanly, whatever it has been through."""
        for client in self.clients:
            client.close()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE_S) == 0, self.messages()
        self.notify.close()
        assert not self.path.exists()

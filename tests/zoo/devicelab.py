# SPDX-License-Identifier: BSD-3-Clause
"""A disk's program as a process of its own, which one VMM after another gives animals."""
import errno
import fcntl
import os
import pathlib
import select
import signal
import socket
import struct
import time

import zoo
from server import Server
from vfio_user import PATIENCE_S

F_OFD_SETLK = 37
LOOKS = 20  # that find a program asleep, one after the other: it does not spin
LOOK_S = 0.005


def wait_for(process, condition, what):
    """No event tells of a state in /proc, so it is looked at again until it holds; the end of the process is an event,
    and nothing changes behind it."""
    deadline = time.monotonic() + PATIENCE_S
    ended = os.pidfd_open(process.pid)
    try:
        while not condition():
            assert time.monotonic() < deadline, what
            if select.select([ended], [], [], LOOK_S)[0]:
                assert condition(), what
                return
    finally:
        os.close(ended)


def sleeps(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


class Device:
    """A disk that serves one VMM after another at a path."""

    def __init__(self, folder, wire, program):
        self.image = folder / "disk.img"
        self.image.write_bytes(bytes(zoo.LEN))
        self.server = Server(folder, program, f"--image={self.image}", wire=wire)
        self.process = self.server.process
        wait_for(self.process, self.is_asleep, "it does not come to rest")
        self.before = self.server.descriptors()

    def is_asleep(self):
        return all(sleeps(self.process.pid) for _ in range(LOOKS))

    def is_whole(self):
        return self.server.descriptors() == self.before

    def end(self, kind, animals):
        """It ends when it is asked to. A file that can't be closed holds it up, but nothing of ours with it."""
        wait_for(self.process, self.is_asleep, "it spins")
        if kind is not zoo.fuse:
            wait_for(self.process, self.is_whole, f"it has kept descriptors: {os.listdir(f'/proc/{self.process.pid}/fd')}, before {self.before}")
        self.process.send_signal(signal.SIGTERM)
        if kind is zoo.fuse:
            self.check_free()
            for animal in animals:
                animal.close()
        assert self.process.wait(PATIENCE_S) == 0, self.server.messages()
        self.server.notify.close()
        assert not self.server.path.exists()

    def check_free(self):
        """Another can listen at the path and lock the image. No program is started for that: a fork would have a copy
        of the file that hangs."""
        wait_for(self.process, lambda: not self.server.path.exists(), "it has not ended")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.server.path))
            listener.listen()
        os.unlink(self.server.path)
        wait_for(self.process, self.is_unlocked, "the image is locked")

    def is_unlocked(self):
        with open(self.image, "r+b") as image:
            try:
                fcntl.fcntl(image, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
            except OSError as error:
                assert error.errno in (errno.EAGAIN, errno.EACCES)
                return False
        return True

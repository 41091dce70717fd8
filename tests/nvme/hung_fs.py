# SPDX-License-Identifier: BSD-3-Clause
"""A file system with one file, that stops answering when it is told to: FUSE, spoken by hand after <linux/fuse.h>."""
import ctypes
import errno
import os
import pathlib
import stat
import struct
import threading

LOOKUP, FORGET, GETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH, INIT, DESTROY, BATCH_FORGET = (
    1, 2, 3, 14, 15, 16, 17, 18, 20, 25, 26, 38, 42)  # fmt: skip
HEADER = struct.Struct("<IIQQIIII")
REQUEST_LEN = (1 << 20) + 4096
MNT_FORCE, MNT_DETACH = 1, 2
FOPEN_DIRECT_IO = 1

libc = ctypes.CDLL(None, use_errno=True)


def why_not():
    """Why this machine can't have one, or None."""
    if os.geteuid() != 0:
        return "only root may mount a file system"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"no /dev/fuse: {error.strerror}"
    return None


class HungFs:
    """hangs: the requests that are not answered while it hangs; cached: the kernel may keep and map what it has read."""

    def __init__(self, folder, data, hangs=(READ, WRITE, FSYNC, GETATTR), cached=False):
        self.hangs = hangs
        self.cached = cached
        self.data = bytearray(data)
        self.mount = pathlib.Path(folder)
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Event()  # something came while nothing was answered
        self.hurry = threading.Event()  # writes take no time
        self.hurry.set()
        self.pause_s = 0
        self.writes = 0
        self.ended = False
        self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0".encode()
        if libc.mount(b"hung", os.fsencode(self.mount), b"fuse", 0, options) != 0:
            number = ctypes.get_errno()
            os.close(self.fd)
            raise OSError(number, os.strerror(number))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    @property
    def path(self):
        return self.mount / "disk.img"

    def hang(self):
        self.asked.clear()
        self.answers.clear()

    def go_on(self):
        self.answers.set()

    def slow_down(self, pause_s):
        """Each write takes so long, one after the other, until hurry is set again."""
        self.pause_s = pause_s
        self.hurry.clear()

    def close(self):
        self.go_on()
        self.hurry.set()
        libc.umount2(os.fsencode(self.mount), MNT_FORCE | MNT_DETACH)
        self.thread.join()
        os.close(self.fd)

    def serve(self):
        while True:
            try:
                request = os.read(self.fd, REQUEST_LEN)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    continue
                return  # unmounted
            _, opcode, unique, node, *_ = HEADER.unpack_from(request)
            if opcode in self.hangs and not self.answers.is_set():
                self.asked.set()
                self.answers.wait()
            self.answer(opcode, unique, node, request[HEADER.size :])
            if opcode == DESTROY:
                return

    def answer(self, opcode, unique, node, body):
        if opcode in (FORGET, BATCH_FORGET):
            return
        result = self.carry_out(opcode, node, body)
        code, payload = (-result, b"") if isinstance(result, int) else (0, result)
        try:
            os.write(self.fd, struct.pack("<IiQ", 16 + len(payload), code, unique) + payload)
        except OSError as error:
            if error.errno != errno.ENOENT:  # whoever asked has been killed
                raise

    def carry_out(self, opcode, node, body):
        """The payload of the answer, or an errno."""
        if opcode == INIT:
            major, minor = struct.unpack_from("<II", body)
            return struct.pack("<IIIIHHIIHHI28x", 7, min(minor, 31), 1 << 17, 0, 64, 48, 1 << 17, 1, 32, 0, 0)
        if opcode == LOOKUP:
            return struct.pack("<QQQQII", 2, 0, 0, 0, 0, 0) + self.attributes(2) if body == b"disk.img\0" else errno.ENOENT
        if opcode == GETATTR:
            return struct.pack("<QII", 0, 0, 0) + self.attributes(node)
        if opcode == OPEN:
            return struct.pack("<QII", 1, 0 if self.cached else FOPEN_DIRECT_IO, 0)
        if opcode == STATFS:
            return struct.pack("<QQQQQIIII24x", 0, 0, 0, 0, 0, 512, 255, 512, 0)
        if opcode == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return bytes(self.data[offset : offset + size])
        if opcode == WRITE:
            self.hurry.wait(self.pause_s)
            self.writes += 1
            _, offset, size = struct.unpack_from("<QQI", body)
            self.data[offset : offset + size] = body[40 : 40 + size]
            return struct.pack("<II", size, 0)
        if opcode in (FSYNC, FLUSH, RELEASE, DESTROY):
            return b""
        return errno.ENOSYS

    def attributes(self, node):
        mode, size = (stat.S_IFDIR | 0o755, 0) if node == 1 else (stat.S_IFREG | 0o644, len(self.data))
        return struct.pack("<QQQQQQIIIIIIIIII", node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

# SPDX-License-Identifier: BSD-3-Clause
"""A file system that carries out a request of a dead process behind those of its successor, unless somebody waits for it.

The guest (barrierlab.py) says by what it writes when a round begins and when it ends. In a round the first request for
block HELD waits, until the round's end or for hold_s seconds."""
import struct
import threading

import hung_fs

BLOCK = 4096
HELD, RELEASE, ARM = 0, 1, 2
ASYNC_DIO = 1 << 15


class LateFs(hung_fs.HungFs):
    def __init__(self, folder, size, told, hold_s):
        self.told = told  # a file for each round, made when its request is held
        self.hold_s = hold_s
        self.lock = threading.Lock()
        self.rounds = 0
        self.armed = False
        self.held = None
        self.timer = None
        super().__init__(folder, bytes(size))

    def carry_out(self, opcode, node, body):
        if opcode == hung_fs.INIT:
            major, minor = struct.unpack_from("<II", body)
            return struct.pack("<IIIIHHIIHHI28x", 7, min(minor, 31), 1 << 17, ASYNC_DIO, 64, 48, 1 << 17, 1, 32, 0, 0)
        return super().carry_out(opcode, node, body)

    def release(self):
        """The held request is carried out now."""
        with self.lock:
            held, self.held = self.held, None
            if held:
                self.timer.cancel()
                super().answer(*held)

    def hold(self, request):
        self.armed, self.held = False, request
        self.timer = threading.Timer(self.hold_s, self.release)
        self.timer.daemon = True
        self.timer.start()
        (self.told / f"held-{self.rounds}").touch()
        self.rounds += 1

    def answer(self, opcode, unique, node, body):
        block = None
        if opcode in (hung_fs.READ, hung_fs.WRITE):
            block = struct.unpack_from("<QQ", body)[1] // BLOCK
        if block == HELD and self.armed:
            self.hold((opcode, unique, node, body))
            return
        if opcode == hung_fs.WRITE and block == RELEASE:
            self.release()
        if opcode == hung_fs.WRITE and block == ARM:
            self.armed = True
        with self.lock:
            super().answer(opcode, unique, node, body)

    def close(self):
        self.release()
        super().close()

# SPDX-License-Identifier: BSD-3-Clause
"""A front end of vhost-user, written from docs/interop/vhost-user.rst of QEMU alone.

It says what it is told to, right or wrong, so that a test can be any front end.
"""
import array
import mmap
import os
import socket
import struct

(GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE, SET_LOG_BASE, SET_LOG_FD, SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE,
 GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR, GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM,
 SET_VRING_ENABLE) = range(1, 19)  # fmt: skip
SET_BACKEND_REQ_FD, IOTLB_MSG, GET_CONFIG, SET_CONFIG = 21, 22, 24, 25
GET_INFLIGHT_FD, SET_INFLIGHT_FD, RESET_DEVICE, GET_MAX_MEM_SLOTS, ADD_MEM_REG, REM_MEM_REG = 31, 32, 34, 36, 37, 38
SET_STATUS, GET_STATUS, SET_DEVICE_STATE_FD, CHECK_DEVICE_STATE = 39, 40, 42, 43

VERSION, REPLY, NEED_REPLY = 1, 4, 8
MQ, LOG_SHMFD, REPLY_ACK, BACKEND_REQ, CONFIG, INFLIGHT_SHMFD, MEM_SLOTS, DEVICE_STATE = 0, 1, 3, 5, 9, 12, 15, 19
PROTOCOL_FEATURES, VERSION_1, ACCESS_PLATFORM, LOG_ALL = 1 << 30, 1 << 32, 1 << 33, 1 << 26

HEADER = struct.Struct("<III")
U64 = struct.Struct("<Q")
STATE = struct.Struct("<II")
ADDR = struct.Struct("<IIQQQQ")
REGION = struct.Struct("<QQQQ")
LOG = struct.Struct("<QQ")
INFLIGHT = struct.Struct("<QQHHI")

PATIENCE_S = 30
USER = 0x10000000  # where the front end has its memory, as it says


def table(*lengths):
    """Of regions, one behind the other from address 0 on."""
    return STATE.pack(len(lengths), 0) + b"".join(
        REGION.pack(sum(lengths[:number]), length, USER + sum(lengths[:number]), 0) for number, length in enumerate(lengths)
    )


class FrontEnd:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(str(path))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, request, payload=b"", fds=(), flags=0):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([HEADER.pack(request, VERSION | flags, len(payload)) + payload], rights)

    def _exactly(self, length):
        data = b""
        while len(data) < length:
            more = self.socket.recv(length - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def receive(self):
        """The payload of the next answer. EOFError: the device has ended the connection."""
        return self._exactly(HEADER.unpack(self._exactly(HEADER.size))[2])

    def ask(self, request, payload=b"", fds=()):
        """The payload of an answer that comes in any case."""
        self.send(request, payload, fds)
        return self.receive()

    def tell(self, request, payload=b"", fds=()):
        """Whether the device has done it."""
        self.send(request, payload, fds, flags=NEED_REPLY)
        return self.receive() == U64.pack(0)

    def negotiate(self, further=0):
        """All of the protocol's features, and of the device's those that `further` names."""
        offered = U64.unpack(self.ask(GET_FEATURES))[0]
        protocol = self.ask(GET_PROTOCOL_FEATURES)
        self.send(SET_PROTOCOL_FEATURES, protocol)
        assert self.tell(SET_FEATURES, U64.pack(offered & (PROTOCOL_FEATURES | VERSION_1 | further)))
        return U64.unpack(protocol)[0]

    def start_ring(self, kick, number=0, size=8):
        """In memory that is shared already, from its beginning on."""
        assert self.tell(SET_VRING_NUM, STATE.pack(number, size))
        assert self.tell(SET_VRING_ADDR, ADDR.pack(number, 0, USER, USER + 0x2000, USER + 0x1000, 0))
        assert self.tell(SET_VRING_BASE, STATE.pack(number, 0))
        self.send(SET_VRING_KICK, U64.pack(number), [kick], flags=NEED_REPLY)
        started = self.receive() == U64.pack(0)
        return started and self.tell(SET_VRING_ENABLE, STATE.pack(number, 1))


def make_memory(length):
    """(descriptor, mapping)"""
    fd = os.memfd_create("guest", os.MFD_CLOEXEC)
    os.ftruncate(fd, length)
    return fd, mmap.mmap(fd, length)

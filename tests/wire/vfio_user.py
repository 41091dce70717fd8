# SPDX-License-Identifier: BSD-3-Clause
"""A client of vfio-user, written from docs/interop/vfio-user.rst of QEMU alone.

It says what it is told to, right or wrong, so that a test can be any client.
"""
import array
import errno
import json
import os
import select
import socket
import struct

VERSION = 1
DMA_MAP = 2
DMA_UNMAP = 3
GET_INFO = 4
GET_REGION_INFO = 5
GET_REGION_IO_FDS = 6
GET_IRQ_INFO = 7
SET_IRQS = 8
REGION_READ = 9
REGION_WRITE = 10
DMA_READ = 11
DMA_WRITE = 12
DEVICE_RESET = 13
REGION_WRITE_MULTI = 15

TYPE_COMMAND = 0x0
TYPE_REPLY = 0x1
NO_REPLY = 0x10
ERROR = 0x20

HEADER = struct.Struct("<HHIII")
REGION_INFO = struct.Struct("<IIIIQQ")
ACCESS = struct.Struct("<QII")
FOUR = struct.Struct("<IIII")
MAP = struct.Struct("<IIQQQ")
UNMAP = struct.Struct("<IIQQ")
IRQ_SET = struct.Struct("<IIIII")
DMA_ACCESS = struct.Struct("<QQ")

# Of IRQ_SET; <linux/vfio.h>.
NONE, BOOL, EVENTFD = 0x01, 0x02, 0x04
MASK, UNMASK, TRIGGER = 0x08, 0x10, 0x20
INTX, MSI, MSIX, ERR, REQ = range(5)

READABLE, WRITEABLE = 1, 2

CONFIG = 7
# The timeout of every receive: only a server that hangs reaches it.
PATIENCE_S = 30

# What QEMU 10.2 proposes.
QEMU_OFFER = {
    "capabilities": {
        "max_msg_fds": 16,
        "max_data_xfer_size": 1048576,
        "migration": {"pgsize": 4096, "max_bitmap_size": 268435456},
        "pgsizes": 4096,
        "max_dma_maps": 65535,
        "write_multiple": True,
    }
}


class ServerError(Exception):
    """The server has answered with an errno."""

    def __init__(self, number):
        super().__init__(errno.errorcode.get(number, number))
        self.errno = number


class Message:
    def __init__(self, header, payload, fds):
        self.id, self.command, self.size, self.flags, self.error = header
        self.payload = payload
        self.fds = fds


class Client:
    def __init__(self, sock):
        self.socket = sock
        self.socket.settimeout(PATIENCE_S)
        self.next_id = 1

    @classmethod
    def connect(cls, path):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(str(path))
        return cls(sock)

    def close(self):
        self.socket.close()

    def send(self, command, payload=b"", fds=(), flags=TYPE_COMMAND, size=None, id=None, error=0):
        """Sends one message; returns its id."""
        if id is None:
            id = self.next_id
            self.next_id = self.next_id % 0xFFFF + 1
        size = HEADER.size + len(payload) if size is None else size
        self.send_raw(HEADER.pack(id, command, size, flags, error) + payload, fds)
        return id

    def send_raw(self, data, fds=()):
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.socket.sendmsg([data], ancillary)
        if sent < len(data):
            self.socket.sendall(data[sent:])

    def receive(self):
        """Receives one message. The descriptors are those that come with its header."""
        header, fds = self.receive_exactly(HEADER.size)
        message = Message(HEADER.unpack(header), b"", fds)
        message.payload, more = self.receive_exactly(message.size - HEADER.size)
        assert not more, "descriptors came behind the header"
        return message

    def receive_exactly(self, length):
        data, fds = b"", []
        while len(data) < length:
            piece, found, flags, _ = socket.recv_fds(self.socket, length - len(data), 32)
            fds += found
            assert not flags & socket.MSG_CTRUNC
            if not piece:
                raise EOFError(f"the server has closed after {len(data)} of {length} bytes")
            data += piece
        return data, fds

    def at_end(self):
        """Whether the server closes without another word."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def ask(self, command, payload=b"", fds=()):
        """Sends a command and returns the reply to it."""
        id = self.send(command, payload, fds)
        reply = self.receive()
        assert (reply.id, reply.command, reply.flags & 0xF) == (id, command, TYPE_REPLY)
        if reply.flags & ERROR:
            assert reply.size == HEADER.size, "an error has a payload"
            raise ServerError(reply.error)
        return reply

    def negotiate(self, offer=QEMU_OFFER, major=0, minor=0):
        """VERSION; returns what the server says in JSON."""
        text = b"" if offer is None else json.dumps(offer).encode() + b"\0"
        payload = self.ask(VERSION, struct.pack("<HH", major, minor) + text).payload
        assert payload[-1] == 0
        return json.loads(payload[4:-1])

    def device_info(self, argsz=16):
        return FOUR.unpack(self.ask(GET_INFO, FOUR.pack(argsz, 0, 0, 0)).payload)

    def region_info(self, index, argsz=32):
        """Returns (argsz, flags, index, cap_offset, size, offset), capabilities, descriptors."""
        reply = self.ask(GET_REGION_INFO, REGION_INFO.pack(argsz, 0, index, 0, 0, 0))
        return REGION_INFO.unpack(reply.payload[:32]), reply.payload[32:], reply.fds

    def irq_info(self, index, argsz=16):
        return FOUR.unpack(self.ask(GET_IRQ_INFO, FOUR.pack(argsz, 0, index, 0)).payload)

    def read(self, region, offset, count):
        payload = self.ask(REGION_READ, ACCESS.pack(offset, region, count)).payload
        assert ACCESS.unpack(payload[:16]) == (offset, region, count)
        assert len(payload) == 16 + count
        return payload[16:]

    def write(self, region, offset, data):
        payload = self.ask(REGION_WRITE, ACCESS.pack(offset, region, len(data)) + data).payload
        assert payload == ACCESS.pack(offset, region, len(data))

    def post(self, region, offset, data):
        """A write that nobody answers."""
        self.send(REGION_WRITE, ACCESS.pack(offset, region, len(data)) + data, flags=NO_REPLY)

    def map(self, address, size, fds=(), offset=0, flags=READABLE | WRITEABLE, argsz=32):
        assert self.ask(DMA_MAP, MAP.pack(argsz, flags, offset, address, size), fds).payload == b""

    def unmap(self, address, size, flags=0, argsz=24):
        request = UNMAP.pack(argsz, flags, address, size)
        assert self.ask(DMA_UNMAP, request).payload == request

    def set_irqs(self, index, flags, start, count, data=b"", fds=()):
        request = IRQ_SET.pack(20 + len(data), flags, index, start, count) + data
        assert self.ask(SET_IRQS, request, fds).payload == b""

    def answer(self, request, payload=b"", error=None):
        """Replies to a command of the server."""
        flags = TYPE_REPLY | (ERROR if error is not None else 0)
        self.send(request.command, payload, flags=flags, id=request.id, error=error or 0)


class Event:
    """An eventfd, and whether it was signalled."""

    def __init__(self):
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def signal(self):
        os.eventfd_write(self.fd, 1)

    def take(self):
        """How often it was signalled since the last time."""
        try:
            return os.eventfd_read(self.fd)
        except BlockingIOError:
            return 0

    def wait(self):
        readable, _, _ = select.select([self.fd], [], [], PATIENCE_S)
        assert readable, "the interrupt did not come"
        return self.take()

    def close(self):
        os.close(self.fd)


class Memory:
    """Guest memory that can be shared."""

    def __init__(self, size):
        self.size = size
        self.fd = os.memfd_create("guest", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, size)

    def read(self, offset, length):
        return os.pread(self.fd, length, offset)

    def write(self, offset, data):
        os.pwrite(self.fd, data, offset)

    def close(self):
        os.close(self.fd)


def close_all(fds):
    for fd in fds:
        os.close(fd)

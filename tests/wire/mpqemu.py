# SPDX-License-Identifier: BSD-3-Clause
"""A speaker of mpqemu that shares no code with the tree: the VMM's end of the wire.

It says what it is told to, right or wrong, so that a test can be any proxy. Facts: QEMU's
include/hw/remote/mpqemu-link.h and hw/remote/, and the v8 series of multi-process QEMU.
"""
import array
import dataclasses
import os
import socket
import struct

HEADER = struct.Struct("<iiQ")  # cmd; padding, or bytestream in v8; size of what follows
SYSMEM = struct.Struct("<8Q8Q8Q")  # guest addresses, sizes, file offsets
CONFIG = struct.Struct("<IIi")  # offset, value, length
BAR = struct.Struct("<QQIB3x")  # address, value, size, whether memory space
UNION_LEN = 192
ALL_ONES = 2**64 - 1
PAGE = 4096

# Longer than any answer takes; only a device that hangs reaches it.
PATIENCE_S = 30


@dataclasses.dataclass(frozen=True)
class Dialect:
    """The numbers of the commands, and the lengths of those payloads that differ."""

    name: str
    numbers: dict
    bar_len: int
    reset_len: int
    value_len: int

    def __str__(self):
        return self.name


def _numbered(first, names):
    return {name: first + i for i, name in enumerate(names)}


_NAMES = ["SYNC_SYSMEM", "RET", "PCI_CFGWRITE", "PCI_CFGREAD", "BAR_WRITE", "BAR_READ", "SET_IRQFD"]
SHIPPED = Dialect("shipped", _numbered(0, [*_NAMES, "DEVICE_RESET"]), BAR.size, 0, 8)
V8 = Dialect(
    "v8",
    _numbered(0, ["INIT", *_NAMES, "GET_PCI_INFO", "PROXY_PING", "DEVICE_RESET"]),
    UNION_LEN,
    UNION_LEN,
    UNION_LEN,
)
DIALECTS = [SHIPPED, V8]


class Gone(Exception):
    """The other end has closed the connection."""


@dataclasses.dataclass(frozen=True)
class Reply:
    cmd: int
    padding: int
    size: int
    payload: bytes

    @property
    def value(self):
        return struct.unpack_from("<Q", self.payload)[0]


class Proxy:
    """One connection, in one dialect."""

    def __init__(self, sock, dialect=SHIPPED):
        self.sock = sock
        self.sock.settimeout(PATIENCE_S)
        self.dialect = dialect

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def message(self, name, payload=b"", size=None):
        """The bytes of a message; size: what its header claims, when not the truth."""
        number = name if isinstance(name, int) else self.dialect.numbers[name]
        bytestream = int(self.dialect is V8 and name in ("PCI_CFGWRITE", "PCI_CFGREAD"))
        return HEADER.pack(number, bytestream, len(payload) if size is None else size) + payload

    def sysmem(self, *regions):
        """SYNC_SYSMEM of (address, size, file offset), at most eight of them."""
        padded = [*regions, *[(0, 0, 0)] * (8 - len(regions))]
        return self.message("SYNC_SYSMEM", SYSMEM.pack(*[region[i] for i in range(3) for region in padded]))

    def config(self, name, offset, length, value=0):
        return self.message(name, CONFIG.pack(offset, value, length))

    def bar(self, name, address, size, value=0, memory=True):
        return self.message(name, BAR.pack(address, value, size, memory).ljust(self.dialect.bar_len, b"\0"))

    def reset(self):
        return self.message("DEVICE_RESET", bytes(self.dialect.reset_len))

    def send(self, data, fds=()):
        """Sends bytes with the descriptors of these files on the first of them."""
        numbers = array.array("i", [fd if isinstance(fd, int) else fd.fileno() for fd in fds])
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)] if numbers else []
        sent = self.sock.sendmsg([data], control)
        if sent < len(data):
            self.sock.sendall(data[sent:])

    def receive(self):
        """The next reply; Gone at the end of the connection."""
        header = self._exactly(HEADER.size)
        cmd, padding, size = HEADER.unpack(header)
        return Reply(cmd, padding, size, self._exactly(size))

    def _exactly(self, length):
        data = b""
        while len(data) < length:
            try:
                more = self.sock.recv(length - len(data))
            except ConnectionResetError:
                more = b""
            if not more:
                raise Gone(f"the connection ended within a reply: {data!r}" if data else "the connection ended")
            data += more
        return data

    def ask(self, data, fds=()):
        self.send(data, fds)
        return self.receive()

    def config_read(self, offset, length):
        return self.ask(self.config("PCI_CFGREAD", offset, length)).value

    def config_write(self, offset, length, value):
        return self.ask(self.config("PCI_CFGWRITE", offset, length, value)).value

    def bar_read(self, address, size, memory=True):
        return self.ask(self.bar("BAR_READ", address, size, memory=memory)).value

    def bar_write(self, address, size, value, memory=True):
        return self.ask(self.bar("BAR_WRITE", address, size, value, memory)).value

    def is_gone(self):
        """Waits for the end of the connection; a reply before it is an error."""
        try:
            raise AssertionError(f"an answer instead of the end: {self.receive()}")
        except Gone:
            return True


def memory_file(length):
    """A file as the memory of a guest; the descriptor is the caller's."""
    fd = os.memfd_create("guest-memory", os.MFD_CLOEXEC)
    os.ftruncate(fd, length)
    return fd

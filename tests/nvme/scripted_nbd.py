# SPDX-License-Identifier: BSD-3-Clause
"""An NBD server of the test's own, which answers as the test says; written after the protocol's text."""
import contextlib
import dataclasses
import errno
import socket
import struct
import threading
import urllib.parse

READ, WRITE, DISCONNECT, FLUSH, TRIM, CACHE, ZEROES = range(7)
FUA, NO_HOLE = 1, 2

HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_ZEROES = 1, 4, 8, 32, 64
CAN_ALL = HAS_FLAGS | SEND_FLUSH | SEND_FUA | SEND_TRIM | SEND_ZEROES

OPT_GO, OPT_STRUCTURED = 7, 8
REP_ACK, REP_INFO, REP_UNSUPPORTED = 1, 3, 0x80000001
INFO_EXPORT, INFO_BLOCK_SIZE = 0, 3

REQUEST = struct.Struct(">IHHQQI")
SIMPLE = struct.Struct(">IIQ")
CHUNK = struct.Struct(">IHHQI")
OFFSET_DATA = 1


@dataclasses.dataclass(frozen=True)
class Command:
    flags: int
    type: int
    cookie: int
    offset: int
    length: int
    data: bytes


class Connection:
    def __init__(self, server, sock):
        self.server = server
        self.socket = sock

    def take(self, length):
        data = b""
        while len(data) < length:
            piece = self.socket.recv(length - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def handshake(self):
        self.socket.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
        self.take(4)
        while True:
            _, option, length = struct.unpack(">QII", self.take(16))
            data = self.take(length)
            if option == OPT_GO:
                name_len = struct.unpack_from(">I", data)[0]
                self.server.exports.append(data[4 : 4 + name_len].decode())
                self.tell(option, REP_INFO, struct.pack(">HQH", INFO_EXPORT, self.server.size, self.server.flags))
                if self.server.blocks:
                    self.tell(option, REP_INFO, struct.pack(">HIII", INFO_BLOCK_SIZE, *self.server.blocks))
                self.tell(option, REP_ACK)
                return
            known = option == OPT_STRUCTURED and self.server.structured
            self.tell(option, REP_ACK if known else REP_UNSUPPORTED)

    def tell(self, option, kind, data=b""):
        self.socket.sendall(struct.pack(">QIII", 0x3E889045565A9, option, kind, len(data)) + data)

    def serve(self):
        self.handshake()
        while True:
            _, flags, kind, cookie, offset, length = REQUEST.unpack(self.take(REQUEST.size))
            if kind == DISCONNECT:
                return
            command = Command(flags, kind, cookie, offset, length, self.take(length) if kind == WRITE else b"")
            self.server.commands.append(command)
            self.server.handle(self, command)

    def answer(self, command, error=0):
        data = bytes(command.length) if command.type == READ and not error else b""
        self.socket.sendall(SIMPLE.pack(0x67446698, error, command.cookie) + data)

    def send_chunk(self, command, offset, data):
        """A chunk that is not the last."""
        head = CHUNK.pack(0x668E33EF, 0, OFFSET_DATA, command.cookie, 8 + len(data))
        self.socket.sendall(head + struct.pack(">Q", offset) + data)


def uri(path, export=""):
    return f"nbd+unix:///{urllib.parse.quote(export)}?socket={urllib.parse.quote(str(path))}"


class ScriptedNbd:
    """handle(connection, command), called for each command in a thread of the connection's; by default all is well and zeroes."""

    def __init__(self, path, size=64 << 20, flags=CAN_ALL, blocks=None, structured=False, handle=None):
        self.uri = uri(path)
        self.size, self.flags, self.blocks, self.structured = size, flags, blocks, structured
        self.handle = handle or Connection.answer
        self.commands = []
        self.exports = []  # their names, as they were asked for
        self.connections = []
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen()
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listening.accept()
            except OSError as error:
                assert error.errno in (errno.EINVAL, errno.EBADF)  # closed
                return
            self.connections.append(sock)
            thread = threading.Thread(target=self.serve, args=(sock,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def serve(self, sock):
        with contextlib.suppress(EOFError, OSError):
            Connection(self, sock).serve()
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    def of_type(self, kind):
        return [command for command in self.commands if command.type == kind]

    def close(self):
        with contextlib.suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.threads[0].join()
        for sock in self.connections:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        for sock in [self.listening, *self.connections]:
            sock.close()

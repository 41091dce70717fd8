# SPDX-License-Identifier: BSD-3-Clause
"""A VMM of test_kept.py: streams between a guest and programs of the host, through a device whose
processes die. Each byte is what its place in the stream says."""
import random
import socket
import sys
import threading

import keptlab
from virtio_driver import VirtioPci
from vsock_driver import CREDIT_REQUEST, CREDIT_UPDATE, NO_SEND, REQUEST, RESPONSE, RST, RW, SHUTDOWN, VsockDriver

CID, LISTENS, DIALS, SHORT_EVERY = 42, 5000, 22, 16
# Of a length that no buffer has: a byte that is lost, doubled or moved shows.
PATTERN = random.Random(7).randbytes(65521)


def piece(at, length):
    at %= len(PATTERN)
    return (PATTERN[at:] + PATTERN * (1 + length // len(PATTERN)))[:length]


class Program(threading.Thread):
    """A program of the host: sends until the guest ends its direction, and then ends its own."""

    def __init__(self, sock):
        super().__init__(daemon=True)
        self.sock = sock
        self.got = self.sent = 0
        self.fault = None
        self.guest_has_ended = threading.Event()
        self.start()

    def send(self):
        while not self.guest_has_ended.is_set():
            length = random.randrange(1, 20000)
            self.sock.sendall(piece(self.sent, length))
            self.sent += length
        self.sock.shutdown(socket.SHUT_WR)

    def run(self):
        sender = threading.Thread(target=self.send, daemon=True)
        sender.start()
        while data := self.sock.recv(65536):
            if data != piece(self.got, len(data)):
                self.fault = f"the host got other bytes within {len(data)} from {self.got} on"
                return
            self.got += len(data)
        self.guest_has_ended.set()
        sender.join()


class Stream:
    """The guest's end."""

    def __init__(self, guest_port, host_port):
        self.ports = guest_port, host_port
        self.sent = self.got = self.buf_alloc = self.fwd_cnt = 0
        self.is_open = self.has_ended = False

    def room(self):
        return self.buf_alloc - (self.sent - self.fwd_cnt) if self.is_open else 0


class Guest:
    def __init__(self, wire, place):
        options = {"msix": True} if wire == "vfio-user" else {}
        self.driver = VsockDriver(VirtioPci(keptlab.connect(wire, place, **options)), CID)
        self.streams = {}

    def connect(self, guest_port):
        stream = self.streams[guest_port, LISTENS] = Stream(guest_port, LISTENS)
        self.driver.send(REQUEST, *stream.ports)
        while not stream.is_open:
            self.take()
        self.say(stream, 1)  # the host's program waits for it
        return stream

    def say(self, stream, length):
        self.driver.send(RW, *stream.ports, piece(stream.sent, length))
        stream.sent += length

    def take(self):
        packet = self.driver.take()
        ports = packet.dst_port, packet.src_port
        if packet.op == REQUEST:
            assert packet.dst_port == DIALS and ports not in self.streams, packet
            self.streams[ports] = Stream(*ports)
            self.driver.send(RESPONSE, *ports)
            self.streams[ports].is_open = True
        stream = self.streams[ports]
        stream.buf_alloc, stream.fwd_cnt = packet.buf_alloc, packet.fwd_cnt
        assert packet.op != RST, f"{packet} after {stream.sent} and {stream.got} bytes"
        if packet.op == RESPONSE:
            assert not stream.is_open
            stream.is_open = True
        elif packet.op == RW:
            assert packet.payload == piece(stream.got, packet.length), f"other bytes within {packet.length} from {stream.got} on"
            stream.got += packet.length
        elif packet.op == SHUTDOWN:
            stream.has_ended |= bool(packet.flags & NO_SEND)
        elif packet.op == CREDIT_REQUEST:
            self.driver.send(CREDIT_UPDATE, *ports)

    def exchange(self):
        """Something to each stream, and something from one."""
        for stream in list(self.streams.values()):
            length = min(stream.room(), random.randrange(1, 12000))
            if length > 0:
                self.say(stream, length)
            else:
                self.driver.send(CREDIT_UPDATE, *stream.ports)
        self.take()

    def end(self, stream, program):
        """In order, with all bytes of both directions."""
        self.driver.send(SHUTDOWN, *stream.ports, flags=NO_SEND)
        while not stream.has_ended:
            self.driver.send(CREDIT_UPDATE, *stream.ports)
            self.take()
        program.join()
        assert program.fault is None, program.fault
        assert (program.got, program.sent) == (stream.sent, stream.got)
        # Both directions have ended: the device knows it no more when it has answered.
        self.driver.send(SHUTDOWN, *stream.ports, flags=NO_SEND | 1)
        while (packet := self.driver.take()).op != RST or (packet.dst_port, packet.src_port) != stream.ports:
            assert packet.op in (CREDIT_UPDATE, CREDIT_REQUEST, SHUTDOWN, RW), packet
            other = self.streams[packet.dst_port, packet.src_port]
            other.buf_alloc, other.fwd_cnt = packet.buf_alloc, packet.fwd_cnt
            assert packet.payload == piece(other.got, packet.length)
            other.got += packet.length
        del self.streams[stream.ports]


def accept(listener):
    """The guest's connection. A process that died while it connected has left one without a byte."""
    while not (sock := listener.accept()[0]).recv(1, socket.MSG_PEEK):
        sock.close()
    return sock


def greet(folder):
    """A program of the host that connects to the guest."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(f"{folder}/host")
    sock.sendall(b"CONNECT %d\n" % DIALS)
    return sock


def hear_port(sock):
    line = b""
    while not line.endswith(b"\n"):
        byte = sock.recv(1)
        assert byte, f"the end behind {line}"
        line += byte
    assert line.startswith(b"OK "), line
    return int(line[3:])


def streams(wire, place, kills, folder):
    """outboard-vsock: no byte of a stream is lost, doubled or moved, and none is reset, when its process dies."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{folder}/host_{LISTENS}")
    listener.listen()
    guest = Guest(wire, place)
    long = guest.connect(1000)
    program = Program(accept(listener))
    dialled = greet(folder)
    while len(guest.streams) == 1:
        guest.take()
    other_program = hear_port(dialled) and Program(dialled)
    other = next(stream for stream in guest.streams.values() if stream is not long)
    killer = keptlab.disturber(kills, "outboard-vsock")
    rounds, brief, brief_program = 0, None, None
    while killer.is_alive():
        rounds += 1
        guest.exchange()
        for one in (program, other_program):
            assert one.fault is None, one.fault
        if rounds % SHORT_EVERY == 0:
            if brief:
                guest.end(brief, brief_program)
            brief = guest.connect(2000 + rounds)
            brief_program = Program(accept(listener))
        killer.progress.set()
    if brief:
        guest.end(brief, brief_program)
    guest.end(long, program)
    guest.end(other, other_program)
    print("kept")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

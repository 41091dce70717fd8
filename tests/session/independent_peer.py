#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A second implementation of docs/session-protocol.md, written from that text alone.

It talks to the engine in the shared library, in one process and without a socket: both kinds of channel,
with and without a key. Usage: independent_peer.py LIBRARY
"""
import ctypes
import hashlib
import hmac
import struct
import sys

HELLO, HELLO_ACK, BYE, GOAWAY, PING, PONG, OPEN, ACCEPT, REFUSE, DATA, CREDIT, FIN, RESET = range(1, 14)
HEADER = struct.Struct("<BBHIQQ")
GREETING = struct.Struct("<8sHHIQ")
MASK = (1 << 64) - 1


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def stuff(data):
    out = bytearray()
    for piece in (data + b"\0").split(b"\0")[:-1]:
        while len(piece) >= 254:
            out += b"\xff" + piece[:254]
            piece = piece[254:]
        out += bytes([len(piece) + 1]) + piece
    return bytes(out)


def unstuff(data):
    out = bytearray()
    while data:
        code = data[0]
        assert 1 <= code <= len(data), "the block is cut"
        out += data[1:code]
        data = data[code:]
        if code < 255 and data:
            out.append(0)
    return bytes(out)


def mix(value):
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD & MASK
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 & MASK
    return value ^ value >> 33


def make_tag(a, b, key):
    low, high = sorted((a, b))
    if key:
        digest = hmac.digest(key, b"outboard session 2 tag" + struct.pack("<QQ", low, high), "sha256")
        return int.from_bytes(digest[:8], "little") or 1
    return mix((mix(low) + high) & MASK) or 1


class Peer:
    """The other end of the channel: frames in, frames out."""

    def __init__(self, nonce, line, key=None):
        self.nonce, self.line, self.key = nonce, line, key
        self.out, self.rest, self.frames = b"", b"", []
        self.tag = self.theirs = None
        self.challenge = b"sixteen bytes..." if key else bytes(16)
        self.asked = bytes(16)  # what the engine wants proven
        self.sent = self.received = 0
        self.send_raw(HELLO, self.hello())

    def hello(self):
        return GREETING.pack(b"OUTBOARD", 2, 1 if self.key else 0, 100, self.nonce)

    def send_raw(self, kind, payload, flags=0, seq=0, stream=0, tag=0):
        frame = HEADER.pack(kind, flags, len(payload), seq, stream, tag) + payload
        if self.line:
            frame = b"\0" + stuff(frame + struct.pack("<I", crc32c(frame))) + b"\0"
        self.out += frame

    def send(self, kind, payload, stream=0):
        greater = 1 if self.nonce > self.theirs else 0
        self.send_raw(kind, payload, greater, self.sent, stream, self.tag)
        self.sent += 1

    def prove(self, key, payload):
        return hmac.digest(key, b"outboard session 2 proof" + payload, "sha256") if key else bytes(32)

    def greeted(self, kind, payload):
        magic, version, flags, _, nonce = GREETING.unpack(payload[:24])
        assert (magic, version, flags) == (b"OUTBOARD", 2, 1 if self.key else 0)
        self.theirs = nonce
        if kind == HELLO:
            self.acknowledge()
            return
        assert len(payload) == 96 and struct.unpack("<Q", payload[24:32])[0] == self.nonce
        challenge, answered, proof = payload[32:48], payload[48:64], payload[64:]
        assert (challenge != bytes(16)) == bool(self.key)
        if challenge != self.asked:
            self.asked = challenge
            self.acknowledge()
        if answered == bytes(16) and self.key:
            assert proof == bytes(32)
            return
        assert answered == self.challenge and proof == self.prove(self.key, payload[:64])
        self.tag = make_tag(self.nonce, nonce, self.key)

    def acknowledge(self):
        answer = self.hello() + struct.pack("<Q", self.theirs) + self.challenge + self.asked
        proof = self.prove(self.key, answer) if self.asked != bytes(16) else bytes(32)
        self.send_raw(HELLO_ACK, answer + proof)

    def take_frame(self, frame):
        kind, flags, length, seq, stream, tag = HEADER.unpack(frame[:24])
        payload = frame[24:]
        assert len(payload) == length
        if kind in (HELLO, HELLO_ACK):
            assert (flags, seq, stream, tag) == (0, 0, 0, 0)
            self.greeted(kind, payload)
            return
        assert tag == self.tag and seq == self.received
        assert flags == (1 if self.theirs > self.nonce else 0)
        self.received += 1
        self.frames.append((kind, stream, payload))

    def take(self, data):
        self.rest += data
        while self.line and b"\0" in self.rest:
            stuffed, self.rest = self.rest.split(b"\0", 1)
            if stuffed:
                frame = unstuff(stuffed)
                assert struct.unpack("<I", frame[-4:])[0] == crc32c(frame[:-4])
                self.take_frame(frame[:-4])
        while not self.line and len(self.rest) >= 24:
            length = 24 + HEADER.unpack(self.rest[:24])[2]
            if len(self.rest) < length:
                break
            self.take_frame(self.rest[:length])
            self.rest = self.rest[length:]


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class Open(ctypes.Structure):
    _fields_ = [("service", ctypes.c_void_p), ("service_len", ctypes.c_size_t),
                ("metadata", ctypes.c_void_p), ("metadata_len", ctypes.c_size_t)]


POINTER = ctypes.c_void_p
UP = ctypes.CFUNCTYPE(None, POINTER, ctypes.c_uint64)
REASON = ctypes.CFUNCTYPE(None, POINTER, ctypes.c_uint32)
INCOMING = ctypes.CFUNCTYPE(None, POINTER, POINTER, ctypes.POINTER(Open))
STREAM = ctypes.CFUNCTYPE(None, POINTER, POINTER)
STREAM_REASON = ctypes.CFUNCTYPE(None, POINTER, POINTER, ctypes.c_uint32)
RANDOM = ctypes.CFUNCTYPE(ctypes.c_int, POINTER, POINTER, ctypes.c_size_t)


class Config(ctypes.Structure):
    """struct ob_session_config, with its events in it."""

    _fields_ = [("size", ctypes.c_size_t), ("channel", ctypes.c_int), ("up", UP), ("ended", REASON), ("going_away", REASON), ("pong", UP),
                ("incoming", INCOMING), ("opened", STREAM), ("refused", STREAM_REASON), ("readable", STREAM),
                ("writable", STREAM), ("finished", STREAM), ("reset", STREAM_REASON), ("reserved", POINTER * 8), ("user", POINTER), ("random", RANDOM),
                ("window", ctypes.c_uint32), ("send_buffer", ctypes.c_uint32), ("max_streams", ctypes.c_uint32),
                ("key", ctypes.c_char_p), ("key_len", ctypes.c_size_t), ("listens", ctypes.c_bool), ("keepalive_ns", ctypes.c_uint64),
                ("idle_timeout_ns", ctypes.c_uint64)]


class Engine:
    """The engine with an application that echoes the service "echo" and nothing else."""

    def __init__(self, library, line, key):
        self.lib, self.handle, self.tag = library, POINTER(), None
        self.config = Config(size=ctypes.sizeof(Config), channel=1 if line else 0, window=1000, key=key, key_len=len(key or b""))
        self.config.up = UP(lambda user, tag: setattr(self, "tag", tag))
        self.config.incoming = INCOMING(self.incoming)
        self.config.readable = STREAM(self.echo)
        self.config.random = RANDOM(lambda user, data, length: ctypes.memset(data, 0x42, length) and 0)
        assert library.ob_session_new(ctypes.byref(self.config), ctypes.byref(self.handle)) == 0
        assert library.ob_session_transport_up(self.handle, ctypes.c_uint64(0)) == 0

    def incoming(self, _user, stream, asked):
        service = ctypes.string_at(asked.contents.service, asked.contents.service_len)
        if service == b"echo":
            assert self.lib.ob_stream_accept(POINTER(stream)) == 0
        else:
            self.lib.ob_stream_refuse(POINTER(stream), 2)

    def echo(self, _user, stream):
        data = ctypes.create_string_buffer(500)
        stream = POINTER(stream)
        while (length := self.lib.ob_stream_read(stream, data, 500)) > 0:
            assert self.lib.ob_stream_write(stream, data, length) == length
        if length == 0:
            assert self.lib.ob_stream_shutdown(stream) == 0
            self.lib.ob_stream_free(stream)

    def give(self, data):
        return self.lib.ob_session_receive(self.handle, data, len(data), ctypes.c_uint64(0))

    def take(self):
        out, iov = b"", (Iovec * 16)()
        while self.lib.ob_session_has_output(self.handle):
            count = self.lib.ob_session_transmit(self.handle, iov, 16, ctypes.c_uint64(0))
            data = b"".join(ctypes.string_at(span.base, span.len) for span in iov[:count])
            self.lib.ob_session_transmitted(self.handle, len(data))
            out += data
        return out


def run(engine, peer):
    """Carries bytes until nothing moves; gives the engine's last verdict and the frames that came."""
    verdict = 0
    while True:
        data, peer.out = peer.out, b""
        verdict = engine.give(data) or verdict
        back = engine.take()
        peer.take(back)
        if not back and not peer.out:
            frames, peer.frames = peer.frames, []
            return verdict, frames


def open_payload(service, window):
    return struct.pack("<IHH", window, len(service), 0) + service


def converse(library, line, key, nonce):
    engine, peer = Engine(library, line, key), Peer(nonce, line, key)
    assert run(engine, peer) == (0, [])
    assert engine.tag == peer.tag, "the tags differ"
    first = 2 if peer.nonce > peer.theirs else 1

    peer.send(OPEN, open_payload(b"echo", 300), first)
    peer.send(OPEN, open_payload(b"other", 300), first + 2)
    peer.send(PING, b"pingpong")
    frames = run(engine, peer)[1]
    assert sorted(frames) == [(PONG, 0, b"pingpong"), (ACCEPT, first, struct.pack("<I", 1000)),
                              (REFUSE, first + 2, struct.pack("<I", 2))]

    sent = bytes(range(256)) * 3 + bytes(200)
    peer.send(DATA, sent, first)
    frames = run(engine, peer)[1]
    assert frames == [(CREDIT, first, struct.pack("<QI", 968, 1000)), (DATA, first, sent[:300])], frames
    peer.send(CREDIT, struct.pack("<QI", 300, 1000), first)
    peer.send(FIN, struct.pack("<Q", len(sent)), first)
    frames = run(engine, peer)[1]
    assert b"".join(payload for kind, _, payload in frames if kind == DATA) == sent[300:]
    assert frames[-1] == (FIN, first, struct.pack("<Q", len(sent)))

    peer.send(DATA, b"x", first + 4)
    verdict, frames = run(engine, peer)
    assert frames[0] == (BYE, 0, struct.pack("<I", 19))
    assert (verdict < 0) == (not line)
    library.ob_session_free(engine.handle)


def check_examples():
    """The figures under "Examples"."""
    a, b, key = 0x1111111111111111, 0x2222222222222222, b"open sesame"
    tag = make_tag(a, b, None)
    assert tag == 0x1E33C05A1F3C8FF9 and make_tag(b, a, key) == 0x48BC087AFD265C21
    answer = GREETING.pack(b"OUTBOARD", 2, 1, 1024, b) + struct.pack("<Q", a) + b"\xbb" * 16 + b"\xaa" * 16
    assert Peer(b, False, key).prove(key, answer).hex().startswith("a5f5c7278378917c308f2fcf")
    frame = HEADER.pack(DATA, 0, 2, 1, 1, tag) + b"hi"
    assert crc32c(frame) == 0x89E6E507
    stuffed = stuff(frame + struct.pack("<I", crc32c(frame)))
    assert stuffed.hex() == "020a02020201010102010101010101010ff98f3c1f5ac0331e686907e5e689"
    assert unstuff(stuffed)[:-4] == frame


def main():
    library = ctypes.CDLL(sys.argv[1])
    library.ob_stream_read.restype = library.ob_stream_write.restype = ctypes.c_ssize_t
    library.ob_session_has_output.restype = ctypes.c_bool
    assert crc32c(b"123456789") == 0xE3069283
    assert hashlib.sha256(b"abc").hexdigest().startswith("ba7816bf")
    check_examples()
    for line in (False, True):
        for key in (None, b"open sesame"):
            for nonce in (1, MASK):
                converse(library, line, key, nonce)
    print("8 conversations")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: BSD-3-Clause
"""A driver of a virtio socket device (virtio 1.2, 5.10), on virtio_driver.py."""
import collections
import struct

from virtio_driver import READ, VERSION_1, WRITE

HEADER = struct.Struct("<QQIIIHHIII")
STREAM, SEQPACKET = 1, 2
REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST = range(1, 8)
NO_RECEIVE, NO_SEND = 1, 2
END_OF_MESSAGE, END_OF_RECORD = 1, 2
SEQPACKET_FEATURE = 1 << 1

HOST = 2
BUFFER = 3776  # bytes of a receive buffer, as Linux's

Packet = collections.namedtuple("Packet", "src_cid dst_cid src_port dst_port length type op flags buf_alloc fwd_cnt payload")


class VsockDriver:
    def __init__(self, pci, cid, features=VERSION_1 | SEQPACKET_FEATURE):
        self.pci, self.cid, self.memory = pci, cid, pci.memory
        assert pci.config(0, 4) | pci.config(4, 4) << 32 == cid
        self.receive, self.transmit, self.events = pci.start(features)
        self.buffers = {}
        self.forwarded = collections.Counter()  # bytes of each connection that have left our buffers
        self.peer = HOST  # the other end of all connections
        for _ in range(64):
            self.give()
        self.receive.kick()
        self.out = self.memory.take(HEADER.size + 65536)

    def give(self, address=None):
        address = address or self.memory.take(BUFFER)
        self.buffers[self.receive.add([(address, BUFFER, WRITE)])] = address

    def send(self, op, guest_port, host_port, payload=b"", *, kind=STREAM, flags=0, buf_alloc=262144, split=None):
        """One packet, in descriptors that are cut at `split`."""
        header = HEADER.pack(self.cid, self.peer, guest_port, host_port, len(payload), kind, op, flags, buf_alloc,
                             self.forwarded[guest_port, host_port])  # fmt: skip
        data = header + payload
        self.memory.write(self.out, data)
        cut = split if split and split < len(data) else None
        pieces = [(self.out, cut, READ), (self.out + cut, len(data) - cut, READ)] if cut else [(self.out, len(data), READ)]
        token = self.transmit.add(pieces)
        self.transmit.kick()
        while True:
            taken = self.transmit.take()
            if taken:
                assert taken == (token, 0)
                return
            self.pci.wait_for_interrupt()

    def take(self):
        """The next packet of the device, waited for."""
        while True:
            found = self.receive.take()
            if found:
                break
            self.pci.wait_for_interrupt()
        token, written = found
        address = self.buffers.pop(token)
        fields = HEADER.unpack(self.memory.read(address, HEADER.size))
        payload = self.memory.read(address + HEADER.size, fields[4])
        assert written == HEADER.size + len(payload)
        packet = Packet(*fields, payload)
        assert (packet.src_cid, packet.dst_cid) == (self.peer, self.cid)
        self.forwarded[packet.dst_port, packet.src_port] += len(payload)
        self.give(address)
        self.receive.kick()
        return packet

    def expect(self, op, **fields):
        """The next packet, which is to have this op and these fields; credit updates in between are passed over."""
        packet = self.take()
        while packet.op == CREDIT_UPDATE and op != CREDIT_UPDATE:
            packet = self.take()
        assert packet.op == op and all(getattr(packet, name) == value for name, value in fields.items()), packet
        return packet

    def connect(self, guest_port, host_port, kind=STREAM, buf_alloc=262144):
        self.forwarded[guest_port, host_port] = 0
        self.send(REQUEST, guest_port, host_port, kind=kind, buf_alloc=buf_alloc)
        return self.expect(RESPONSE, src_port=host_port, dst_port=guest_port, type=kind)

    def read(self, length):
        """So many bytes of the one connection that has any."""
        data = b""
        while len(data) < length:
            packet = self.expect(RW)
            data += packet.payload
            self.send(CREDIT_UPDATE, packet.dst_port, packet.src_port)
        return data

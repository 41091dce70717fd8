# SPDX-License-Identifier: BSD-3-Clause
"""A driver of a virtio console with named ports (virtio 1.2, 5.3), on virtio_driver.py."""
import struct

from virtio_driver import READ, VERSION_1, WRITE

MULTIPORT = 1 << 1
CONTROL = struct.Struct("<IHH")
DEVICE_READY, PORT_ADD, PORT_REMOVE, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME = range(8)
TO_GUEST, FROM_GUEST = 2, 3
ALL_PORTS = 0xFFFFFFFF


class Driver:
    def __init__(self, pci, features=0):
        self.pci, self.memory = pci, pci.memory
        self.queues = pci.start(VERSION_1 | MULTIPORT | features, size=8)
        self.buffers = {}

    def offer(self, number, length=64):
        address = self.memory.take(length)
        self.buffers[number, self.queues[number].add([(address, length, WRITE)])] = address
        self.queues[number].kick()

    def receive(self, number):
        token, written = self.queues[number].wait()
        return self.memory.read(self.buffers.pop((number, token)), written)

    def send(self, number, *pieces):
        """One chain, a descriptor for each piece."""
        token = self.queues[number].add([(self.memory.put(piece), len(piece), READ) for piece in pieces])
        self.queues[number].kick()
        return token

    def say(self, port, event, value):
        """A message in two descriptors, and the wait for its return."""
        message = CONTROL.pack(port, event, value)
        token = self.send(FROM_GUEST, message[:3], message[3:])
        assert self.queues[FROM_GUEST].wait() == (token, 0)

    def hear(self):
        message = self.receive(TO_GUEST)
        return (*CONTROL.unpack(message[:8]), message[8:])


class OnePort(Driver):
    """The driver of a device whose one port is 1."""

    INPUT, OUTPUT = 4, 5

    def __init__(self, pci, name):
        super().__init__(pci)
        self.say(ALL_PORTS, DEVICE_READY, 1)
        self.expect(PORT_ADD)
        self.set_up(name)

    def expect(self, event, value=1, text=b""):
        """The next message of the device."""
        self.offer(TO_GUEST)
        heard = self.hear()
        assert heard == (1, event, value, text), heard

    def wait_open(self):
        """PORT_OPEN 1: messages tell states, so the one before it may not have been sent."""
        while True:
            self.offer(TO_GUEST)
            heard = self.hear()
            assert heard[:2] == (1, PORT_OPEN), heard
            if heard[2]:
                return

    def set_up(self, name):
        self.say(1, PORT_READY, 1)
        self.expect(PORT_NAME, 1, name)

    def open(self):
        self.say(1, PORT_OPEN, 1)

    def close(self):
        self.say(1, PORT_OPEN, 0)

    def write(self, data):
        token = self.send(self.OUTPUT, data)
        assert self.queues[self.OUTPUT].wait() == (token, 0)

    def read(self, length):
        """So many bytes of the host."""
        data = b""
        while len(data) < length:
            self.offer(self.INPUT, length - len(data))
            data += self.receive(self.INPUT)
        return data

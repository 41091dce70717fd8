# SPDX-License-Identifier: BSD-3-Clause
"""The machine of a virtio driver: guest memory, a PCI function behind a wire, and its interrupts.

MpqemuBus has INTx, VfioBus MSI-X or INTx and, if asked, doorbells by eventfd. Both speak their wire by themselves
(mpqemu.py, vfio_user.py) and share no code with the library.
"""
import mmap
import os
import select
import struct

import mpqemu
import vfio_user

MEMORY_LEN = 16 << 20
PAGE = 4096
PATIENCE_S = 30
BAR_ADDRESS = [0xFE000000, 0xFE100000]
MSIX_CAPABILITY = 0x11


class Memory:
    """Guest memory, and who hands it out: never the same twice."""

    def __init__(self):
        self.fd = mpqemu.memory_file(MEMORY_LEN)
        self.map = mmap.mmap(self.fd, MEMORY_LEN)
        self.free = PAGE

    def close(self):
        self.map.close()
        os.close(self.fd)

    def take(self, length, align=16):
        """Fresh memory, all zeroes: its address."""
        address = (self.free + align - 1) // align * align
        self.free = address + length
        assert self.free <= MEMORY_LEN
        return address

    def put(self, data, align=16):
        """Fresh memory with these bytes: its address."""
        address = self.take(len(data), align)
        self.write(address, data)
        return address

    def read(self, address, length):
        return self.map[address : address + length]

    def write(self, address, data):
        self.map[address : address + len(data)] = data

    def number(self, address, size):
        return int.from_bytes(self.read(address, size), "little")

    def set_number(self, address, value, size):
        self.write(address, value.to_bytes(size, "little"))


class MpqemuBus:
    """Memory, registers and INTx by x-pci-proxy-dev's messages."""

    msix = False

    def __init__(self, sock):
        self.proxy = mpqemu.Proxy(sock)
        self.memory = Memory()
        self.irq = vfio_user.Event()
        self.resample = vfio_user.Event()
        self.share()
        self.proxy.send(self.proxy.message("SET_IRQFD"), [self.irq.fd, self.resample.fd])
        self.place()

    def close(self):
        self.proxy.sock.close()
        self.memory.close()
        vfio_user.close_all([self.irq.fd, self.resample.fd])

    def share(self):
        self.proxy.send(self.proxy.sysmem((0, MEMORY_LEN, 0)), [self.memory.fd])

    def place(self):
        for index, address in enumerate(BAR_ADDRESS):
            self.config_write(0x10 + 4 * index, 4, address)
        self.config_write(0x04, 2, 0x0006)

    def reset(self):
        self.proxy.ask(self.proxy.reset())
        self.place()

    def config_read(self, offset, size):
        return self.proxy.config_read(offset, size) & (1 << 8 * size) - 1

    def config_write(self, offset, size, value):
        self.proxy.config_write(offset, size, value)

    def read(self, bar, offset, size):
        return self.proxy.bar_read(BAR_ADDRESS[bar] + offset, size)

    def write(self, bar, offset, size, value):
        self.proxy.bar_write(BAR_ADDRESS[bar] + offset, size, value)

    def take_interrupts(self):
        """The interrupts that came since the last call: INTx counts as vector 0."""
        return [0] if self.irq.take() else []

    def wait_for_interrupt(self):
        assert select.select([self.irq.fd], [], [], PATIENCE_S)[0], "no interrupt"
        return self.take_interrupts()

    def end_interrupt(self):
        """The guest's end of INTx: the device signals again if the level is still up."""
        self.resample.signal()


class VfioBus:
    """Memory, registers and interrupts by vfio-user; doorbells by eventfd where asked for."""

    def __init__(self, sock, msix=True, doorbells=False):
        self.client = vfio_user.Client(sock)
        self.memory = Memory()
        self.msix = msix
        self.client.negotiate()
        count = self.client.irq_info(vfio_user.MSIX)[3] if msix else 1
        self.events = [vfio_user.Event() for _ in range(count)]
        self.share()
        self.doorbells = self.get_doorbells() if doorbells else {}
        self.place()

    def close(self):
        self.client.close()
        self.memory.close()
        vfio_user.close_all([event.fd for event in self.events] + list(self.doorbells.values()))

    def share(self):
        self.client.map(0, MEMORY_LEN, fds=[self.memory.fd])
        kind = vfio_user.MSIX if self.msix else vfio_user.INTX
        for first in range(0, len(self.events), 8):
            events = self.events[first : first + 8]
            flags = vfio_user.EVENTFD | vfio_user.TRIGGER
            self.client.set_irqs(kind, flags, first, len(events), fds=[event.fd for event in events])

    def get_doorbells(self):
        """The eventfds of BAR 0, by offset."""
        reply = self.client.ask(vfio_user.GET_REGION_IO_FDS, vfio_user.FOUR.pack(4096, 0, 0, 0))
        _, _, _, count = vfio_user.FOUR.unpack(reply.payload[:16])
        found = {}
        for at in range(16, 16 + 40 * count, 40):
            offset, _, index = struct.unpack_from("<QQI", reply.payload, at)
            found[offset] = reply.fds[index]
        return found

    def place(self):
        for index, address in enumerate(BAR_ADDRESS):
            self.config_write(0x10 + 4 * index, 4, address)
        self.config_write(0x04, 2, 0x0406 if self.msix else 0x0006)
        if self.msix:
            for vector in range(len(self.events)):
                self.write(1, 16 * vector + 12, 4, 0)
            at = self.config_read(0x34, 1)
            while self.config_read(at, 1) != MSIX_CAPABILITY:
                at = self.config_read(at + 1, 1)
            self.config_write(at + 2, 2, self.config_read(at + 2, 2) | 0x8000)

    def reset(self):
        self.client.ask(vfio_user.DEVICE_RESET)
        self.place()

    def config_read(self, offset, size):
        return int.from_bytes(self.client.read(vfio_user.CONFIG, offset, size), "little")

    def config_write(self, offset, size, value):
        self.client.write(vfio_user.CONFIG, offset, value.to_bytes(size, "little"))

    def read(self, bar, offset, size):
        return int.from_bytes(self.client.read(bar, offset, size), "little")

    def write(self, bar, offset, size, value):
        if bar == 0 and offset in self.doorbells:
            os.eventfd_write(self.doorbells[offset], 1)
        else:
            self.client.write(bar, offset, value.to_bytes(size, "little"))

    def take_interrupts(self):
        return [number for number, event in enumerate(self.events) if event.take()]

    def wait_for_interrupt(self):
        assert select.select([event.fd for event in self.events], [], [], PATIENCE_S)[0], "no interrupt"
        return self.take_interrupts()

    def end_interrupt(self):
        if not self.msix:
            self.client.set_irqs(vfio_user.INTX, vfio_user.NONE | vfio_user.UNMASK, 0, 1)

# SPDX-License-Identifier: BSD-3-Clause
"""A machine whose VMM speaks vfio-user, and whose guest takes MSI-X, MSI or INTx."""
import select

import migration
import vfio_user
from driver import BAR, MEMORY_LEN, PATIENCE_S, Machine

KINDS = {"msix": vfio_user.MSIX, "msi": vfio_user.MSI, "intx": vfio_user.INTX}
VECTORS = {"msix": 65, "msi": 32, "intx": 1}
TABLE = 0x2000


class VfioMachine(Machine):
    def __init__(self, client, interrupts="msix", granted=None):
        """granted: how many MSI vectors the guest takes, a power of two; all unless given."""
        super().__init__(client)
        self.client = client
        self.interrupts = interrupts
        self.kind = KINDS[interrupts]
        self.events = [vfio_user.Event() for _ in range(granted or VECTORS[interrupts])]

    def close(self):
        super().close()
        vfio_user.close_all([event.fd for event in self.events])

    def share(self):
        """What a VMM gives a device that it has found: memory and eventfds."""
        self.client.negotiate()
        self.client.map(0, MEMORY_LEN, fds=[self.memory_fd])
        for first in range(0, len(self.events), 8):
            events = self.events[first : first + 8]
            flags = vfio_user.EVENTFD | vfio_user.TRIGGER
            self.client.set_irqs(self.kind, flags, first, len(events), fds=[event.fd for event in events])

    def connect(self, reset=False):
        """Finds the device, resets it if it may have had another VM, and sets it up."""
        self.share()
        if reset:
            self.client.ask(vfio_user.DEVICE_RESET)
        self.config(0x10, BAR.to_bytes(8, "little"))
        self.config(0x04, b"\x06\x00" if self.interrupts == "intx" else b"\x06\x04")
        at = self.client.read(vfio_user.CONFIG, 0x34, 1)[0]
        if self.interrupts == "msix":
            self.enable_msix(at)
        elif self.interrupts == "msi":
            self.enable_msi(at)
        else:
            assert at == 0, "no capability"

    def enable_msix(self, at):
        assert self.client.read(vfio_user.CONFIG, at, 4) == b"\x11\x00\x40\x00"
        for vector in range(len(self.events)):
            self.set_register(TABLE + 16 * vector + 12, 0)
        self.config(at + 2, b"\x00\x80")

    def enable_msi(self, at):
        assert self.client.read(vfio_user.CONFIG, at, 4) == b"\x05\x00\x8a\x01", "32 vectors, 64 bits, masks"
        self.config(at + 2, bytes([(len(self.events).bit_length() - 1) << 4 | 1]))

    def resume(self, client, process, state):
        """Goes on with another process, which is given this machine's memory and eventfds and loads the state."""
        self.client, self.process = client, process
        self.share()
        migration.load(client, state)

    def config(self, offset, data):
        self.client.write(vfio_user.CONFIG, offset, data)

    def register(self, offset, size=4):
        return int.from_bytes(self.client.read(0, offset, size), "little")

    def set_register(self, offset, value, size=4):
        self.client.write(0, offset, value.to_bytes(size, "little"))

    def vector(self, queue):
        return min(queue, VECTORS[self.interrupts] - 1)

    def take_interrupt(self):
        ready = select.select([event.fd for event in self.events], [], [], PATIENCE_S)[0]
        assert ready, "no interrupt"
        return [self.events.index(event) for event in self.events if event.fd in ready and event.take()]

    def end_interrupt(self):
        """Edges need none; INTx is masked until the VMM unmasks it."""
        if self.interrupts == "intx":
            self.client.set_irqs(self.kind, vfio_user.NONE | vfio_user.UNMASK, 0, 1)

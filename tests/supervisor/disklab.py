# SPDX-License-Identifier: BSD-3-Clause
"""A VMM of test_restart.py whose guest has outboard-nvme as its disk: it polls completions, reuses each buffer at once,
and knows of each block the contents that it must have."""
import random
import socket
import struct
import sys

import driver
import mpqemu
from restartlab import Killer

BLOCK = 4096
BLOCKS = 256
DEPTH = 24


class Machine(driver.Machine):
    """Interrupts that come twice are none too many: completions alone count."""


class Storm:
    """Reads and writes at random, DEPTH at a time, each block in one command at a time."""

    def __init__(self, fd, kills):
        self.machine = Machine(mpqemu.Proxy(socket.socket(fileno=int(fd))))
        self.machine.connect()
        self.controller = driver.Controller(self.machine)
        self.queue = self.controller.create_queue()
        self.disk = driver.Disk(self.queue)
        self.model = [0] * BLOCKS  # the version that each block has
        self.version = 0
        self.buffers = [self.machine.pages(1) for _ in range(DEPTH)]
        self.free = list(range(DEPTH))
        self.busy = set()
        self.outstanding = {}
        self.done = 0
        self.killer = Killer(int(kills), "outboard-nvme")

    @staticmethod
    def contents(block, version):
        return struct.pack("<QQ", block, version) * (BLOCK // 16) if version else bytes(BLOCK)

    def start(self):
        slot = self.free.pop()
        block = random.choice([block for block in range(BLOCKS) if block not in self.busy])
        self.busy.add(block)
        writes = random.random() < 0.6
        if writes:
            self.version += 1
            self.machine.write(self.buffers[slot], self.contents(block, self.version))
        command = self.queue.put(1 if writes else 2, 1, self.buffers[slot], 0, d10=block * 8, d12=BLOCK // 512 - 1)
        assert command not in self.outstanding
        self.outstanding[command] = (slot, block, self.version if writes else None)

    def end(self, completion):
        assert completion.command_id in self.outstanding, f"{completion} came twice, or for no command"
        slot, block, version = self.outstanding.pop(completion.command_id)
        assert completion.status == driver.SUCCESS, f"{completion} for block {block}"
        if version is None:
            got = self.machine.read(self.buffers[slot], BLOCK)
            assert got == self.contents(block, self.model[block]), (
                f"block {block}: got {struct.unpack_from('<QQ', got)}, expected version {self.model[block]}"
            )
        else:
            self.model[block] = version
        self.machine.write(self.buffers[slot], b"\xee" * BLOCK)
        self.busy.remove(block)
        self.free.append(slot)
        self.done += 1
        self.killer.progress.set()

    def collect(self):
        queue, taken = self.queue, 0
        while completion := queue.peek():
            queue.head = (queue.head + 1) % queue.entries
            queue.phase ^= queue.head == 0
            taken += 1
            self.end(completion)
        if taken:
            self.machine.set_register(driver.DOORBELLS + 8 * queue.number + 4, queue.head)

    def run(self):
        while self.killer.is_alive() or self.outstanding:
            if self.free and self.killer.is_alive():
                for _ in range(random.randint(1, len(self.free))):
                    self.start()
                self.queue.ring()
            self.collect()
            if random.random() < 0.01:
                self.machine.map([(0, driver.MEMORY_LEN, 0)])
                assert self.machine.register(driver.CSTS) == driver.RDY

    def verify(self):
        for block in range(BLOCKS):
            got = self.disk.read(block * 8, BLOCK)
            assert got == self.contents(block, self.model[block]), f"block {block} at the end"


def storm(fd, kills):
    disk = Storm(fd, kills)
    disk.run()
    disk.verify()
    print(f"verified {disk.done > 0}")


def admin(fd, kills):
    """Queues are made and deleted, and features set, while the process is killed."""
    disk = Storm(fd, kills)
    controller, number = disk.controller, 2
    value = 0
    while disk.killer.is_alive():
        queue = controller.create_queue(number)
        assert driver.Disk(queue).read(0, BLOCK) == bytes(BLOCK)
        assert controller.delete_sq(number) == driver.SUCCESS
        assert controller.delete_cq(number) == driver.SUCCESS
        value = (value + 1) & 0xFF
        assert controller.admin.run(0x09, d10=0x08, d11=value).status == driver.SUCCESS
        assert controller.admin.run(0x0A, d10=0x08).result & 0xFF == value
        disk.machine.free = disk.buffers[-1] + 16 * driver.PAGE
        number = 2 + number % 8
        disk.killer.progress.set()
    print("verified True")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

# SPDX-License-Identifier: BSD-3-Clause
"""VMMs of test_restart.py and test_fault_points.py whose guest has outboard-nvme as its disk. The guest reuses each
buffer at once, and knows of each block the contents that it must have. It polls completions, or waits for interrupts."""
import random
import socket
import struct
import sys
import types

import driver
import migration
import mpqemu
import vfio_user
from controllab import Control
from restartlab import Asker, Killer, device, kill, upgrade_often
from test_shadow import create_shadow_queue
from vfio_machine import VfioMachine

BLOCK = 4096
BLOCKS = 256
DEPTH = 24
READ, WRITE = 2, 1


class OverMpqemu(driver.Machine):
    def __init__(self, fd):
        super().__init__(mpqemu.Proxy(socket.socket(fileno=int(fd))))
        self.connect()

    def map_again(self):
        self.map([(0, driver.MEMORY_LEN, 0)])


class OverVfioUser(VfioMachine):
    """Of its memory the upper half, which the guest does not use, comes and goes in pieces: a map is many messages."""

    PIECES = 32
    PIECE = driver.MEMORY_LEN // 2 // PIECES

    def __init__(self, path):
        super().__init__(vfio_user.Client.connect(path))
        self.connect()
        self.client.unmap(0, driver.MEMORY_LEN)
        self.client.map(0, driver.MEMORY_LEN // 2, [self.memory_fd])
        self.map_pieces()

    def pieces(self):
        return range(driver.MEMORY_LEN // 2, driver.MEMORY_LEN, self.PIECE)

    def map_pieces(self):
        for at in self.pieces():
            self.client.map(at, self.PIECE, [self.memory_fd], offset=at)

    def map_again(self):
        for at in self.pieces():
            self.client.unmap(at, self.PIECE)
        self.map_pieces()


MACHINES = {"mpqemu": OverMpqemu, "vfio-user": OverVfioUser}


class Storm:
    """Reads and writes at random, DEPTH at a time, each block in one command at a time."""

    def __init__(self, machine, shadow=False, entries=64, depth=DEPTH):
        self.machine = machine
        self.controller = driver.Controller(machine)
        make = create_shadow_queue if shadow else Storm.create_queue
        self.queue = make(self.controller, entries)
        self.disk = driver.Disk(self.queue)
        self.model = [0] * BLOCKS  # the version that each block has
        self.version = 0
        self.buffers = [machine.pages(1) for _ in range(depth)]
        self.free = list(range(depth))
        self.busy = set()
        self.outstanding = {}
        self.done = 0

    @staticmethod
    def create_queue(controller, entries):
        return controller.create_queue(1, entries)

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
        command = self.queue.put(
            WRITE if writes else READ, 1, self.buffers[slot], 0, d10=block * 8, d12=BLOCK // 512 - 1
        )  # fmt: skip
        assert command not in self.outstanding
        self.outstanding[command] = (slot, block, self.version if writes else None)

    def start_some(self):
        for _ in range(random.randint(1, len(self.free))):
            self.start()
        self.queue.ring()

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

    def collect(self):
        """Ends each command whose completion is there; how many."""
        taken = self.queue.take()
        assert taken == len(self.queue.early), "a completion came twice"
        for completion in self.queue.early.values():
            self.end(completion)
        self.queue.early.clear()
        return taken

    def collect_by_interrupt(self):
        """As Linux does: nothing but an interrupt tells of completions."""
        self.machine.take_interrupt()
        self.collect()
        self.machine.end_interrupt()

    def look_around(self):
        """What a guest does at times besides."""
        self.machine.map_again()
        assert self.machine.register(driver.CSTS) == driver.RDY

    def run(self, goes_on, by_interrupts=False):
        """Until there are no commands and no reason to go on."""
        while (wanted := goes_on()) or self.outstanding:
            drains = by_interrupts and self.outstanding and random.random() < 0.5  # the last interrupt counts too
            if self.free and wanted and not drains:
                self.start_some()
            if by_interrupts:
                self.collect_by_interrupt()
            else:
                self.collect()
            if random.random() < 0.01:
                self.look_around()

    def verify(self):
        for block in range(BLOCKS):
            got = self.disk.read(block * 8, BLOCK)
            assert got == self.contents(block, self.model[block]), f"block {block} at the end"


def storm(fd, kills):
    disk = Storm(OverMpqemu(fd))
    killer = Killer(int(kills), "outboard-nvme")

    def goes_on():
        killer.note_progress(disk.done)
        return killer.is_alive()

    disk.run(goes_on)
    disk.verify()
    print(f"verified {disk.done > 0} through {len(killer.killed)}")


def upgrades(fd, control, times):
    """The process is replaced under load, not killed."""
    disk = Storm(OverMpqemu(fd))
    asker = Asker(control, upgrade_often(int(times)))

    def goes_on():
        asker.progress.set()
        return asker.is_alive()

    disk.run(goes_on)
    disk.verify()
    print(f"verified {disk.done > 0}, {asker.answer}")


def admin(fd, kills):
    """Queues are made and deleted, and features set, while the process is killed."""
    disk = Storm(OverMpqemu(fd))
    killer = Killer(int(kills), "outboard-nvme")

    def goes_on():
        killer.progress.set()
        return killer.is_alive()

    administrate(disk, goes_on)
    print(f"verified True through {len(killer.killed)}")


def administrate(disk, goes_on):
    """Queues come and go, features are set, log pages are read and cleared; no effect is there twice."""
    controller, number = disk.controller, 2
    value, errors = 0, 0
    while goes_on():
        queue = controller.create_queue(number)
        assert driver.Disk(queue).read(0, BLOCK) == bytes(BLOCK)
        assert controller.delete_sq(number) == driver.SUCCESS
        assert controller.delete_cq(number) == driver.SUCCESS
        value = (value + 1) & 0xFF
        assert controller.admin.run(0x09, d10=0x08, d11=value).status == driver.SUCCESS
        assert controller.admin.run(0x0A, d10=0x08).result & 0xFF == value
        assert controller.admin.run(0x7F).status != driver.SUCCESS  # there is no such command
        errors += 1
        newest = struct.unpack_from("<Q", controller.log_page(1, 64))[0]
        assert newest == errors, f"got {newest} errors, expected {errors}"
        disk.machine.free = disk.buffers[-1] + 16 * driver.PAGE
        number = 2 + number % 8


class Copier:
    """The VMM's side of a migration: copies the pages that the guest has written, and those that the device tells of."""

    PAGE = 4096

    def __init__(self, machine):
        self.machine, self.client = machine, machine.client
        self.written = set()
        write = machine.write

        def write_and_note(address, data):
            self.written.update(range(address // self.PAGE, (address + len(data) - 1) // self.PAGE + 1))
            write(address, data)

        machine.write = write_and_note
        ranges = struct.pack("<QIIQQ", self.PAGE, 1, 0, 0, driver.MEMORY_LEN)
        migration.feature(self.client, migration.SET | migration.LOGGING_START, ranges)
        self.copy = bytearray(machine.read(0, driver.MEMORY_LEN))

    def copy_pages(self):
        asked = struct.pack("<QQQ", 0, driver.MEMORY_LEN, self.PAGE)
        bits = migration.feature(self.client, migration.GET | migration.LOGGING_REPORT, asked, argsz=1 << 16)[24:]
        told = {page for page in range(driver.MEMORY_LEN // self.PAGE) if bits[page // 8] & 1 << page % 8}
        for page in self.written | told:
            at = page * self.PAGE
            self.copy[at : at + self.PAGE] = self.machine.read(at, self.PAGE)
        self.written.clear()

    def check(self):
        for at in range(0, driver.MEMORY_LEN, self.PAGE):
            assert self.copy[at : at + self.PAGE] == self.machine.read(at, self.PAGE), f"page 0x{at:x} was not copied"


def read_state(client, deaths):
    """As migration.read_all(), with deaths between the pieces."""
    data = b""
    while part := migration.read_some(client, 100):
        data += part
        if deaths > 0:
            deaths -= 1
            kill(device("outboard-nvme"))
    return data


def write_state(client, data, deaths):
    """As migration.load(), with deaths between the pieces and before the last step."""
    migration.go(client, migration.RESUMING)
    for at in range(0, len(data), 777):
        migration.write(client, data[at : at + 777])
        if deaths > 0:
            deaths -= 1
            kill(device("outboard-nvme"))
    kill(device("outboard-nvme"))
    migration.go(client, migration.RUNNING)


def migrate(path, kills):
    """Deaths while the log is on, while the state of before is read, and while the state is read and written."""
    machine = OverVfioUser(path)
    disk, copier = Storm(machine), Copier(machine)
    killer = Killer(int(kills), "outboard-nvme")

    def goes_on():
        killer.note_progress(disk.done)
        if random.random() < 0.02:
            copier.copy_pages()
        return killer.is_alive()

    disk.run(goes_on)
    copier.copy_pages()
    copier.check()
    migration.go(machine.client, migration.PRE_COPY)
    assert len(read_state(machine.client, 3)) % 512 == 0, "early blocks are whole"
    migration.go(machine.client, migration.STOP_COPY)
    data = read_state(machine.client, 3)
    migration.go(machine.client, migration.STOP)
    assert migration.save(machine.client) == data
    copier.check()
    write_state(machine.client, data, 3)
    disk.verify()
    print(f"copied {disk.done > 0} through {len(killer.killed)}")


class Restarts:
    """How often the device has been restarted, as the machine's control socket says."""

    def __init__(self, path):
        self.control = Control(path, types.SimpleNamespace(running=True))

    def __call__(self):
        (device,) = self.control.ask("stats")
        return device["restarts"]


def faults(wire, place, control, deaths, guest):
    """A guest like Linux, with shadow doorbells and interrupts, or one that polls, until the device has died so often."""
    restarts = Restarts(control)
    by_interrupts = guest == "interrupts"
    # Few entries: the queues are full, and a head that moves is room that is needed.
    disk = Storm(MACHINES[wire](place), shadow=by_interrupts, entries=8, depth=7)
    disk.run(lambda: restarts() < int(deaths) and disk.done < 2000 * int(deaths), by_interrupts)
    disk.verify()
    print(f"verified through {restarts()}")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

# SPDX-License-Identifier: BSD-3-Clause
"""A small NVMe driver and the machine that it runs on: guest memory, a proxy and an interrupt line.

It follows the specification (NVMe 1.4) and shares no code with the controller. Whatever it is told to send it
sends, right or wrong.
"""
import array
import dataclasses
import mmap
import os
import select
import struct

import mpqemu
from guestlab import paths

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-nvme"

MEMORY_LEN = 32 << 20
PAGE = 4096
BAR = 0xFEB00000

CAP, VS, INTMS, INTMC, CC, CSTS, AQA, ASQ, ACQ = 0x00, 0x08, 0x0C, 0x10, 0x14, 0x1C, 0x24, 0x28, 0x30
DOORBELLS = 0x1000
ENABLE = 0x00460001  # 64 byte submissions, 16 byte completions
RDY, CFS = 1, 2

PATIENCE_S = 30

IMAGE_LEN = 8 << 20

SUCCESS = 0
INVALID_OPCODE, INVALID_FIELD, DATA_TRANSFER, ABORTED, INVALID_NAMESPACE = 0x001, 0x002, 0x004, 0x007, 0x00B
SEQUENCE, PRP_OFFSET, WRITE_PROTECTED, LBA_RANGE, CAPACITY = 0x00C, 0x013, 0x020, 0x080, 0x081
CQ_INVALID, QUEUE_ID, QUEUE_SIZE, EVENT_LIMIT, VECTOR, LOG_PAGE, QUEUE_DELETION = (
    0x100, 0x101, 0x102, 0x105, 0x108, 0x109, 0x10C)  # fmt: skip
NOT_SAVEABLE, COMPARE_FAILURE = 0x10D, 0x285


def pattern(offset, length):
    """What the image holds there: every eight bytes are their own offset."""
    return array.array("Q", range(offset, offset + length, 8)).tobytes()


@dataclasses.dataclass(frozen=True)
class Completion:
    result: int
    sq_head: int
    sq_id: int
    command_id: int
    status: int  # code type << 8 | code
    do_not_retry: bool


class Machine:
    """A guest's memory, PCI bus and interrupt controller in front of one device."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.memory_fd = mpqemu.memory_file(MEMORY_LEN)
        self.memory = mmap.mmap(self.memory_fd, MEMORY_LEN)
        self.irq = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.resample = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.free = PAGE
        self.interrupts = 0

    def connect(self):
        """What a VMM and firmware do before the guest's driver finds the device."""
        self.map([(0, MEMORY_LEN, 0)])
        self.proxy.send(self.proxy.message("SET_IRQFD"), [self.irq, self.resample])
        self.place()

    def close(self):
        self.memory.close()
        for fd in (self.memory_fd, self.irq, self.resample):
            os.close(fd)

    def map(self, regions):
        """Replaces the memory table: (guest address, length, file offset)."""
        self.proxy.send(self.proxy.sysmem(*regions), [self.memory_fd] * len(regions))

    @staticmethod
    def vector(queue):
        """The interrupt vector of a queue: INTx is one for all."""
        return 0

    def place(self):
        """What firmware does: the BAR gets its address, decoding and bus mastering are enabled."""
        self.proxy.config_write(0x10, 4, BAR)
        self.proxy.config_write(0x04, 2, 0x0006)

    def pages(self, count):
        """Fresh pages of memory: the address of the first."""
        address, self.free = self.free, self.free + count * PAGE
        assert self.free <= MEMORY_LEN
        return address

    def read(self, address, length):
        return self.memory[address : address + length]

    def write(self, address, data):
        self.memory[address : address + len(data)] = data

    def register(self, offset, size=4):
        return self.proxy.bar_read(BAR + offset, size)

    def set_register(self, offset, value, size=4):
        self.proxy.bar_write(BAR + offset, size, value)

    def take_interrupt(self):
        """Waits for an interrupt."""
        if not select.select([self.irq], [], [], PATIENCE_S)[0]:
            raise TimeoutError("no interrupt")
        os.eventfd_read(self.irq)
        self.interrupts += 1

    def end_interrupt(self):
        """The guest's end of interrupt, after which KVM asks whether the line is still up."""
        os.eventfd_write(self.resample, 1)

    def interrupt_is_up(self):
        """Whether the device holds the line up, as its PCI status says."""
        return bool(self.proxy.config_read(0x06, 2) & 0x0008)


class Queue:
    """A submission and a completion queue of the same number."""

    def __init__(self, machine, number, entries=64, cq=None):
        self.machine = machine
        self.number = number
        self.entries = entries
        self.sq = machine.pages((entries * 64 + PAGE - 1) // PAGE)
        self.cq = machine.pages((entries * 16 + PAGE - 1) // PAGE)
        machine.write(self.cq, bytes(entries * 16))
        self.tail = self.head = 0
        self.phase = 1
        self.next_id = 0
        self.early = {}  # completions that nobody has asked for yet
        self.submitted = self.completed = 0

    def put(self, opcode, nsid=0, prp1=0, prp2=0, flags=0, **dwords):
        """Writes a command to the queue without telling; its id. dwords: d10=... to d15=..."""
        self.next_id = (self.next_id + 1) & 0xFFFF
        entry = struct.pack(
            "<BBHIQQQQ6I", opcode, flags, self.next_id, nsid, 0, 0, prp1, prp2,
            *(dwords.get(f"d{i}", 0) & 0xFFFFFFFF for i in range(10, 16)),
        )  # fmt: skip
        self.machine.write(self.sq + self.tail * 64, entry)
        self.tail = (self.tail + 1) % self.entries
        self.submitted += 1
        return self.next_id

    def ring(self):
        self.machine.set_register(DOORBELLS + 8 * self.number, self.tail)

    def submit(self, *args, **kwargs):
        command_id = self.put(*args, **kwargs)
        self.ring()
        return command_id

    def peek(self):
        """The next completion if it is there; the guest's memory alone is looked at."""
        raw = self.machine.read(self.cq + self.head * 16, 16)
        result, _, sq_head, sq_id, command_id, status = struct.unpack("<IIHHHH", raw)
        if status & 1 != self.phase:
            return None
        return Completion(result, sq_head, sq_id, command_id, status >> 1 & 0x7FF, bool(status & 0x8000))

    def take(self):
        """Takes all completions that are there, and says so."""
        taken = 0
        while completion := self.peek():
            self.early[completion.command_id] = completion
            self.head = (self.head + 1) % self.entries
            self.phase ^= self.head == 0
            taken += 1
        self.completed += taken
        if taken:
            self.machine.set_register(DOORBELLS + 8 * self.number + 4, self.head)
        return taken

    def wait(self, command_id):
        """Waits, by interrupts, for the completion of a command."""
        while command_id not in self.early:
            if not self.take():
                self.machine.take_interrupt()
                self.take()
                self.machine.end_interrupt()
        return self.early.pop(command_id)

    def run(self, *args, **kwargs):
        return self.wait(self.submit(*args, **kwargs))


class Controller:
    """The driver: enables the controller and has its queues."""

    def __init__(self, machine, admin_entries=32):
        self.machine = machine
        self.admin = self.enable(admin_entries)
        self.queues = {}

    def enable(self, entries=32, cc=ENABLE):
        machine = self.machine
        admin = Queue(machine, 0, entries)
        machine.set_register(AQA, (entries - 1) << 16 | (entries - 1))
        machine.set_register(ASQ, admin.sq, 8)
        machine.set_register(ACQ, admin.cq, 8)
        machine.set_register(CC, cc)
        self.wait_status(RDY, RDY)
        return admin

    def wait_status(self, mask, value):
        """Asks until CSTS is as wanted; each question is a round trip, of which a drained device needs few."""
        for _ in range(200000):
            status = self.machine.register(CSTS)
            if status & mask == value:
                return status
        raise TimeoutError(f"CSTS is 0x{status:x}")

    def disable(self):
        self.machine.set_register(CC, 0)
        self.wait_status(RDY, 0)

    def identify(self, cns, nsid=0):
        page = self.machine.pages(1)
        completion = self.admin.run(0x06, nsid=nsid, prp1=page, d10=cns)
        assert completion.status == SUCCESS, completion
        return self.machine.read(page, PAGE)

    def create_cq(self, queue, **fields):
        flags = fields.get("flags", 3)
        return self.admin.run(
            0x05, prp1=fields.get("base", queue.cq), d11=fields.get("vector", self.machine.vector(queue.number)) << 16 | flags,
            d10=fields.get("size", queue.entries - 1) << 16 | fields.get("number", queue.number),
        ).status  # fmt: skip

    def create_sq(self, queue, **fields):
        return self.admin.run(
            0x01, prp1=fields.get("base", queue.sq), d11=fields.get("cq", queue.number) << 16 | fields.get("flags", 1),
            d10=fields.get("size", queue.entries - 1) << 16 | fields.get("number", queue.number),
        ).status  # fmt: skip

    def create_queue(self, number=1, entries=64):
        queue = Queue(self.machine, number, entries)
        assert self.create_cq(queue) == SUCCESS
        assert self.create_sq(queue) == SUCCESS
        self.queues[number] = queue
        return queue

    def delete_sq(self, number):
        return self.admin.run(0x00, d10=number).status

    def delete_cq(self, number):
        return self.admin.run(0x04, d10=number).status

    def log_page(self, page, length, retain=False, offset=0, nsid=0xFFFFFFFF):
        address = self.machine.pages(1)
        dwords = length // 4 - 1
        completion = self.admin.run(
            0x02, nsid=nsid, prp1=address, d10=page | retain << 15 | (dwords & 0xFFFF) << 16, d11=dwords >> 16,
            d12=offset, d13=offset >> 32,
        )  # fmt: skip
        assert completion.status == SUCCESS, completion
        return self.machine.read(address, length)


def prps(machine, address, length):
    """PRP 1 and PRP 2 of a contiguous buffer, with a list in fresh pages where one is needed."""
    first = PAGE - address % PAGE
    pages = [*range(address + first, address + length, PAGE)] if length > first else []
    if len(pages) < 2:
        return address, pages[0] if pages else 0
    return address, prp_list(machine, pages)


def prp_list(machine, pages, at=None):
    """Writes a PRP list; its address. at: where in a page it starts."""
    if at is None:
        at = machine.pages(1)
    room = (PAGE - at % PAGE) // 8
    if len(pages) <= room:
        machine.write(at, struct.pack(f"<{len(pages)}Q", *pages))
    else:
        following = prp_list(machine, pages[room - 1 :])
        machine.write(at, struct.pack(f"<{room}Q", *pages[: room - 1], following))
    return at


class Disk:
    """A namespace, read and written through one queue."""

    def __init__(self, queue, nsid=1, block=512):
        self.queue = queue
        self.machine = queue.machine
        self.nsid = nsid
        self.block = block

    def start(self, opcode, slba, address, length, flags=0):
        prp1, prp2 = prps(self.machine, address, length)
        blocks = length // self.block
        return self.queue.submit(
            opcode, self.nsid, prp1, prp2, d10=slba, d11=slba >> 32, d12=blocks - 1 | flags
        )  # fmt: skip

    def run(self, *args, **kwargs):
        return self.queue.wait(self.start(*args, **kwargs)).status

    def write(self, slba, data, flags=0):
        address = self.machine.pages((len(data) + PAGE - 1) // PAGE)
        self.machine.write(address, data)
        return self.run(0x01, slba, address, len(data), flags)

    def read(self, slba, length):
        address = self.machine.pages((length + PAGE - 1) // PAGE)
        status = self.run(0x02, slba, address, length)
        assert status == SUCCESS, hex(status)
        return self.machine.read(address, length)

    def flush(self):
        return self.queue.run(0x00, self.nsid).status

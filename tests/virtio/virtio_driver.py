# SPDX-License-Identifier: BSD-3-Clause
"""A virtio driver, after OASIS virtio 1.2, that shares no code with the library. Right or wrong, it does as told.

    pci = VirtioPci(bus)                        # finds the structures of the function (4.1.4)
    pci.start(features)                         # negotiates, sets up all queues, DRIVER_OK
    queue = pci.queues[0]
    token = queue.add([(address, length, WRITE), ...])       # indirect=True: by a table
    queue.kick()
    token, written = queue.wait()

Any wire will do that has a bus (virtio_bus.py), or for vhost-user an object with `memory`, and a queue that is given
a function to notify and one to wait.
"""
import struct

READ, WRITE = 0, 2
NEXT, INDIRECT = 1, 4
AVAIL, USED = 1 << 7, 1 << 15

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 64, 128

INDIRECT_DESC, EVENT_IDX, VERSION_1 = 1 << 28, 1 << 29, 1 << 32
RING_PACKED, IN_ORDER, NOTIFICATION_DATA, RING_RESET = 1 << 34, 1 << 35, 1 << 38, 1 << 40

COMMON, NOTIFY, ISR, DEVICE, PCI = range(1, 6)
NO_VECTOR = 0xFFFF

DESC = struct.Struct("<QIHH")


class Queue:
    """What both kinds of rings have. memory: as virtio_bus.Memory; notify(): tells the device; wait(): waits until
    the device says something."""

    def __init__(self, memory, size, notify=None, wait=None, event_idx=False, number=0):
        self.memory, self.size, self.number = memory, size, number
        self.notify, self.wait_for_interrupt, self.event_idx = notify, wait, event_idx
        self.in_flight = {}
        self.kicks = 0
        self.suppresses = False  # want_no_interrupt() holds until want_interrupt()

    def table(self, segments):
        """An indirect table in fresh memory: (address, bytes)."""
        data = b""
        for number, (address, length, flags) in enumerate(segments):
            more = NEXT if number + 1 < len(segments) and self.chains_by_next else 0
            data += self.table_entry(address, length, flags | more, number + 1)
        return self.memory.put(data), len(data)

    def wait(self):
        """The next used chain: its token, and how many bytes the device wrote."""
        while True:
            found = self.take()
            if found:
                return found
            self.wait_for_interrupt()

    def kick(self):
        """Notifies the device, if it wants that."""
        if self.wants_kick():
            self.kicks += 1
            self.notify(self)


class SplitQueue(Queue):
    """2.7"""

    chains_by_next = True

    def __init__(self, *args, **keywords):
        super().__init__(*args, **keywords)
        self.desc = self.memory.take(16 * self.size, 16)
        self.driver = self.memory.take(6 + 2 * self.size, 2)
        self.device = self.memory.take(6 + 8 * self.size, 4)
        self.start_again()

    def start_again(self):
        """As after a reset."""
        for address, length in ((self.driver, 6 + 2 * self.size), (self.device, 6 + 8 * self.size)):
            self.memory.write(address, bytes(length))
        self.free = list(range(self.size))
        self.avail = self.used = self.kicked = 0
        self.in_flight.clear()

    @staticmethod
    def table_entry(address, length, flags, following):
        return DESC.pack(address, length, flags, following)

    def set_descriptor(self, number, address, length, flags, following=0):
        self.memory.write(self.desc + 16 * number, DESC.pack(address, length, flags, following))

    def add(self, segments, indirect=False, tail=None, show=True):
        """Makes a chain available: its head. tail: these segments in a table, behind the direct ones."""
        if indirect:
            segments, tail = [], segments
        entries = list(segments)
        if tail is not None:
            entries.append((*self.table(tail), INDIRECT))
        numbers = [self.free.pop(0) for _ in entries]
        for at, (address, length, flags) in enumerate(entries):
            last = at + 1 == len(entries)
            self.set_descriptor(numbers[at], address, length, flags | (0 if last else NEXT), 0 if last else numbers[at + 1])
        self.in_flight[numbers[0]] = numbers
        if show:
            self.show(numbers[0])
        return numbers[0]

    def show(self, head):
        self.memory.set_number(self.driver + 4 + 2 * (self.avail % self.size), head, 2)
        self.avail = self.avail + 1 & 0xFFFF
        self.memory.set_number(self.driver + 2, self.avail, 2)

    def wants_kick(self):
        old, self.kicked = self.kicked, self.avail
        if not self.event_idx:
            return not self.memory.number(self.device, 2) & 1
        event = self.memory.number(self.device + 4 + 8 * self.size, 2)
        return (self.avail - event - 1) & 0xFFFF < (self.avail - old) & 0xFFFF

    def take(self):
        if self.memory.number(self.device + 2, 2) == self.used:
            return None
        at = self.device + 4 + 8 * (self.used % self.size)
        head, written = self.memory.number(at, 4), self.memory.number(at + 4, 4)
        self.used = self.used + 1 & 0xFFFF
        self.free += self.in_flight.pop(head)
        if self.event_idx and not self.suppresses:
            self.want_interrupt()
        return head, written

    def want_interrupt(self, behind=0):
        """Wants one for the next used chain, or the one that lies so many behind it."""
        self.suppresses = False
        self.memory.set_number(self.driver + 4 + 2 * self.size, self.used + behind & 0xFFFF, 2)
        self.memory.set_number(self.driver, 0, 2)

    def want_no_interrupt(self):
        self.want_interrupt(behind=0x8000)
        self.suppresses = True
        self.memory.set_number(self.driver, 0 if self.event_idx else 1, 2)


class PackedQueue(Queue):
    """2.8"""

    chains_by_next = False

    def __init__(self, *args, **keywords):
        super().__init__(*args, **keywords)
        self.desc = self.memory.take(16 * self.size, 16)
        self.driver = self.memory.take(4, 4)
        self.device = self.memory.take(4, 4)
        self.start_again()

    def start_again(self):
        self.memory.write(self.desc, bytes(16 * self.size))
        self.memory.write(self.driver, bytes(4))
        self.memory.write(self.device, bytes(4))
        self.at, self.wrap, self.used, self.used_wrap = 0, 1, 0, 1
        self.kicked = 0  # places since the last kick
        self.next_id = 0
        self.room = self.size
        self.in_flight.clear()

    @staticmethod
    def table_entry(address, length, flags, _following):
        return DESC.pack(address, length, 0, flags)

    def add(self, segments, indirect=False, tail=None):
        """Makes a list available: its id."""
        if indirect:
            segments, tail = [], segments
        entries = list(segments)
        if tail is not None:
            entries.append((*self.table(tail), INDIRECT))
        assert len(entries) <= self.room
        token, self.next_id = self.next_id, (self.next_id + 7) % 1000
        first, first_flags = self.at, None
        for at, (address, length, flags) in enumerate(entries):
            flags |= (NEXT if at + 1 < len(entries) else 0) | (AVAIL if self.wrap else USED)
            shown = flags if at > 0 else flags ^ (AVAIL | USED)  # the first one's come last
            first_flags = flags if at == 0 else first_flags
            self.memory.write(self.desc + 16 * self.at, DESC.pack(address, length, token if at + 1 == len(entries) else 0xEEEE, shown))
            self.at += 1
            if self.at == self.size:
                self.at, self.wrap = 0, self.wrap ^ 1
        if len(entries) == 1:
            self.memory.set_number(self.desc + 16 * first + 12, token, 2)
        self.memory.set_number(self.desc + 16 * first + 14, first_flags, 2)
        self.room -= len(entries)
        self.kicked += len(entries)
        self.in_flight[token] = len(entries)
        return token

    def wants_kick(self):
        since, self.kicked = self.kicked, 0
        flags = self.memory.number(self.device + 2, 2)
        if flags != 2:
            return flags == 0
        event = self.memory.number(self.device, 2)
        at = (event & 0x7FFF) - (self.size if event >> 15 != self.wrap else 0)
        return (self.at - at - 1) & 0xFFFF < since

    def take(self):
        at = self.desc + 16 * self.used
        flags = self.memory.number(at + 14, 2)
        if bool(flags & AVAIL) != bool(self.used_wrap) or bool(flags & USED) != bool(self.used_wrap):
            return None
        token, written = self.memory.number(at + 12, 2), self.memory.number(at + 8, 4)
        count = self.in_flight.pop(token)
        self.room += count
        self.used += count
        if self.used >= self.size:
            self.used, self.used_wrap = self.used - self.size, self.used_wrap ^ 1
        if self.event_idx and not self.suppresses:
            self.want_interrupt()
        return token, written

    def want_interrupt(self):
        self.suppresses = False
        self.memory.set_number(self.driver, self.used | self.used_wrap << 15, 2)
        self.memory.set_number(self.driver + 2, 2 if self.event_idx else 0, 2)

    def want_no_interrupt(self):
        self.suppresses = True
        self.memory.set_number(self.driver + 2, 1, 2)


class VirtioPci:
    """The structures of a modern virtio-pci function, and the driver's steps (3.1.1)."""

    def __init__(self, bus):
        self.bus, self.memory = bus, bus.memory
        self.structures, self.window = {}, None
        at = bus.config_read(0x34, 1)
        while at:
            if bus.config_read(at, 1) == 9:
                self.found(at)
            at = bus.config_read(at + 1, 1)
        self.queues, self.isr_seen = [], 0

    def found(self, at):
        kind, bar = self.bus.config_read(at + 3, 1), self.bus.config_read(at + 4, 1)
        offset, length = self.bus.config_read(at + 8, 4), self.bus.config_read(at + 12, 4)
        self.structures.setdefault(kind, (bar, offset, length))
        if kind == NOTIFY:
            self.multiplier = self.bus.config_read(at + 16, 4)
        if kind == PCI:
            self.window = at

    def get(self, offset, size, structure=COMMON):
        bar, start, _ = self.structures[structure]
        return self.bus.read(bar, start + offset, size)

    def set(self, offset, size, value, structure=COMMON):
        bar, start, _ = self.structures[structure]
        self.bus.write(bar, start + offset, size, value)

    @property
    def status(self):
        return self.get(20, 1)

    @status.setter
    def status(self, value):
        self.set(20, 1, value)

    @property
    def offered(self):
        low, high = (self.set(0, 4, half) or self.get(4, 4) for half in (0, 1))
        return low | high << 32

    @property
    def num_queues(self):
        return self.get(18, 2)

    @property
    def generation(self):
        return self.get(21, 1)

    def config(self, offset, size):
        return self.get(offset, size, DEVICE)

    def reset(self):
        self.status = 0
        while self.status:
            pass

    def negotiate(self, features):
        """Up to FEATURES_OK; whether the device has kept it."""
        self.reset()
        self.status = ACKNOWLEDGE
        self.status = ACKNOWLEDGE | DRIVER
        self.features = features
        for half in (0, 1):
            self.set(8, 4, half)
            self.set(12, 4, features >> 32 * half & 0xFFFFFFFF)
        self.status = ACKNOWLEDGE | DRIVER | FEATURES_OK
        return bool(self.status & FEATURES_OK)

    def make_queue(self, number, size=None):
        """A ring for a queue; enabled."""
        self.set(22, 2, number)
        size = size or self.get(24, 2)
        kind = PackedQueue if self.features & RING_PACKED else SplitQueue
        queue = kind(self.memory, size, self.notify, self.wait_for_interrupt, bool(self.features & EVENT_IDX), number)
        self.enable(queue)
        return queue

    def enable(self, queue):
        self.set(22, 2, queue.number)
        self.set(24, 2, queue.size)
        if self.bus.msix:
            self.set(26, 2, min(1 + queue.number, len(self.bus.events) - 1))
        queue.notify_off = self.get(30, 2)
        for offset, address in ((32, queue.desc), (40, queue.driver), (48, queue.device)):
            self.set(offset, 4, address & 0xFFFFFFFF)
            self.set(offset + 4, 4, address >> 32)
        self.set(28, 2, 1)

    def start(self, features=VERSION_1, size=None):
        """All steps; the queues are in self.queues."""
        assert self.negotiate(features), "FEATURES_OK was not kept"
        if self.bus.msix:
            self.set(16, 2, 0)
        self.queues = [self.make_queue(number, size) for number in range(self.num_queues)]
        self.status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK
        return self.queues

    def reset_queue(self, queue):
        """RING_RESET, 4.1.4.3; the device has let go of the ring then."""
        self.set(22, 2, queue.number)
        self.set(58, 2, 1)
        while self.get(58, 2):
            pass

    def notify(self, queue):
        bar, start, _ = self.structures[NOTIFY]
        at = start + queue.notify_off * self.multiplier
        if not self.features & NOTIFICATION_DATA:
            self.bus.write(bar, at, 2, queue.number)
        elif self.features & RING_PACKED:
            self.bus.write(bar, at, 4, queue.number | queue.at << 16 | queue.wrap << 31)
        else:
            self.bus.write(bar, at, 4, queue.number | queue.avail << 16)

    def wait_for_interrupt(self):
        """Waits for an interrupt and ends it: the vectors, or for INTx what the ISR byte says."""
        vectors = self.bus.wait_for_interrupt()
        if self.bus.msix:
            return vectors
        isr = self.get(0, 1, ISR)
        self.isr_seen |= isr
        self.bus.end_interrupt()
        return isr

    def read_window(self, bar, offset, size):
        """An access by way of configuration space, 4.1.4.9."""
        self.aim(bar, offset, size)
        return self.bus.config_read(self.window + 16, size)

    def write_window(self, bar, offset, size, value):
        self.aim(bar, offset, size)
        self.bus.config_write(self.window + 16, size, value)

    def aim(self, bar, offset, size):
        self.bus.config_write(self.window + 4, 1, bar)
        self.bus.config_write(self.window + 8, 4, offset)
        self.bus.config_write(self.window + 12, 4, size)

# SPDX-License-Identifier: BSD-3-Clause
"""VMMs of test_kept.py. Each is a script of Python under outboard run, which drives one device over mpqemu or vfio-user
and kills its process meanwhile."""
import collections
import os
import random
import select
import socket
import struct
import sys
import time

import restartlab
import test_vmchannel as console
from virtio_bus import MpqemuBus, VfioBus
from virtio_driver import EVENT_IDX, ISR, READ, RING_PACKED, VERSION_1, WRITE, VirtioPci

IDLE, BUSY, DONE = range(3)
FLUSH = 1 << 9  # of a virtio disk: it has a cache


class Killer(restartlab.Killer):
    """No more than two processes in a row die before they have done anything: a third one would be taken for one that
    the message kills."""

    def run(self):
        for number in range(self.kills):
            pid = restartlab.device(self.name)
            end = os.pidfd_open(pid)
            if number % 2 == 0:
                self.wait_for_progress()
            select.select([end], [], [], random.uniform(0, 0.05))  # any moment of its life
            restartlab.kill(pid)
            select.select([end], [], [])
            os.close(end)


def disturber(times, name):
    """What the device goes through meanwhile: so many kills, or, for "CONTROL:N", upgrades."""
    control, _, number = times.rpartition(":")
    if control:
        return restartlab.Asker(control, restartlab.upgrade_often(int(number)))
    return Killer(int(number), name)


def connect(wire, place, **options):
    """The machine around the device, with INTx."""
    if wire == "mpqemu":
        return MpqemuBus(socket.socket(fileno=int(place)))
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(place)
    return VfioBus(sock, **{"msix": False, **options})


def take_interrupt(bus):
    """Waits for one, which may be one too many, and ends it."""
    bus.wait_for_interrupt()
    bus.end_interrupt()


def fifo(wire, place, kills):
    """No number is lost, none comes twice, and the interrupt is up while there are some."""
    bus = connect(wire, place)
    killer = disturber(kills, "fifo")
    model, number = collections.deque(), 0
    while killer.is_alive():
        for _ in range(random.randrange(1, 8)):
            number += 1
            bus.write(0, 0, 4, number)
            model.append(number)
        bus.write(1, 8 * (number % 512), 8, number)
        take_interrupt(bus)
        assert bus.read(0, 4, 4) == len(model)
        while model:
            got, expected = bus.read(0, 0, 4), model.popleft()
            assert got == expected, f"got {got}, expected {expected}"
        assert bus.read(0, 0, 4) == 0xFFFFFFFF
        assert bus.read(1, 8 * (number % 512), 8) == number
        killer.progress.set()
    print("kept")


def sums(wire, place, kills):
    """devices/template adds up what it is told to, whenever its process dies."""
    bus = connect(wire, place)
    killer = disturber(kills, "sum")
    buffer = bus.memory.take(65536)
    while killer.is_alive():
        data = random.randbytes(random.randrange(1, 65537))
        bus.memory.write(buffer, data)
        bus.write(0, 0, 8, buffer)
        bus.write(0, 8, 4, len(data))
        bus.write(0, 0xC, 4, 1)
        while (status := bus.read(0, 0x10, 4)) == BUSY:
            take_interrupt(bus)
        assert status == DONE, f"status {status}"
        got = bus.read(0, 0x18, 8)
        assert got == sum(data), f"got {got}, expected {sum(data)} of {len(data)} bytes"
        bus.write(0, 0x10, 4, 0)
        bus.end_interrupt()
        killer.progress.set()
    print("kept")


def hear_alarm(bus):
    """By the eventfd of before; it finds the memory."""
    assert bus.read(1, 0, 8) == 0x1234567890
    take_interrupt(bus)
    while bus.memory.read(2048, 4) != b"AAAA":
        bus.read(0, 0, 8)  # the DMA follows the interrupt
    bus.memory.write(2048, bytes(4096))


def alarm(wire, place, _kills):
    """An alarm that was set before its process died rings after it."""
    bus = connect(wire, place)
    bus.write(1, 0, 8, 0x1234567890)
    for _ in range(2):
        bus.write(0, 0, 8, int(time.time()) + 1)
        restartlab.kill(restartlab.device("alarm"))
        hear_alarm(bus)
    print("kept")


def random_bytes(wire, place, kills, kind):
    """outboard-rng: each buffer comes back once, filled, and is not touched any more when it has come back."""
    if wire == "vfio-user":
        bus = connect(wire, place, msix=True, doorbells="doorbells" in kind)
    else:
        bus = connect(wire, place)
    pci = VirtioPci(bus)
    packed, event = RING_PACKED if "packed" in kind else 0, EVENT_IDX if "event" in kind else 0
    (queue,) = pci.start(VERSION_1 | packed | event)
    killer = disturber(kills, "outboard-rng")
    length, mark = 32, b"\xee" * 32
    buffers = [bus.memory.take(length) for _ in range(queue.size)]
    free, busy = list(buffers), {}
    while killer.is_alive() or busy:
        while free and killer.is_alive() and len(busy) < queue.size and random.random() < 0.9:
            buffer = free.pop(random.randrange(len(free)))
            assert bus.memory.read(buffer, length) in (mark, bytes(length)), "a buffer that had come back was written to"
            bus.memory.write(buffer, bytes(length))
            token = queue.add([(buffer, length, WRITE)])
            assert token not in busy
            busy[token] = buffer
        queue.kick()
        if not busy:
            continue
        found = queue.wait()
        while found:
            token, written = found
            buffer = busy.pop(token)
            assert written == length and bus.memory.read(buffer, length) not in (mark, bytes(length))
            bus.memory.write(buffer, mark)
            free.append(buffer)
            found = queue.take()
        if not bus.msix and bus.take_interrupts():  # nobody has waited for it
            pci.get(0, 1, ISR)
            bus.end_interrupt()
        killer.progress.set()
    print("kept")


class Disk:
    """outboard-blk: reads and writes at random, each block in one request at a time; each request ends once, and its
    buffer is reused at once."""

    BLOCK, BLOCKS, DEPTH, SECTORS = 4096, 64, 16, 8

    def __init__(self, bus, kind):
        packed, event = RING_PACKED if "packed" in kind else 0, EVENT_IDX if "event" in kind else 0
        self.memory = bus.memory
        self.queue = VirtioPci(bus).start(VERSION_1 | packed | event | FLUSH)[0]
        self.model = [0] * self.BLOCKS
        self.version = 0
        self.free = [(self.memory.take(16), self.memory.take(self.BLOCK), self.memory.take(1)) for _ in range(self.DEPTH)]
        self.busy, self.outstanding = set(), {}

    @classmethod
    def contents(cls, block, version):
        return struct.pack("<QQ", block, version) * (cls.BLOCK // 16) if version else bytes(cls.BLOCK)

    def start(self):
        header, data, status = place = self.free.pop()
        block = random.choice([block for block in range(self.BLOCKS) if block not in self.busy])
        self.busy.add(block)
        writes = random.random() < 0.6
        if writes:
            self.version += 1
            self.memory.write(data, self.contents(block, self.version))
        self.memory.write(header, struct.pack("<IIQ", int(writes), 0, block * self.SECTORS))
        self.memory.write(status, b"\xff")
        token = self.queue.add([(header, 16, READ), (data, self.BLOCK, READ if writes else WRITE), (status, 1, WRITE)])
        assert token not in self.outstanding
        self.outstanding[token] = (place, block, self.version if writes else None)

    def end(self, token):
        place, block, version = self.outstanding.pop(token)
        assert self.memory.read(place[2], 1) == b"\0", f"block {block}: the status"
        if version is None:
            got = self.memory.read(place[1], self.BLOCK)
            assert got == self.contents(block, self.model[block]), (
                f"block {block}: got {struct.unpack_from('<QQ', got)}, expected version {self.model[block]}"
            )
        else:
            self.model[block] = version
        self.memory.write(place[1], b"\xee" * self.BLOCK)
        self.busy.remove(block)
        self.free.append(place)

    def verify(self):
        header, data, status = self.free[0]
        for block in range(self.BLOCKS):
            self.memory.write(header, struct.pack("<IIQ", 0, 0, block * self.SECTORS))
            self.queue.add([(header, 16, READ), (data, self.BLOCK, WRITE), (status, 1, WRITE)])
            self.queue.kick()
            self.queue.wait()
            assert self.memory.read(data, self.BLOCK) == self.contents(block, self.model[block]), f"block {block} at the end"


def disk(wire, place, kills, kind):
    options = {"msix": True, "doorbells": "doorbells" in kind} if wire == "vfio-user" else {}
    storm = Disk(connect(wire, place, **options), kind)
    killer = disturber(kills, "outboard-blk")
    while killer.is_alive() or storm.outstanding:
        if killer.is_alive() and storm.free:
            for _ in range(random.randint(1, len(storm.free))):
                storm.start()
            storm.queue.kick()
        if not storm.outstanding:
            continue
        found = storm.queue.wait()
        while found:
            storm.end(found[0])
            found = storm.queue.take()
        killer.progress.set()
    storm.verify()
    print("kept")


def ports(wire, place, kills, folder):
    """outboard-vmchannel: a program of the guest that has a port open is told PORT_OPEN 0 when the process dies, and gets
    no byte of the next peer before it has closed the port, and opened it again."""
    options = {"msix": True} if wire == "vfio-user" else {}
    driver = console.Driver(VirtioPci(connect(wire, place, **options)), 0)

    def hear():
        while True:
            driver.offer(console.TO_GUEST)
            message = driver.hear()
            if message[:2] != (1, console.PORT_NAME):
                return message

    driver.say(0xFFFFFFFF, console.DEVICE_READY, 1)
    assert hear() == (1, console.PORT_ADD, 1, b"")
    driver.say(1, console.PORT_READY, 1)
    before = None
    for number in range(int(kills)):
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(f"{folder}/one")
        word = f"peer {number}".encode()
        peer.sendall(word)
        if before:
            assert before.recv(100) == b"", "the peer of before sees the end"
            before.close()
            driver.say(1, console.PORT_OPEN, 0)
        while (heard := hear())[:2] != (1, console.PORT_OPEN) or heard[2] != 1:
            assert heard == (1, console.PORT_OPEN, 0, b""), heard
        driver.say(1, console.PORT_OPEN, 1)
        driver.offer(4)
        assert driver.receive(4) == word
        driver.send(5, b"answer")
        assert peer.recv(100) == b"answer"
        while driver.queues[5].take():
            pass
        restartlab.kill(restartlab.device("outboard-vmchannel"))
        assert hear() == (1, console.PORT_OPEN, 0, b""), "the guest is told"
        before = peer
    print("kept")


def door(wire, place):
    """read() and write() of a backdoor's BARs."""
    if wire == "mpqemu":
        bus = connect(wire, place)
        return bus.read, bus.write
    client = restartlab.VfioUser(place).client  # it has no interrupt that VfioBus could ask for
    return (lambda bar, offset, size: int.from_bytes(client.read(bar, offset, size), "little"),
            lambda bar, offset, size, value: client.write(bar, offset, value.to_bytes(size, "little")))  # fmt: skip


def call(wire, place, command, when):
    """A call of door.c that dies, then one that does not; the words that cut() and the code have written."""
    read, write = door(wire, place)

    def run(command, when):
        write(1, 0, 8, when)
        write(0, 0, 8, command)
        print(read(1, 8, 8), read(1, 16, 8))

    run(int(command), int(when))
    run(7, 0)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

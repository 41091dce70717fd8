# SPDX-License-Identifier: BSD-3-Clause
"""VMMs of test_upgrade_ports.py, which are outboard-vmchannel's driver and the peer of its port at once. Another process
takes the device's place, or it is killed, with bytes on their way in both directions."""
import os
import pathlib
import random
import select
import socket
import sys

import restartlab
from controllab import Control, Refused
from keptlab import connect, disturber
from virtio_driver import READ, WRITE, VirtioPci
from vmchannel_driver import PORT_OPEN, TO_GUEST, OnePort

RING = 8
CHUNK = 40000  # with a full ring more than a socket takes
PATTERN = os.urandom(65521)  # a prime, so that no chunk ends where another one does
PATIENCE_S = 120


def pattern(at, length):
    at %= len(PATTERN)
    return (PATTERN * (2 + length // len(PATTERN)))[at : at + length]


class Flow:
    """One direction's bytes: how many were sent, and how many have come."""

    def __init__(self):
        self.sent = self.came = 0

    def next(self, length):
        return pattern(self.sent, length)

    def take(self, data):
        assert data == pattern(self.came, len(data)), f"other bytes than expected behind {self.came}"
        self.came += len(data)


class Guest(OnePort):
    """Buffers that are used again and again, without a wait for each."""

    def __init__(self, wire, place):
        super().__init__(VirtioPci(connect(wire, place, **({"msix": True} if wire == "vfio-user" else {}))), b"one")
        self.free = {number: [self.memory.take(CHUNK) for _ in range(RING)] for number in (self.INPUT, self.OUTPUT)}
        self.used = {}
        self.up, self.down = Flow(), Flow()

    def give(self, number, length, flag):
        address = self.free[number].pop()
        self.used[number, self.queues[number].add([(address, length, flag)])] = address
        return address

    def send_up(self):
        """As much as the ring takes."""
        while self.free[self.OUTPUT]:
            data = self.up.next(random.randint(1, CHUNK))
            self.memory.write(self.free[self.OUTPUT][-1], data)
            self.give(self.OUTPUT, len(data), READ)
            self.up.sent += len(data)
        self.queues[self.OUTPUT].kick()

    def reclaim(self):
        while found := self.queues[self.OUTPUT].take():
            self.free[self.OUTPUT].append(self.used.pop((self.OUTPUT, found[0])))

    def is_all_taken(self):
        self.reclaim()
        return len(self.free[self.OUTPUT]) == RING

    def take_down(self):
        while found := self.queues[self.INPUT].take():
            address = self.used.pop((self.INPUT, found[0]))
            self.down.take(self.memory.read(address, found[1]))
            self.free[self.INPUT].append(address)
        while self.free[self.INPUT]:
            self.give(self.INPUT, CHUNK, WRITE)
        self.queues[self.INPUT].kick()


def connect_peer(folder):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE_S)
    sock.connect(f"{folder}/one")
    return sock


def begin(wire, place, folder, waits=False):
    """A session: the guest, and its peer."""
    guest, peer = Guest(wire, place), connect_peer(folder)
    guest.wait_open()
    guest.open()
    peer.settimeout(PATIENCE_S if waits else 0)
    return guest, peer


def send_down(guest, peer):
    data = guest.down.next(random.randint(1, CHUNK))
    try:
        guest.down.sent += peer.send(data)
    except BlockingIOError:
        pass


def take_up(guest, peer):
    """Whether something was there."""
    try:
        data = peer.recv(random.randint(1, 2 * CHUNK))
    except BlockingIOError:
        return False
    assert data, f"the peer has read the end behind {guest.up.came} bytes of {guest.up.sent}"
    guest.up.take(data)
    return True


def finish(guest, peer):
    """All that was sent comes; nothing was said of the port meanwhile; then the end of the session is told."""
    while guest.up.came < guest.up.sent or guest.down.came < guest.down.sent:
        guest.reclaim()
        guest.take_down()
        take_up(guest, peer)
    guest.offer(TO_GUEST)
    while not guest.is_all_taken():
        pass
    assert guest.queues[TO_GUEST].take() is None, "the guest was told something"
    peer.close()
    assert guest.hear() == (1, PORT_OPEN, 0, b"")


def streams(wire, place, folder, control, times):
    """Bytes both ways through upgrades, with a peer that often lets them lie."""
    guest, peer = begin(wire, place, folder)
    asker = disturber(f"{control}:{times}", "outboard-vmchannel")
    while asker.is_alive():
        guest.reclaim()
        guest.send_up()
        send_down(guest, peer)
        for _ in range(random.choice([0, 0, 1, 20])):
            if random.random() < 0.5:
                take_up(guest, peer)
            else:
                guest.take_down()
        asker.progress.set()
    assert guest.up.came > 0 and guest.down.came > 0
    finish(guest, peer)
    print("kept")


def rest(wire, place, folder, control):
    """The guest has closed the port, and the peer has read nothing: a part of it lies in the old process alone."""
    guest, peer = begin(wire, place, folder, waits=True)
    for _ in range(RING):
        data = guest.up.next(CHUNK)
        guest.memory.write(guest.free[guest.OUTPUT][-1], data)
        guest.give(guest.OUTPUT, CHUNK, READ)
        guest.up.sent += CHUNK
    guest.queues[guest.OUTPUT].kick()
    guest.close()
    while not guest.is_all_taken():
        pass
    with Control(control, None) as asked:
        print(asked.ask("upgrade", device="device"))
    while data := peer.recv(1 << 16):
        guest.up.take(data)
    assert guest.up.came == guest.up.sent, f"{guest.up.came} bytes of {guest.up.sent} came"
    print("kept")


def refused(wire, place, folder, control, program):
    """The new process can't continue: the old one does, with its session."""
    guest, peer = begin(wire, place, folder)
    guest.send_up()
    send_down(guest, peer)
    with Control(control, None) as asked:
        try:
            asked.ask("upgrade", device="device", program=program)
        except Refused as answer:
            print(answer.args[1])
    finish(guest, peer)
    print("kept")


def path_of_a_refusal(wire, place, folder, control, program):
    """A new process that has listened at the path before it refuses takes the path with it, until the next upgrade."""
    guest, peer = begin(wire, place, folder)
    with Control(control, None) as asked:
        try:
            asked.ask("upgrade", device="device", program=program)
        except Refused:
            while pathlib.Path(folder, "one").exists():  # until its process outside has removed it
                pass
            print("gone")
        asked.ask("upgrade", device="device")
        print("there" if pathlib.Path(folder, "one").exists() else "not there")
    finish(guest, peer)


def command(wire, place, control, times):
    """The process of a command is the same one afterwards."""
    guest = Guest(wire, place)
    guest.wait_open()
    guest.open()
    said = set()
    with Control(control, None) as asked:
        for _ in range(int(times)):
            guest.write(b"line\n")
            line = b""
            while not line.endswith(b"\n"):
                line += guest.read(1)
            said.add(line)
            asked.ask("upgrade", device="device")
    assert len(said) == 1, said
    print("kept")


def killed(wire, place, folder):
    """What was written to the peer, and what the guest was given, is read after the death, and nothing else."""
    guest, peer = begin(wire, place, folder, waits=True)
    peer.sendall(b"given")
    guest.offer(guest.INPUT)
    given = guest.receive(guest.INPUT)
    guest.write(b"written")
    restartlab.kill(restartlab.device("outboard-vmchannel"))
    guest.expect(PORT_OPEN, 0)
    assert given == b"given"
    assert peer.recv(100) == b"written"
    try:
        assert peer.recv(100) == b""
    except ConnectionResetError:
        pass
    guest.close()
    later = connect_peer(folder)
    guest.wait_open()
    guest.open()
    later.sendall(b"later")
    assert guest.read(5) == b"later"
    guest.write(b"answer")
    assert later.recv(100) == b"answer"
    assert select.select([later], [], [], 0)[0] == []
    print("kept")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

# SPDX-License-Identifier: BSD-3-Clause
"""VMMs of test_fault_points.py for devices other than the disk. The processes die by themselves; each loop goes on until
as many have died as were planned."""
import contextlib
import errno
import random
import sys
import threading
import time

import keptlab
import migration
import restartlab
import vfio_user
from disklab import Restarts
from virtio_driver import VirtioPci
from vmchannel_driver import ALL_PORTS, DEVICE_READY, PORT_ADD, PORT_NAME, PORT_OPEN, PORT_READY, TO_GUEST, Driver
from vsock_driver import REQUEST, RST, VsockDriver

ROUNDS_PER_DEATH = 3000
MAPS = 65535  # max_dma_maps
UNMAP_ALL = 2
FAR_FUTURE = 1 << 40  # seconds since 1970


@contextlib.contextmanager
def refusal(number):
    """The server answers with this errno."""
    try:
        yield
    except vfio_user.ServerError as error:
        assert error.errno == number, error
    else:
        raise AssertionError("was not refused")


class Deaths:
    """Stands in for a Killer: is alive until so many processes have died."""

    def __init__(self, control, deaths):
        self.restarts, self.deaths = Restarts(control), int(deaths)
        self.asked = 0
        self.progress = threading.Event()  # set by the VMM, and of no use here

    def is_alive(self):
        self.asked += 1
        so_far = self.restarts()
        assert self.asked < ROUNDS_PER_DEATH * self.deaths, f"{so_far} of {self.deaths} have died: a point is not passed"
        return so_far < self.deaths


def kept(name, wire, place, control, deaths, *kind):
    """A storm of keptlab.py."""
    keptlab.Killer = lambda _kills, _name: Deaths(control, deaths)
    getattr(keptlab, name)(wire, place, "0", *kind)


def virtio(wire, place):
    options = {"msix": True} if wire == "vfio-user" else {}
    return VirtioPci(keptlab.connect(wire, place, **options))


def ports(wire, place, control, deaths):
    """The control queues of outboard-vmchannel: each question of the driver has its answer."""
    pci, processes = virtio(wire, place), Deaths(control, deaths)

    def hear(driver, *expected):
        while True:
            driver.offer(TO_GUEST)
            heard = driver.hear()
            if heard == expected:
                return
            # A process that continues tells that each port is closed.
            assert heard == (1, PORT_OPEN, 0, b""), f"got {heard}, expected {expected}"

    while processes.is_alive():
        pci.memory.free = 4096
        driver = Driver(pci)
        driver.say(ALL_PORTS, DEVICE_READY, 1)
        hear(driver, 1, PORT_ADD, 1, b"")
        driver.say(1, PORT_READY, 1)
        hear(driver, 1, PORT_NAME, 1, b"one")
    print("kept")


def connections(wire, place, control, deaths):
    """outboard-vsock: each request for a port that nobody serves is answered."""
    pci, processes = virtio(wire, place), Deaths(control, deaths)
    driver = VsockDriver(pci, 42)
    port = 0
    while processes.is_alive():
        port += 1
        driver.send(REQUEST, port, 7777)
        while (packet := driver.take()).dst_port != port:
            # What was answered may be answered again by the next process, which does not know the port.
            assert packet.op == RST and packet.dst_port < port, packet
        assert packet.op == RST, packet
    print("kept")


def alarms(wire, place, control, deaths):
    """examples/alarm: each alarm rings, and then writes to memory."""
    bus, processes = keptlab.connect(wire, place), Deaths(control, deaths)
    bus.write(1, 0, 8, 0x1234567890)
    while processes.is_alive():
        bus.write(0, 0, 8, 1)  # long ago: it rings at once
        keptlab.hear_alarm(bus)
    print("kept")


DONE, REPEATED = 3, 0x100  # commands of door.c: a call of the first that is cut short is reported, of the second repeated


def calls(wire, place, control, deaths):
    """outboard-backdoor with door.c: each call is done once, or reported as cut short and not done."""
    (read, write), processes = keptlab.door(wire, place), Deaths(control, deaths)
    total = cuts = 0
    while processes.is_alive():
        for command in (DONE, REPEATED):
            write(0, 0, 8, command)
            told = read(1, 8, 8)
            was_reported = told > cuts and command == DONE
            cuts = told
            if was_reported:
                continue  # its words may be there; its effect on the code's state is not, as the next call shows
            total += command
            assert read(1, 16, 8) == total, f"after {command}, {cuts} cut short"
    print("kept")


def states(wire, place, control, deaths):
    """A client of vfio-user that writes a state to examples/alarm, piece by piece."""
    assert wire == "vfio-user"
    client, processes = restartlab.VfioUser(place).client, Deaths(control, deaths)
    number = 0
    while processes.is_alive():
        number += 1
        client.write(1, 4096, number.to_bytes(8, "little"))
        client.write(0, 0, (FAR_FUTURE + number).to_bytes(8, "little"))
        data = migration.save(client)
        migration.go(client, migration.RUNNING)
        client.write(1, 4096, bytes(8))
        client.write(0, 0, FAR_FUTURE.to_bytes(8, "little"))
        migration.go(client, migration.STOP)
        migration.load(client, data, 2000)
        assert client.read(1, 4096, 8) == number.to_bytes(8, "little")
        rings_in = FAR_FUTURE + number - time.time()
        assert -2 <= rings_in + int.from_bytes(client.read(0, 0, 8), "little", signed=True) <= 60
    print("kept")


def maps(wire, place, control, deaths):
    """A client of vfio-user that has as many ranges of memory as there can be, and gives up each."""
    assert wire == "vfio-user"
    client, processes = restartlab.VfioUser(place).client, Deaths(control, deaths)
    client.unmap(0, 1 << 20)
    ranges = [number << 13 for number in range(MAPS)]  # with room between them
    for address in ranges:
        client.map(address, 4096)
    with refusal(errno.ENOSPC):
        client.map(MAPS << 13, 4096)
    for address in random.sample(ranges, 500):
        client.unmap(address, 4096)
        client.map(address, 4096)
    client.unmap(ranges.pop(), 4096)
    for address in random.sample(ranges, 500):
        with refusal(errno.EEXIST):  # it is there
            client.map(address, 4096)
    client.unmap(0, 0, flags=UNMAP_ALL)
    for address in ranges[::100]:
        client.map(address, 4096)
    assert not processes.is_alive()
    print("kept")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

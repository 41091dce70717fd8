# SPDX-License-Identifier: BSD-3-Clause
"""VMMs of test_fault_points.py for devices other than the disk. The processes die by themselves; each loop goes on until
as many have died as were planned."""
import sys
import threading

import keptlab
from disklab import Restarts
from virtio_driver import VirtioPci
from vmchannel_driver import ALL_PORTS, DEVICE_READY, PORT_ADD, PORT_NAME, PORT_OPEN, PORT_READY, TO_GUEST, Driver
from vsock_driver import REQUEST, RST, VsockDriver

ROUNDS_PER_DEATH = 3000


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


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

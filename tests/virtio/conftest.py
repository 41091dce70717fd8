# SPDX-License-Identifier: BSD-3-Clause
"""Virtio devices as processes, and a driver for them over each wire."""
import os
import socket

import pytest
from vhost_user_driver import VhostUserDriver
from virtio_bus import MpqemuBus, VfioBus
from virtio_driver import VirtioPci

PCI_WIRES = ["mpqemu", "vfio-user", "vfio-user-intx", "vfio-user-doorbells"]
WIRES = [*PCI_WIRES, "vhost-user"]


def make_bus(wire, sock):
    if wire == "mpqemu":
        return MpqemuBus(sock)
    return VfioBus(sock, msix=wire != "vfio-user-intx", doorbells=wire == "vfio-user-doorbells")


@pytest.fixture(params=PCI_WIRES)
def wire(request):
    return request.param


@pytest.fixture
def attach(spawn, cleanup):
    """attach(wire, argv..., inherit=[...]): the function of a device program, as a VirtioPci, or over vhost-user a VhostUserDriver;
    the process is .process."""

    def start(wire, *argv, inherit=()):
        ours, theirs = socket.socketpair()
        name = "vfio-user" if wire.startswith("vfio-user") else wire
        argv = [*argv, f"--fd={theirs.fileno()}", f"--wire={name}"]
        process = spawn(argv, name=f"virtio-{os.urandom(4).hex()}", inherit=[theirs, *inherit])
        if wire == "vhost-user":
            pci = VhostUserDriver(ours)
            cleanup.callback(pci.close)
        else:
            bus = make_bus(wire, ours)
            cleanup.callback(bus.close)
            pci = VirtioPci(bus)
        pci.process = process
        return pci

    return start

# SPDX-License-Identifier: BSD-3-Clause
"""A port of outboard-vmchannel across the end of its guest: a reboot, another VMM at the same process, the device unplugged
and plugged. A program of the guest holds the port open (port_holder.c), with unread bytes behind the wire in both directions. The peer of the host
that is there reads its own bytes to the end. The next program, or the same one once it has seen the break, gets the
next peer's bytes alone. Over vfio-user and vhost-user where OUTBOARD_QEMU names a QEMU that has them, else over mpqemu."""
import contextlib
import json
import os
import pathlib
import socket
import subprocess

import pytest
from guestlab import Guest, paths
from guestlab.machine import OVERRIDE

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-vmchannel"
SOURCE = pathlib.Path(__file__).with_name("port_holder.c")
PATIENCE_S = 300
GENERIC = {"driver": "vhost-user-test-device-pci", "virtio-id": 3, "num_vqs": 64, "vq_size": 32, "config_size": 12}
WIRES = ["vfio-user", "vhost-user"] if OVERRIDE in os.environ else [pytest.param("mpqemu", marks=[pytest.mark.irqfd, pytest.mark.long])]
# vfio-user-pci of QEMU 10.2 aborts when it is unplugged (memory_region_del_subregion), and x-pci-proxy-dev can't be plugged with a
# descriptor that QEMU was not started with.
PLUGGED = ["vhost-user"]


class World:
    """The device's process, which outlives its guests, and their holder's lines."""

    def __init__(self, wire, spawn, folder, logs, cleanup):
        self.wire, self.folder, self.logs, self.cleanup, self.count = wire, folder, logs, cleanup, 0
        self.path = folder / "device"
        self.process = spawn([PROGRAM, f"--port=one,listen:{folder}/one", f"--socket-path={self.path}", f"--wire={wire}"])
        while not self.path.exists():
            assert self.process.running, self.process.log_tail()
        self.holder = folder / "port_holder"
        subprocess.run(["cc", "-static", "-O2", "-D_GNU_SOURCE", "-Wall", "-Werror", "-o", self.holder, SOURCE], check=True)

    def device(self):
        """QEMU's options for the device, and what QEMU inherits."""
        if self.wire == "mpqemu":
            sock = self.connect("device")
            return {"driver": "x-pci-proxy-dev", "id": "ports", "fd": str(sock.fileno())}, [sock]
        if self.wire == "vfio-user":
            return {"driver": "vfio-user-pci", "socket": {"type": "unix", "path": str(self.path)}, **self.place()}, []
        return GENERIC | {"chardev": f"c{self.count}"} | self.place(), []

    def place(self):
        return {"id": "ports", "bus": "root"}

    def boot(self):
        self.count += 1
        device, inherit = self.device()
        arguments = ["-device", "pcie-root-port,id=root,slot=1", "-device", json.dumps(device)]
        if self.wire == "vhost-user":
            arguments = ["-chardev", f"socket,id=c{self.count},path={self.path}", *arguments]
        guest = Guest(self.logs / f"guest{self.count}", modules=["virtio_pci", "virtio_console"], programs=[self.holder],
                      arguments=arguments, inherit=inherit, boot_timeout=PATIENCE_S)  # fmt: skip
        hold(guest)
        return guest

    def unplug(self, guest):
        """QEMU says nothing of it to the device. The end of its connection does."""
        guest.qmp.execute("device_del", {"id": "ports"})
        guest.qmp.wait_event("DEVICE_DELETED", timeout=PATIENCE_S, device="ports")
        guest.qmp.execute("chardev-remove", {"id": f"c{self.count}"})

    def plug(self, guest):
        self.count += 1
        address = {"type": "unix", "data": {"path": str(self.path)}}
        backend = {"type": "socket", "data": {"addr": address, "server": False}}
        guest.qmp.execute("chardev-add", {"id": f"c{self.count}", "backend": backend})
        guest.qmp.execute("device_add", self.device()[0])

    def connect(self, name):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE_S)
        sock.connect(str(self.folder / name))
        return sock

    def begin(self, guest, letter):
        """A session with unread bytes in both directions: the peer."""
        peer = self.cleanup.enter_context(self.connect("one"))
        peer.sendall(letter.encode() * 1000)
        wait_for(guest, f"wrote {letter}")
        assert peer.recv(1) == letter.lower().encode()
        return peer


def hold(guest):
    guest.run("port_holder one >/tmp/lines 2>&1 & until grep -q holding /tmp/lines; do usleep 10000; done", PATIENCE_S)


def wait_for(guest, line):
    guest.run(f"until grep -q '{line}' /tmp/lines; do usleep 10000; done", PATIENCE_S)
    assert "LIED" not in guest.run("cat /tmp/lines")


def read_to_end(peer, letter):
    """More than the port's ring holds lies there, and none of another session."""
    with contextlib.suppress(ConnectionResetError):  # bytes of the peer were not read
        while data := peer.recv(1 << 16):
            assert set(data) == set(letter.lower().encode())


@pytest.fixture
def make(spawn, folder, logs, cleanup):
    return lambda wire: World(wire, spawn, folder, logs, cleanup)


@pytest.mark.parametrize("wire", WIRES)
def test_reboot(make, wire):
    world = make(wire)
    with world.boot() as guest:
        first = world.begin(guest, "A")
        first.sendall(b"A" * 65536)
        guest.reboot(PATIENCE_S)
        read_to_end(first, "A")
        hold(guest)
        world.begin(guest, "B")


@pytest.mark.parametrize("wire", WIRES)
def test_another_vmm(make, wire):
    """The listener is there between the two, and who connects then is the next peer."""
    world = make(wire)
    with world.boot() as guest:
        first = world.begin(guest, "A")
        first.sendall(b"A" * 65536)
    read_to_end(first, "A")
    waiting = world.cleanup.enter_context(world.connect("one"))
    waiting.sendall(b"B" * 1000)
    with world.boot() as guest:
        wait_for(guest, "wrote B")
        assert waiting.recv(1) == b"b"


@pytest.mark.skipif(OVERRIDE not in os.environ, reason="needs vhost-user-test-device-pci: OUTBOARD_QEMU names a QEMU of 10.2")
@pytest.mark.parametrize("wire", PLUGGED)
def test_device_is_unplugged_and_plugged(make, wire):
    """The program that holds the port is the same one."""
    world = make(wire)
    with world.boot() as guest:
        for letter, following in ("AB", "BC"):
            first = world.begin(guest, letter)
            world.unplug(guest)
            read_to_end(first, letter)
            world.plug(guest)
            world.begin(guest, following).close()
        assert guest.run("grep -c break /tmp/lines").strip() >= "2"

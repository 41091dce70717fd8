# SPDX-License-Identifier: BSD-3-Clause
"""outboard-vsock under stock QEMU with the stock driver of Debian's kernel. Over vfio-user it needs a QEMU of 10.1 or
later, which OUTBOARD_QEMU names."""
import hashlib
import json
import os
import pathlib
import socket
import subprocess
import threading

import pytest
from guestlab import paths
from guestlab.machine import OVERRIDE, QEMU
from vsock_host import HostSockets

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-vsock"
MODULES = ["virtio_pci", "vmw_vsock_virtio_transport"]
CID = 42
MIB = 1 << 20


@pytest.fixture(scope="module")
def tool(tmp_path_factory):
    """The guest's program for AF_VSOCK."""
    program = tmp_path_factory.mktemp("vsock") / "vsock"
    source = pathlib.Path(__file__).with_name("vsock.c")
    subprocess.run(["cc", "-static", "-O1", "-Wall", "-Werror", "-o", program, source], check=True)
    return program


@pytest.fixture(params=["vhost-user", "vfio-user"])
def wire(request):
    qemu = os.environ.get(OVERRIDE, QEMU)
    devices = subprocess.run([qemu, "-device", "help"], capture_output=True, text=True, check=True).stdout
    needed = {"vhost-user": "vhost-user-vsock-pci", "vfio-user": "vfio-user-pci"}[request.param]
    if needed not in devices:
        pytest.skip(f"{qemu} has no {needed}")
    return request.param


class World(HostSockets):
    """A guest with the device, and the host's programs."""

    def __init__(self, boot, spawn, cleanup, folder, tool, wire, options=()):
        super().__init__(folder / "host", cleanup)
        device = folder / "device"
        self.process = spawn(
            [PROGRAM, f"--wire={wire}", f"--socket-path={device}", f"--guest-cid={CID}", f"--host-socket={self.path}", *options]
        )
        while not device.exists():
            assert self.process.running, self.process.log_tail()
        if wire == "vhost-user":
            arguments = ["-chardev", f"socket,id=vsock,path={device}", "-device", "vhost-user-vsock-pci,chardev=vsock"]
        else:
            properties = {"driver": "vfio-user-pci", "socket": {"type": "unix", "path": str(device)}}
            arguments = ["-device", json.dumps(properties)]
        self.guest = boot(modules=MODULES, programs=[tool], arguments=arguments)

    def client(self, port):
        """A program of the host, connected with a port of the guest."""
        sock = self.ask(port)
        line = b""
        while not line.endswith(b"\n"):
            byte = sock.recv(1)
            assert byte, f"the guest refuses port {port}"
            line += byte
        assert line.startswith(b"OK ")
        return sock

    def guest_listens(self, port, command):
        """A program of the guest that waits for one connection, in the background."""
        self.guest.run(f"({command.format(tool=f'vsock listen {port}')}) 2>/tmp/listen-{port} & "
                       f"until grep -q listens /tmp/listen-{port}; do usleep 1000; done")  # fmt: skip


@pytest.fixture
def world(boot, spawn, cleanup, tmp_path, tool, wire):
    return lambda *options: World(boot, spawn, cleanup, tmp_path, tool, wire, options)


def read_all(sock):
    data = b""
    while piece := sock.recv(MIB):
        data += piece
    return data


def exchange(sock, data):
    """Sends the data, ends that direction, and reads all that comes meanwhile."""
    sender = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
    sender.start()
    came = read_all(sock)
    sender.join()
    return came


def checksum(data):
    return hashlib.sha256(data).hexdigest()


def test_streams_both_ways(world):
    """Each side connects to the other; 8 MiB go each way at once, and each direction ends by itself."""
    one = world()
    data = os.urandom(8 * MIB)
    listener = one.listen(80)
    one.guest.run("dd if=/dev/urandom of=/tmp/data bs=1M count=8 2>/dev/null; "
                  "(vsock connect 2 80 </tmp/data | sha256sum >/tmp/sum; echo $? >/tmp/done) & ")  # fmt: skip
    host = one.accept(listener)
    assert checksum(exchange(host, data)) == one.guest.run("sha256sum </tmp/data").split()[0]
    assert one.guest.run("until [ -s /tmp/done ]; do usleep 1000; done; cat /tmp/sum").split()[0] == checksum(data)
    one.guest_listens(22, "cat /tmp/data | {tool} | sha256sum >/tmp/sum2")
    client = one.client(22)
    assert checksum(exchange(client, data)) == one.guest.run("sha256sum </tmp/data").split()[0]
    assert one.guest.run("until [ -s /tmp/sum2 ]; do usleep 1000; done; cat /tmp/sum2").split()[0] == checksum(data)


def test_refusals(world):
    one = world()
    assert "Connection reset" in one.guest.attempt("vsock connect 2 99 </dev/null").output
    assert one.ask(22).recv(1) == b""


def test_guest_reboots(world):
    """A connection ends with the guest, and the next guest has ports of its own."""
    one = world()
    listener = one.listen(80)
    one.guest.run("(sleep 1000 | vsock connect 2 80) >/dev/null 2>&1 &")
    host = one.accept(listener)
    one.guest.reboot()
    assert host.recv(1) == b""
    one.guest.run("echo again | vsock connect 2 80 &")
    assert read_all(one.accept(listener)) == b"again\n"


def test_program_of_the_guest_is_killed(world):
    one = world()
    listener = one.listen(80)
    one.guest.run("sleep 1000 | vsock connect 2 80 >/dev/null 2>&1 & echo $! >/tmp/pid")
    host = one.accept(listener)
    one.guest.run("kill -9 $(cat /tmp/pid)")
    assert host.recv(1) == b""


def test_many_connections(world):
    """Sixty that are open at once, each with bytes of its own, while one of them never reads."""
    one = world()
    listener = one.listen(80)
    one.guest.run("(dd if=/dev/zero bs=64k count=64 2>/dev/null | vsock connect 2 80) >/dev/null 2>&1 &")
    blocked = one.accept(listener)
    one.guest.run("for i in $(seq 60); do (echo $i; sleep 1000) | vsock connect 2 80 >/tmp/out-$i & done")
    hosts = [one.accept(listener) for _ in range(60)]
    numbers = sorted(int(host.recv(16)) for host in hosts)
    assert numbers == list(range(1, 61))
    for host in hosts:
        host.sendall(b"x")
    one.guest.run("for i in $(seq 60); do until [ -s /tmp/out-$i ]; do usleep 1000; done; done")
    assert len(read_all(blocked)) == 64 * 65536

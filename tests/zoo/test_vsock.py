# SPDX-License-Identifier: BSD-3-Clause
"""The host's sockets of outboard-vsock, none of which wants descriptors, with each animal of the zoo on what is sent there:
on a kernel that refuses descriptors for the program (Linux 6.16), and on one that does not."""
import socket

import pytest
import vsock_driver
from guestlab import paths
from virtio_bus import VfioBus
from virtio_driver import VirtioPci

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-vsock"
CID = 5
PATIENCE_S = 30


@pytest.fixture
def device(spawn, cleanup, tmp_path, environment):
    """(process, driver of the guest): its host's sockets begin with tmp_path/host."""
    ours, theirs = socket.socketpair()
    options = [f"--fd={theirs.fileno()}", "--wire=vfio-user", f"--guest-cid={CID}", f"--host-socket={tmp_path}/host"]
    process = spawn([PROGRAM, *options], inherit=[theirs], env=environment)
    bus = VfioBus(ours)
    cleanup.callback(bus.close)
    return process, vsock_driver.VsockDriver(VirtioPci(bus), CID)


@pytest.fixture
def offer(offering, device):
    return offering(device[0])


def test_clients(device, offer, end, cleanup, tmp_path):
    process, guest = device
    client = cleanup.enter_context(socket.socket(socket.AF_UNIX))
    client.settimeout(PATIENCE_S)
    client.connect(f"{tmp_path}/host")
    offer(client, b"CONN")
    offer(client, b"ECT 22\n")
    port = guest.expect(vsock_driver.REQUEST, dst_port=22).src_port
    guest.send(vsock_driver.RESPONSE, 22, port)
    assert client.recv(3) == b"OK "
    offer(client, b"data")
    assert guest.read(4) == b"data"
    offer(client, b"at the end")
    client.close()
    assert guest.read(10) == b"at the end"
    guest.expect(vsock_driver.SHUTDOWN)
    end(process)


def test_servers(device, offer, end, cleanup, tmp_path):
    process, guest = device
    for number, kind_of_socket in enumerate([socket.SOCK_STREAM, socket.SOCK_SEQPACKET]):
        kind_of_stream = [vsock_driver.STREAM, vsock_driver.SEQPACKET][number]
        listener = cleanup.enter_context(socket.socket(socket.AF_UNIX, kind_of_socket))
        listener.settimeout(PATIENCE_S)
        listener.bind(f"{tmp_path}/host_{80 + number}")
        listener.listen()
        guest.connect(1000, 80 + number, kind=kind_of_stream)
        server = cleanup.enter_context(listener.accept()[0])
        offer(server, b"data")
        assert guest.expect(vsock_driver.RW).payload == b"data"
    end(process)

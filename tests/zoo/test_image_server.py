# SPDX-License-Identifier: BSD-3-Clause
"""An NBD server on a Unix socket that puts each animal of the zoo on what it sends: the kernel refuses them there."""
import array
import contextlib
import errno
import signal
import socket

import pytest
import vfio_user
from driver import CSTS, PAGE, PROGRAM, RDY, SUCCESS, Controller, Disk
from scripted_nbd import ScriptedNbd
from server import Server
from vfio_machine import VfioMachine
from vfio_user import PATIENCE_S

NVME_READ = 0x02
SO_PASSRIGHTS = 83
OFFERS = 12  # the messages of two connections, and some answers


def why_not():
    """Why this kernel can't refuse descriptors; None if it can."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
        except OSError as error:
            return f"no SO_PASSRIGHTS, which is of Linux 6.16: {error.strerror}"
    return None


class Hostile(ScriptedNbd):
    """Each message offers a descriptor before its bytes go out; `verdicts` are the errnos, 0 for one that was taken."""

    def __init__(self, path, animals):
        self.animals, self.verdicts = animals, []
        super().__init__(path)

    def serve(self, sock):
        super().serve(Offering(self, sock))


class Offering:
    def __init__(self, server, sock):
        self.server, self.sock = server, sock
        self.recv, self.shutdown = sock.recv, sock.shutdown

    def sendall(self, data):
        if len(self.server.verdicts) < OFFERS:
            data = data[self.offer(data) :]
        self.sock.sendall(data)

    def offer(self, data):
        """How much of the data went out."""
        animal = self.server.animals()
        try:
            sent = self.sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [animal.fd]))])
        except OSError as error:
            self.server.verdicts.append(error.errno)
            return 0
        self.server.verdicts.append(0)
        animal.let_go()
        return sent


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_no_descriptor_of_an_image_server_is_taken(tmp_path, animals, cleanup):
    image = Hostile(tmp_path / "hostile.sock", animals)
    cleanup.callback(image.close)
    server = Server(tmp_path, PROGRAM, f"--image={image.uri}")
    cleanup.callback(server.process.kill)
    machine = VfioMachine(vfio_user.Client.connect(server.path))
    with contextlib.closing(machine):
        machine.connect()
        disk = Disk(Controller(machine).create_queue())
        for block in range(OFFERS):
            assert disk.run(NVME_READ, 8 * block, machine.pages(1), PAGE) == SUCCESS
        assert machine.register(CSTS) == RDY
        machine.client.close()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE_S) == 0, server.messages()
    server.notify.close()
    assert image.verdicts == [errno.EPERM] * OFFERS

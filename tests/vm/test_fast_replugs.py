# SPDX-License-Identifier: BSD-3-Clause
"""Why outboard-vmchannel waits a second between the removal of a port and its return, and never replugs an agent's port:
QEMU's own virtio-serial, whose port is replugged at once, leaves the unit of a Debian guest's agent dead though its port
is there. With a second between, the unit lives again."""
import json
import socket

import pytest
from guestlab import Guest

PORT = "org.qemu.guest_agent.0"
PATIENCE_S = 300
BURSTS = 300
REPLUG = {"driver": "virtserialport", "id": "port", "bus": "inside.0", "chardev": "inside", "name": PORT, "nr": 1}

pytestmark = pytest.mark.long


@pytest.fixture
def guest(logs, folder):
    arguments = ["-device", "virtio-serial-pci,id=inside", "-chardev", f"socket,id=inside,path={folder / 'agent'},server=on,wait=off",
                 "-device", json.dumps(REPLUG)]  # fmt: skip
    with Guest(logs / "guest", debian=True, memory_mib=512, modules=["virtio_console"], arguments=arguments, boot_timeout=PATIENCE_S) as booted:
        booted.folder = folder
        yield booted


def settled_state(guest):
    """What becomes of the unit when udev and systemd have done all that they know of."""
    guest.run(f"until [ -e /dev/virtio-ports/{PORT} ]; do sleep 0.01; done; udevadm settle", PATIENCE_S)
    guest.run("while systemctl list-jobs --no-legend | grep -q .; do sleep 0.05; done", PATIENCE_S)
    return guest.attempt("systemctl is-active qemu-guest-agent").output.strip()


def replug(guest, pause):
    guest.qmp.execute("device_del", {"id": "port"})
    guest.qmp.wait_event("DEVICE_DELETED", timeout=PATIENCE_S, device="port")
    if pause:
        guest.run("sleep 1")
    guest.qmp.execute("device_add", REPLUG)


def test_fast_replugs_leave_the_unit_dead(guest):
    guest.run("until systemctl is-active -q qemu-guest-agent; do sleep 0.1; done", PATIENCE_S)
    for burst in range(BURSTS):
        for _ in range(1 + burst % 5):
            replug(guest, pause=False)
        if settled_state(guest) == "inactive":
            break
    else:
        pytest.fail(f"the unit survived {BURSTS} bursts")
    replug(guest, pause=True)
    guest.run("until systemctl is-active -q qemu-guest-agent; do sleep 0.1; done", PATIENCE_S)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect(str(guest.folder / "agent"))
        sock.sendall(b'{"execute": "guest-ping"}\n')
        assert json.loads(sock.makefile("r").readline()) == {"return": {}}

# SPDX-License-Identifier: BSD-3-Clause
"""Why outboard-vmchannel waits a second between the removal of a port and its return, and never replugs an agent's port:
QEMU's own virtio-serial, whose port is replugged at once, leaves the unit of a Debian guest's agent dead though its port
is there. With a second between, the unit lives again. The same unit on a port of ours outlives bursts of clients, in each mode."""
import json
import os
import socket

import pytest
from guestlab import Guest, accelerator, paths
from guestlab.machine import OVERRIDE

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-vmchannel"
PORT = "org.qemu.guest_agent.0"
PATIENCE_S = 300
BURSTS = 300
REPLUG = {"driver": "virtserialport", "id": "port", "bus": "inside.0", "chardev": "inside", "name": PORT, "nr": 1}

pytestmark = pytest.mark.long


def boot(logs, folder, arguments, inherit=()):
    guest = Guest(logs / "guest", debian=True, memory_mib=512, modules=["virtio_pci", "virtio_console"], arguments=arguments, inherit=inherit,
                  boot_timeout=PATIENCE_S)  # fmt: skip
    guest.folder = folder
    return guest


@pytest.fixture
def guest(logs, folder):
    arguments = ["-device", "virtio-serial-pci,id=inside", "-chardev", f"socket,id=inside,path={folder / 'agent'},server=on,wait=off",
                 "-device", json.dumps(REPLUG)]  # fmt: skip
    with boot(logs, folder, arguments) as booted:
        yield booted


@pytest.fixture
def ours(logs, folder, spawn):
    """ours(how the port does it): a guest with the agent's port behind outboard-vmchannel."""
    started = []

    def start(mode):
        end, theirs = socket.socketpair()
        is_vfio = OVERRIDE in os.environ
        wire = [f"--socket-path={folder / 'device'}", "--wire=vfio-user"] if is_vfio else [f"--fd={end.fileno()}"]
        process = spawn([PROGRAM, f"--port={PORT},reconnect={mode},listen:{folder / 'agent'}", *wire], inherit=[end])
        while not (folder / ("device" if is_vfio else "agent")).exists():
            assert process.running, process.log_tail()
        vfio = {"driver": "vfio-user-pci", "socket": {"type": "unix", "path": str(folder / "device")}}
        device = json.dumps(vfio) if is_vfio else f"x-pci-proxy-dev,id=ports,fd={theirs.fileno()}"
        started.append(boot(logs, folder, ["-device", device], [theirs]))
        return started[0]

    yield start
    for booted in started:
        booted.__exit__(None, None, None)


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


def await_unit(guest):
    guest.run("until systemctl is-active -q qemu-guest-agent; do sleep 0.1; done", PATIENCE_S)


def connect(guest):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE_S)
    sock.connect(str(guest.folder / "agent"))
    return sock


def check_agent(guest):
    """It answers; what it says to a client before is skipped."""
    with connect(guest) as sock, sock.makefile("rb") as lines:
        sock.sendall(b'\xff{"execute": "guest-sync-delimited", "arguments": {"id": 4711}}\n')
        while json.loads(lines.readline().lstrip(b"\xff")) != {"return": 4711}:
            pass


def test_fast_replugs_leave_the_unit_dead(guest):
    await_unit(guest)
    for burst in range(BURSTS):
        for _ in range(1 + burst % 5):
            replug(guest, pause=False)
        if settled_state(guest) == "inactive":
            break
    else:
        pytest.fail(f"the unit survived {BURSTS} bursts")
    replug(guest, pause=True)
    await_unit(guest)
    check_agent(guest)


@pytest.mark.skipif(OVERRIDE not in os.environ and accelerator() != "kvm", reason="needs KVM's irqfd, or vfio-user-pci in OUTBOARD_QEMU")
@pytest.mark.parametrize("mode, bursts", [("replug", 20), ("agent", BURSTS)])
def test_bursts_of_clients_leave_the_unit_active(ours, mode, bursts):
    guest = ours(mode)
    await_unit(guest)
    for burst in range(bursts):
        for _ in range(1 + burst % 5):
            with connect(guest) as sock:
                sock.sendall(b'{"execute": "guest-ping"}\n' if burst % 2 else b"{")
        if mode == "replug":
            await_unit(guest)
            check_agent(guest)
    await_unit(guest)
    check_agent(guest)
    assert settled_state(guest) == "active"

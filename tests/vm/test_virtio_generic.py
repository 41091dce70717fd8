# SPDX-License-Identifier: BSD-3-Clause
"""outboard-rng and outboard-vmchannel behind QEMU's vhost-user-test-device-pci (10.2), which knows no device type: the VMM has
the registers of any virtio device, and the process has the rest. OUTBOARD_QEMU names such a QEMU."""
import os
import socket
import subprocess

import pytest
from guestlab import paths
from guestlab.machine import OVERRIDE

PROGRAMS = paths.BUILD / "root/libexec/outboard"
GENERIC = "vhost-user-test-device-pci"
PATIENCE_S = 300

pytestmark = pytest.mark.skipif(OVERRIDE not in os.environ, reason=f"{OVERRIDE} names no QEMU with {GENERIC}")


@pytest.fixture
def attach(spawn, tmp_path):
    """attach(program, option..., virtio-id=...): QEMU's arguments for a device whose process runs."""
    devices = subprocess.run([os.environ[OVERRIDE], "-device", "help"], capture_output=True, text=True, check=True)
    if GENERIC not in devices.stdout:
        pytest.skip(f"{os.environ[OVERRIDE]} has no {GENERIC}")

    def start(program, *options, **properties):
        path = tmp_path / f"{program}.socket"
        process = spawn([PROGRAMS / program, "--wire=vhost-user", f"--socket-path={path}", *options], name=program)
        while not path.exists():
            assert process.running, process.log_tail()
        words = [f"{name.replace('virtio_id', 'virtio-id')}={value}" for name, value in properties.items()]
        return ["-chardev", f"socket,id=c,path={path}", "-device", ",".join([GENERIC, "chardev=c", *words])]

    return start


def test_rng(boot, attach):
    arguments = attach("outboard-rng", virtio_id=4, num_vqs=1, vq_size=8)
    guest = boot(modules=["virtio_pci", "virtio_rng"], arguments=arguments)
    assert guest.read("/sys/class/misc/hw_random/rng_current") == "virtio_rng.0"
    first, second = (guest.run("dd if=/dev/hwrng bs=512 count=4 iflag=fullblock 2>/dev/null | md5sum") for _ in range(2))
    assert first != second
    assert guest.shutdown() == 0


def test_console_with_a_named_port(boot, attach, tmp_path):
    arguments = attach("outboard-vmchannel", f"--port=test,listen:{tmp_path / 'port'}", virtio_id=3, num_vqs=64, vq_size=32,
                       config_size=12)  # fmt: skip
    guest = boot(modules=["virtio_pci", "virtio_console"], arguments=arguments)
    node = guest.run("until grep -lx test /sys/class/virtio-ports/*/name 2>/dev/null >/tmp/found; do usleep 10000; done;"
                     "basename $(dirname $(cat /tmp/found))").strip()  # fmt: skip
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect(str(tmp_path / "port"))
        guest.run(f"exec 3<>/dev/{node}; (head -c 100000 <&3 | md5sum >&3; sleep 1000) >/dev/null 2>&1 &")
        sock.sendall(bytes(100000))
        assert sock.recv(32, socket.MSG_WAITALL).decode() == guest.run("head -c 100000 /dev/zero | md5sum").split()[0]
    assert guest.shutdown() == 0

# SPDX-License-Identifier: BSD-3-Clause
"""A guest under stock QEMU uses virtio devices over vhost-user, whose processes are killed again and again. The front
end never reconnects, so the socket survives, and the guest notices nothing."""
import contextlib
import importlib.util
import os
import pathlib
import socket
import subprocess
import threading

import pytest
from guestlab import accelerator, initramfs, kernels, paths
from guestlab.machine import OVERRIDE, QEMU

# Another folder has a test_restart.py too.
_spec = importlib.util.spec_from_file_location("vm_restart", pathlib.Path(__file__).with_name("test_restart.py"))
restart = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(restart)

PROGRAMS = paths.BUILD / "root/libexec/outboard"
COMPLAINTS = "dmesg | grep -iE 'virtio|vd[a-z]|vsock|I/O' | grep -iE 'error|fail|reset|timeout' | sed 's/^/COMPLAINT /'"
KILLS = [20, pytest.param(500, marks=pytest.mark.long)]


@pytest.fixture
def vhost(tmp_path):
    """vhost(C program, kind of device, QEMU's device, settings, command=, modules=): a Vm."""
    started = []

    def start(name, kind, device, settings="", command=None, modules=(), libraries=()):
        kernel = kernels.kernel("cloud")
        program = tmp_path / name
        subprocess.run(["cc", "-static", "-O2", "-D_GNU_SOURCE", "-o", program, restart.SOURCES / f"{name}.c"], check=True)
        init = tmp_path / "init"
        init.write_text(restart.INIT.format(commands=f"{command or name}\n{COMPLAINTS}"))
        (tmp_path / "initramfs").write_bytes(initramfs.build(kernel, modules, [program], init=init))
        (tmp_path / "vm.conf").write_text(f"""
            [machine]
              program = "{os.environ.get(OVERRIDE, QEMU)}"
              memory = "256M"
              control = "{tmp_path}/control"
              arguments = "-nodefaults -no-user-config -display none -serial stdio -machine q35 -accel {accelerator()}"
              arguments = "-cpu {'host' if accelerator() == 'kvm' else 'max'} -kernel {kernel.image}"
              arguments = "-initrd {tmp_path}/initramfs -append 'console=ttyS0 quiet panic=-1 no_timer_check' -no-reboot"
              arguments = "-chardev {'socket,id=c,path=%socket:device%' if OVERRIDE in os.environ else 'socket,id=c,fd=%fd:device%'}"
              arguments = "-device {device},chardev=c"
            [device "device"]
              program = "{kind}"
              {restart.RESTARTS}
              {settings}
        """)
        started.append(restart.Vm(tmp_path, name, PROGRAMS / f"outboard-{kind}"))
        return started[-1]

    yield start
    for machine in started:
        machine.close()


def storm(machine, first, last, kills):
    machine.read_until(first)
    machine.storm(kills)
    machine.stop()
    assert int(machine.read_until(last).split()[1]) > 0
    machine.end()
    assert len(machine.killed) == kills
    assert kills > 20 or f"(number {kills + 1})" in machine.text()  # of more kills the log does not tell each


@pytest.mark.parametrize("kills", KILLS)
def test_random_bytes(vhost, kills):
    machine = vhost("random_forever", "rng", "vhost-user-rng-pci", modules=["virtio_pci", "virtio_rng"])
    storm(machine, "reading", "read ", kills)


class Echo:
    """A program of the host that sends back whatever it gets."""

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(100)
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            thread = threading.Thread(target=self.serve, args=[client], daemon=True)
            self.threads.append(thread)
            thread.start()

    @staticmethod
    def serve(client):
        with client, contextlib.suppress(ConnectionError, BrokenPipeError):
            while data := client.recv(65536):
                client.sendall(data)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join()


def exchange_for_ever(vhost, folder):
    return vhost("vsock_forever", "vsock", "vhost-user-vsock-pci", f'guest-cid = "42"\nhost-socket = "{folder}/host"',
                 command="vsock_forever 5000", modules=["virtio_pci", "vmw_vsock_virtio_transport"])  # fmt: skip


@pytest.mark.parametrize("kills", KILLS)
def test_connections_survive(vhost, tmp_path, kills):
    """QEMU never connects again to the device of vhost-user-vsock: its socket survives, and so do the streams."""
    with contextlib.closing(Echo(tmp_path / "host_5000")):
        machine = exchange_for_ever(vhost, tmp_path)
        storm(machine, "exchanging", "exchanged", kills)
        machine.close()


def test_connections_survive_an_upgrade(vhost, tmp_path):
    with contextlib.closing(Echo(tmp_path / "host_5000")):
        machine = exchange_for_ever(vhost, tmp_path)
        machine.read_until("exchanging")
        machine.upgrades(3)
        machine.stop()
        assert int(machine.read_until("exchanged").split()[1]) > 0
        machine.end()
        assert machine.text().count("another process has taken its place") == 3
        machine.close()


@pytest.mark.parametrize("kills", KILLS)
def test_a_disk(vhost, tmp_path, kills):
    image = tmp_path / "disk.img"
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    command = "until [ -b /dev/vda ]; do usleep 10000; done; verify_forever /dev/vda"
    machine = vhost("verify_forever", "blk", "vhost-user-blk-pci", f'image = "{image}"', command=command,
                    modules=["virtio_pci", "virtio_blk"])  # fmt: skip
    storm(machine, "verifying", "verified", kills)

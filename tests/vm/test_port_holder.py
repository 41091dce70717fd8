# SPDX-License-Identifier: BSD-3-Clause
"""A program of a guest holds a port of outboard-vmchannel open while peers of the host come and go, and the device's process
is killed or replaced, or the driver or the device goes. The program always learns of it before it reads a byte of the
next peer, and that one never reads a byte that was written for another. Behind the wire is more than 1 MiB of old output."""
import importlib.util
import json
import os
import pathlib
import signal
import socket
import subprocess

import pytest
from guestlab import accelerator, initramfs, kernels, paths
from guestlab.machine import OVERRIDE, QEMU

# Another folder has a test_restart.py too.
_spec = importlib.util.spec_from_file_location("vm_restart", pathlib.Path(__file__).with_name("test_restart.py"))
restart = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(restart)

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-vmchannel"
PATIENCE_S = 120
GENERIC = "vhost-user-test-device-pci,virtio-id=3,num_vqs=64,vq_size=32,config_size=12"
COMMANDS = """port_holder one &
while read -r line; do [ "$line" = stop ] && break; eval "$line"; done"""
WIRES = ["vfio-user", "vhost-user"] if OVERRIDE in os.environ else [pytest.param("mpqemu", marks=[pytest.mark.irqfd, pytest.mark.long])]


class Vm(restart.Vm):
    def __init__(self, folder):
        super().__init__(folder, "port_holder", PROGRAM)
        self.letters = iter("ABCDEFGHIJKLMNOPQRSTUVWXYZ" * 100)

    def order(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def ctl(self, *words):
        return subprocess.run([restart.OUTBOARD, *words], check=True, capture_output=True, text=True).stdout

    def peer(self):
        """The next peer, whose letter the program of the guest has read."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE_S)
        while True:
            try:
                sock.connect(str(self.log_path.parent / "one"))
                break
            except (ConnectionRefusedError, FileNotFoundError):  # between two processes
                assert self.process.poll() is None, self.text()
        letter = next(self.letters)
        sock.sendall(letter.encode() * 1000)
        return sock, letter


def own_bytes(sock, letter):
    """A peer reads its own small letter and nothing else. Whether it did before its connection's end."""
    try:
        got = sock.recv(65536)
    except ConnectionResetError:
        return False
    assert set(got) <= set(letter.lower().encode()), f"{letter} has read {set(got)}"
    return bool(got)


def next_session(vm, peer):
    """The peer that is there goes, and the next one's session begins, however often the device takes it away."""
    peer.close()
    while True:
        sock, letter = vm.peer()
        if own_bytes(sock, letter):
            vm.read_until(f"wrote {letter}")
            return sock
        sock.close()


@pytest.fixture(params=WIRES)
def start(request, tmp_path):
    """start(property of the port...): a Vm."""
    started = []

    def start_with(*properties):
        started.append(start_vm(tmp_path, request.param, properties))
        return started[-1]

    yield start_with
    for machine in started:
        machine.close()


@pytest.fixture
def vm(start):
    return start()


def start_vm(tmp_path, wire, properties):
    kernel = kernels.kernel("cloud")
    program, init = tmp_path / "port_holder", tmp_path / "init"
    source = restart.SOURCES / "port_holder.c"
    subprocess.run(["cc", "-static", "-O2", "-D_GNU_SOURCE", "-Wall", "-Werror", "-o", program, source], check=True)
    init.write_text(restart.INIT.format(commands=COMMANDS))
    (tmp_path / "initramfs").write_bytes(initramfs.build(kernel, ["virtio_pci", "virtio_console"], [program], init=init))
    vhost = f"""
              arguments = "-chardev socket,id=c,path=%socket:device% -device {GENERIC},chardev=c"
    """
    (tmp_path / "vm.conf").write_text(f"""
            [machine]
              program = "{os.environ.get(OVERRIDE, QEMU)}"
              memory = "256M"
              control = "{tmp_path}/control"
              arguments = "-nodefaults -no-user-config -display none -serial stdio -machine q35 -accel {accelerator()}"
              arguments = "-cpu {'host' if accelerator() == 'kvm' else 'max'} -kernel {kernel.image}"
              arguments = "-initrd {tmp_path}/initramfs -append 'console=ttyS0 no_timer_check quiet panic=-1' -no-reboot"
              {vhost if wire == 'vhost-user' else ''}
            [device "device"]
              program = "vmchannel"
              {restart.RESTARTS}
              port = "{','.join(['one', *properties])},listen:{tmp_path}/one"
    """)
    return Vm(tmp_path)


def kill(vm):
    pid = vm.device()
    with os.fdopen(os.pidfd_open(pid)) as end:
        os.kill(pid, signal.SIGKILL)
        restart.select.select([end], [], [])


def upgrade(vm):
    vm.ctl("upgrade", f"--vm={vm.log_path.parent}/control", "device")


def reload(vm):
    vm.order("d=$(basename $(readlink -f /sys/class/virtio-ports/vport*/device | head -n 1)); cd /sys/bus/virtio/drivers/virtio_console; "
             "echo $d >unbind; echo $d >bind; cd /")  # fmt: skip


def short_peer(vm):
    """Another peer comes, and goes at once."""
    vm.peer()[0].close()


def nothing(_):
    pass


DEEDS = [nothing, short_peer, kill, upgrade, reload]


def hold_through(vm, deeds):
    vm.read_until("holding")
    peer = next_session(vm, socket.socket(socket.AF_UNIX))
    for deed in deeds:
        deed(vm)
        peer = next_session(vm, peer)
    peer.close()
    vm.stop()
    vm.read_until("ended")
    lies = [line for line in vm.console if "LIED" in (line or "") or "COMPLAINT" in (line or "")]
    assert lies == []
    assert sum("break" in (line or "") for line in vm.console) >= len(deeds)
    assert vm.process.wait() == 0, vm.text()


def test_program_that_holds_a_port_learns_of_each_break(vm):
    hold_through(vm, DEEDS)


@pytest.mark.long
def test_legacy_shows_the_lie(start):
    """The next peer reads what was written for the one before."""
    vm = start("reconnect=legacy")
    vm.read_until("holding")
    first, letter = vm.peer()
    with first:
        vm.read_until(f"wrote {letter}")
    second, _ = vm.peer()
    with second:
        assert second.recv(1) == letter.lower().encode()
    vm.stop()
    vm.read_until("ended")


@pytest.mark.long
@pytest.mark.parametrize("deed", [kill, upgrade])
def test_program_that_holds_a_port_through_100(vm, deed):
    hold_through(vm, [deed] * 100)

# SPDX-License-Identifier: BSD-3-Clause
"""A guest under stock QEMU uses devices whose processes are killed again and again, and notices nothing."""
import itertools
import json
import os
import pathlib
import random
import select
import signal
import socket
import subprocess
import threading

import pytest
from guestlab import accelerator, initramfs, kernels, paths
from guestlab.machine import OVERRIDE, QEMU

OUTBOARD = paths.BUILD / "root/bin/outboard"
COUNTER = paths.BUILD / "release/examples/counter"
HEIR = paths.BUILD / "release/tests/supervisor/heir"
NVME = paths.BUILD / "root/libexec/outboard/outboard-nvme"
SOURCES = pathlib.Path(__file__).parent
RESTARTS = 'on-death = "restart"\nrestart-limit = "100000"'

INIT = """#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "/lib/modules/$module"; done </etc/modules
{commands}
dmesg | grep -v 'ommand line:' | grep -E 'nvme.*(imeout|reset|error|down)' | sed 's/^/COMPLAINT /'
echo ended
poweroff -f
"""


class Vm:
    """outboard run with QEMU, whose guest runs a program of ours until it gets a line."""

    def __init__(self, folder, program, device):
        self.log_path = folder / "log"
        self.log = open(self.log_path, "w")
        self.program = program
        self.process = subprocess.Popen([OUTBOARD, "run", folder / "vm.conf"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)  # fmt: skip
        self.device_program = device
        self.console = []
        self.seen = 0  # lines that read_until() has looked at
        self.killed = set()  # processes of the device
        self.control = None  # the machine's, once it is asked
        self.more = threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in itertools.chain(self.process.stdout, [None]):
            with self.more:
                self.console.append(line)
                self.more.notify_all()

    def close(self):
        self.process.terminate()
        self.process.wait()
        if self.control:
            self.answers.close()
            self.control.close()
        self.reader.join()
        self.process.stdin.close()
        self.process.stdout.close()
        self.log.close()

    def text(self):
        return self.log_path.read_text()

    def device(self):
        """The device's process, or None between two."""
        for pid in pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            try:
                if os.readlink(f"/proc/{pid}/exe") == str(self.device_program.resolve()):
                    return int(pid)
            except (FileNotFoundError, ProcessLookupError):
                pass
        return None

    def read_until(self, word):
        with self.more:
            while True:
                while self.seen == len(self.console):
                    self.more.wait()
                line = self.console[self.seen]
                assert line is not None, "".join(self.console[:-1]) + self.text()
                self.seen += 1
                if word in line:
                    return line

    def wait_for_progress(self):
        """Until the guest has told twice that it gets on: the second time, it has since we asked."""
        with self.more:
            self.seen = len(self.console)
        self.read_until("progress")
        self.read_until("progress")

    def storm(self, kills, wait=None):
        """Kills one process of the device after the other, every second one maybe before it continues. wait: what waits
        for the guest to get on; by default wait_for_progress."""
        for number in range(kills):
            pid = self.device()
            while pid is None:
                assert self.process.poll() is None, self.text()
                pid = self.device()
            with os.fdopen(os.pidfd_open(pid)) as end:
                if number % 2 == 0:
                    (wait or self.wait_for_progress)()
                select.select([end], [], [], random.uniform(0, 0.03))  # any moment of the guest's loop
                os.kill(pid, signal.SIGKILL)
                select.select([end], [], [])
            self.killed.add(pid)

    def io_done(self):
        """How many reads and writes of the guest the device has done, in all its lives."""
        if not self.control:
            self.control = socket.socket(socket.AF_UNIX)
            self.control.connect(str(self.log_path.parent / "control"))
            self.answers = self.control.makefile("r")
            self.answers.readline()  # the greeting
        self.control.sendall(b'{"execute": "stats", "id": 1}\n')
        line = self.answers.readline()
        assert line, "".join(line or "" for line in self.console) + self.text()
        (stats,) = json.loads(line)["return"]
        return stats["reads"] + stats["writes"]

    def wait_for_io(self):
        """For a guest that uses a disk and says little."""
        before = self.io_done()
        while self.io_done() < before + 16:
            assert self.process.poll() is None, self.text()

    def upgrades(self, times):
        """Another process takes the device's place, with progress of the guest between."""
        for _ in range(times):
            self.wait_for_progress()
            subprocess.run([OUTBOARD, "upgrade", f"--vm={self.log_path.parent}/control", "device"], check=True)

    def stop(self):
        self.process.stdin.write("stop\n")
        self.process.stdin.flush()

    def end(self):
        """The kernel had nothing to say of the device, and all have ended well."""
        self.read_until("ended")
        assert not [line for line in self.console if "COMPLAINT" in (line or "")]
        assert self.process.wait() == 0, self.text()


@pytest.fixture
def vm(tmp_path):
    """vm(C program or None, device's program, settings of the device, command=, modules=, files=): a Vm."""
    started = []

    def start(name, device, settings, command=None, modules=(), files=None, memory="256M", append=""):
        kernel = kernels.kernel("cloud")
        programs = [tmp_path / name] if name else []
        for program in programs:
            subprocess.run(["cc", "-static", "-O2", "-D_GNU_SOURCE", "-o", program, SOURCES / f"{name}.c"], check=True)
        init = tmp_path / "init"
        init.write_text(INIT.format(commands=command or name))
        (tmp_path / "initramfs").write_bytes(initramfs.build(kernel, modules, programs, files, init=init))
        (tmp_path / "vm.conf").write_text(f"""
            [machine]
              program = "{os.environ.get(OVERRIDE, QEMU)}"
              memory = "{memory}"
              control = "{tmp_path}/control"
              arguments = "-nodefaults -no-user-config -display none -serial stdio -machine q35 -accel {accelerator()}"
              arguments = "-cpu {'host' if accelerator() == 'kvm' else 'max'} -kernel {kernel.image}"
              arguments = "-initrd {tmp_path}/initramfs -append 'console=ttyS0 no_timer_check quiet panic=-1 {append}' -no-reboot"
            [device "device"]
              program = "{device}"
              {settings}
        """)
        started.append(Vm(tmp_path, name, device))
        return started[-1]

    yield start
    for machine in started:
        machine.close()


def count_under_kills(vm, kills):
    machine = vm("count_forever", COUNTER, RESTARTS)
    machine.read_until("counting")
    machine.storm(kills)
    machine.stop()
    assert int(machine.read_until("count").split()[1]) > 0
    machine.end()
    assert len(machine.killed) == kills


def test_a_guest_counts_while_its_device_is_killed(vm):
    count_under_kills(vm, 20)


def test_a_guest_counts_while_its_device_is_upgraded(vm):
    machine = vm("count_forever", COUNTER, 'on-death = "restart"')
    machine.read_until("counting")
    machine.upgrades(5)
    machine.stop()
    assert int(machine.read_until("count").split()[1]) > 0
    machine.end()
    assert machine.text().count("another process has taken its place") == 5


def ctl(folder, command):
    done = subprocess.run([OUTBOARD, "ctl", f"--vm={folder}/control", "--json", command], capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def test_a_guest_counts_while_its_supervisor_and_then_its_device_are_killed(vm, tmp_path, tmp_path_factory, monkeypatch):
    """QEMU's QMP, too, is the adopter's."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("r")))
    machine = vm("count_forever", COUNTER, 'on-death = "restart"')
    machine.read_until("counting")
    machine.process.kill()
    machine.process.wait()
    machine.wait_for_progress()
    with subprocess.Popen([OUTBOARD, "adopt", tmp_path / "vm.conf"], stderr=machine.log) as adopter:
        while (status := ctl(tmp_path, "status")) is None or status["state"] != "running":
            assert adopter.poll() is None, machine.text()
        os.kill(ctl(tmp_path, "list")[0]["pid"], signal.SIGKILL)
        while "(number 2)" not in machine.text():
            assert adopter.poll() is None, machine.text()
        machine.wait_for_progress()
        machine.stop()
        assert int(machine.read_until("count").split()[1]) > 0
        machine.read_until("ended")
        assert adopter.wait() == 0, machine.text()


@pytest.mark.long
def test_a_guest_counts_through_500_kills(vm):
    count_under_kills(vm, 500)


def test_without_restart_one_kill_is_seen(vm):
    machine = vm("count_forever", COUNTER, "")
    machine.read_until("counting")
    os.kill(machine.device(), signal.SIGKILL)
    assert "4294967295" in machine.read_until("round")


def verify_under(deed, vm, folder, times):
    image = folder / "disk.img"
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    command = "until [ -b /dev/nvme0n1 ]; do usleep 10000; done; verify_forever /dev/nvme0n1"
    machine = vm("verify_forever", NVME, f'{RESTARTS}\nimage = "{image}"', command=command, modules=["nvme"])
    machine.read_until("verifying")
    deed(machine, times)
    machine.stop()
    assert int(machine.read_until("verified").split()[1]) > 0
    machine.end()
    assert len(machine.killed) == (times if deed is Vm.storm else 0)


@pytest.mark.irqfd
@pytest.mark.long
def test_a_guest_verifies_its_disk_while_that_is_killed(vm, tmp_path):
    verify_under(Vm.storm, vm, tmp_path, 20)


@pytest.mark.irqfd
@pytest.mark.long
def test_a_guest_verifies_its_disk_while_that_is_upgraded(vm, tmp_path):
    verify_under(Vm.upgrades, vm, tmp_path, 5)


@pytest.mark.irqfd
@pytest.mark.long
def test_a_guest_verifies_its_disk_through_500_kills(vm, tmp_path):
    verify_under(Vm.storm, vm, tmp_path, 500)


if OVERRIDE in os.environ:  # a QEMU of 10.1 or later, whose interrupts need no KVM

    @pytest.mark.parametrize("name, counts", [("heir-soon", True), ("heir-late", False)])
    def test_a_restart_of_7_s_ends_the_connection(vm, tmp_path, name, counts):
        """QEMU gives a message up after 5 s. Then the guest reads all ones, and no answer comes later."""
        (tmp_path / name).symlink_to(HEIR)
        machine = vm("count_forever", tmp_path / name, RESTARTS)
        machine.read_until("counting")
        os.kill(machine.device(), signal.SIGKILL)
        if counts:
            machine.wait_for_progress()
            machine.stop()
            assert int(machine.read_until("counted").split()[1]) > 0
            machine.end()
        else:
            assert "4294967295" in machine.read_until("round")
            while "no process has served the VMM for 4500 ms or more" not in machine.text():
                assert machine.process.poll() is None, machine.text()

    def test_a_guest_verifies_its_disk_over_vfio_user(vm, tmp_path):
        verify_under(Vm.storm, vm, tmp_path, 20)

    def test_a_guest_verifies_its_disk_while_its_process_is_replaced(vm, tmp_path):
        verify_under(Vm.upgrades, vm, tmp_path, 10)

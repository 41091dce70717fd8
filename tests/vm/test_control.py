# SPDX-License-Identifier: BSD-3-Clause
"""outboard ctl with stock QEMU and Linux: devices that come and go while the guest runs, and one that hangs."""
import json
import os
import signal
import subprocess

import pytest
from guestlab import accelerator, initramfs, kernels, paths
from guestlab.machine import OVERRIDE, QEMU

OUTBOARD = paths.BUILD / "root/bin/outboard"

# Without an interrupt, as under TCG, the driver would wait for a minute, so it is left out.
# Process 1 of the guest: says how many NVMe controllers there are, whenever that changes.
INIT = """#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "/lib/modules/$module"; done </etc/modules
before=none
while :; do
    now=$(grep -l 0x010802 /sys/bus/pci/devices/*/class | wc -l)
    [ "$now" = "$before" ] || echo "controllers: $now"
    before=$now
    usleep 20000
done
"""


def wait_for(condition, process):
    """Busy-waits for something that the process does; it must not end before."""
    while not condition():
        assert process.running, process.log_tail()


class Guest:
    """outboard run with a guest that counts its controllers."""

    def __init__(self, folder, spawn, watchdog):
        kernel = kernels.kernel("cloud")
        init = folder / "init"
        init.write_text(INIT)
        (folder / "initramfs").write_bytes(initramfs.build(kernel, (), (), init=init))
        for name in ("a", "b"):
            with open(folder / f"{name}.img", "wb") as file:
                file.truncate(1 << 20)
        (folder / "vm.conf").write_text(f"""
            [machine]
              program = "{os.environ.get(OVERRIDE, QEMU)}"
              memory = "256M"
              control = "{folder}/control"
              arguments = "-nodefaults -no-user-config -display none -serial file:{folder}/console -machine pc"
              arguments = "-accel {accelerator()} -cpu {'host' if accelerator() == 'kvm' else 'max'} -kernel {kernel.image}"
              arguments = "-initrd {folder}/initramfs -append 'console=ttyS0 quiet panic=-1 initcall_blacklist=nvme_init' -no-reboot"
            [device "a"]
              program = "nvme"
              image = "{folder}/a.img"
            {watchdog}
        """)
        self.folder = folder
        self.process = spawn([OUTBOARD, "run", folder / "vm.conf"])

    def ctl(self, *words, fails=False):
        done = subprocess.run([OUTBOARD, "ctl", f"--vm={self.folder}/control", "--json", *words],
                              capture_output=True, text=True, check=False)  # fmt: skip
        assert (done.returncode != 0) == fails, done.stderr + self.process.log_tail()
        return done.stderr if fails else json.loads(done.stdout)

    def console(self):
        path = self.folder / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_for_controllers(self, number):
        wait_for(lambda: self.console().rstrip().endswith(f"controllers: {number}"), self.process)

    def wait_for_state(self, state):
        wait_for(lambda: self.ctl("status")["state"] == state, self.process)


@pytest.fixture
def guest(tmp_path, spawn, cleanup):
    def start(watchdog=""):
        machine = Guest(tmp_path, spawn, watchdog)
        cleanup.callback(lambda: machine.process.running and machine.process.terminate())  # with the VMM, which would stay
        return machine

    return start


def test_a_disk_comes_and_goes(guest):
    machine = guest()
    machine.wait_for_controllers(1)
    before = machine.ctl("stats", "a")[0]
    assert before["requests"] > 50 and before["bytes-in"] > before["requests"]
    assert sum(before["message-times"]["counts"]) > 50
    assert machine.ctl("add", "b", "program=nvme", f"image={machine.folder}/b.img") == {}
    machine.wait_for_controllers(2)
    assert [device["device"] for device in machine.ctl("list")] == ["a", "b"]
    assert machine.ctl("stats", "b")[0]["requests"] > 20
    assert "which is there" in machine.ctl("add", "b", "program=nvme", fails=True)
    assert machine.ctl("remove", "b") == {}
    machine.wait_for_controllers(1)
    assert [device["device"] for device in machine.ctl("list")] == ["a"]
    machine.ctl("add", "b", "program=nvme", f"image={machine.folder}/b.img")
    machine.wait_for_controllers(2)
    machine.ctl("quit")
    assert machine.process.wait() == 0


def test_a_device_that_qemu_refuses_ends(guest):
    machine = guest()
    machine.wait_for_controllers(1)
    refusal = machine.ctl("add", "b", "program=nvme", f"image={machine.folder}/b.img", "vmm.bus=none", fails=True)
    assert "Bus 'none' not found" in refusal
    wait_for(lambda: len(machine.ctl("list")) == 1, machine.process)
    machine.ctl("quit")
    assert machine.process.wait() == 0


def test_a_device_that_hangs_pauses_the_vm(guest):
    machine = guest('  watchdog-ms = "1000"\n  on-hang = "pause"')
    machine.wait_for_controllers(1)
    assert machine.ctl("status")["state"] == "running"
    pid = machine.ctl("list")[0]["pid"]
    os.kill(pid, signal.SIGSTOP)
    machine.wait_for_state("paused")
    assert machine.ctl("list")[0]["state"] == "hung"
    os.kill(pid, signal.SIGCONT)
    machine.wait_for_state("running")
    status = machine.ctl("status")
    assert status["pauses"] == 1 and status["longest-pause-ms"] == status["paused-ms"]
    assert machine.ctl("list")[0]["state"] == "ready"
    machine.ctl("quit")
    assert machine.process.wait() == 0

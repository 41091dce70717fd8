# SPDX-License-Identifier: BSD-3-Clause
"""A guest under stock QEMU uses a device whose process is killed again and again, and notices nothing."""
import os
import pathlib
import random
import signal
import subprocess
import time

import pytest
from guestlab import accelerator, initramfs, kernels, paths
from guestlab.machine import OVERRIDE, QEMU

OUTBOARD = paths.BUILD / "root/bin/outboard"
COUNTER = paths.BUILD / "release/examples/counter"
SOURCE = pathlib.Path(__file__).parent / "count_forever.c"

INIT = """#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
count_forever
poweroff -f
"""


@pytest.fixture
def machine(tmp_path):
    """machine(settings of the device): outboard run with QEMU, whose guest counts until it gets a line."""
    started = []

    def start(settings):
        kernel = kernels.kernel("cloud")
        program = tmp_path / "count_forever"
        subprocess.run(["cc", "-static", "-O2", "-o", program, SOURCE], check=True)
        init = tmp_path / "init"
        init.write_text(INIT)
        (tmp_path / "initramfs").write_bytes(initramfs.build(kernel, (), [program], init=init))
        (tmp_path / "vm.conf").write_text(f"""
            [machine]
              program = "{os.environ.get(OVERRIDE, QEMU)}"
              memory = "256M"
              arguments = "-nodefaults -no-user-config -display none -serial stdio -machine q35 -accel {accelerator()}"
              arguments = "-cpu {'host' if accelerator() == 'kvm' else 'max'} -kernel {kernel.image}"
              arguments = "-initrd {tmp_path}/initramfs -append 'console=ttyS0 quiet panic=-1' -no-reboot"
            [device "count"]
              program = "{COUNTER}"
              {settings}
        """)
        log = open(tmp_path / "log", "w+")
        process = subprocess.Popen([OUTBOARD, "run", tmp_path / "vm.conf"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=log, text=True)  # fmt: skip
        started.append((process, log))
        return process

    yield start
    for process, log in started:
        process.terminate()
        process.communicate()
        log.close()


def device_of(process):
    """The device's process, or None between two."""
    for pid in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        try:
            if os.readlink(f"/proc/{pid}/exe") == str(COUNTER.resolve()):
                return int(pid)
        except FileNotFoundError:
            pass
    return None


def read_until(process, word):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if word in line:
            return line
    raise AssertionError("".join(lines))


def spin(seconds):
    """The kill comes at a random place in the guest's loop."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def storm(process, log, kills):
    """Kills each life of the device once it goes on."""
    for life in range(1, kills + 1):
        while life > 1 and f"(number {life})" not in log.read_text():
            assert process.poll() is None, log.read_text()
        spin(random.uniform(0, 0.02))
        os.kill(device_of(process), signal.SIGKILL)


def count_under_kills(machine, folder, kills):
    process = machine('on-death = "restart"\nrestart-limit = "100000"')
    read_until(process, "counting")
    storm(process, folder / "log", kills)
    process.stdin.write("stop\n")
    process.stdin.flush()
    assert int(read_until(process, "count").split()[1]) > 0
    assert process.wait() == 0, (folder / "log").read_text()
    assert f"(number {kills + 1})" in (folder / "log").read_text()


def test_a_guest_counts_while_its_device_is_killed(machine, tmp_path):
    count_under_kills(machine, tmp_path, 20)


@pytest.mark.long
def test_a_guest_counts_through_500_kills(machine, tmp_path):
    count_under_kills(machine, tmp_path, 500)


def test_without_restart_one_kill_is_seen(machine):
    process = machine("")
    read_until(process, "counting")
    os.kill(device_of(process), signal.SIGKILL)
    assert "got sum 4294967295" in read_until(process, "round")

# SPDX-License-Identifier: BSD-3-Clause
"""outboard run with QEMU: one file, one command, a guest with a device in a process of its own."""
import os
import subprocess

import pytest
from guestlab import accelerator, initramfs, kernels, paths
from guestlab.machine import OVERRIDE, QEMU

OUTBOARD = paths.BUILD / "root/bin/outboard"
BACKDOOR = paths.BUILD / "root/bin/backdoor"

# Process 1 of the guest: what it finds goes to the console, which is QEMU's standard output.
INIT = """#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "/lib/modules/$module"; done </etc/modules
{commands}
poweroff -f
"""


@pytest.fixture
def run(tmp_path):
    """run(commands, devices, modules=..., programs=...): what the guest printed. It runs the commands and powers off."""

    def start(commands, devices, modules=(), programs=()):
        kernel = kernels.kernel("cloud")
        init = tmp_path / "init"
        init.write_text(INIT.format(commands=commands))
        (tmp_path / "initramfs").write_bytes(initramfs.build(kernel, modules, programs, init=init))
        (tmp_path / "vm.conf").write_text(f"""
            [machine]
              program = "{os.environ.get(OVERRIDE, QEMU)}"
              memory = "256M"
              arguments = "-nodefaults -no-user-config -display none -serial stdio -machine q35 -accel {accelerator()}"
              arguments = "-cpu {'host' if accelerator() == 'kvm' else 'max'} -kernel {kernel.image}"
              arguments = "-initrd {tmp_path}/initramfs -append 'console=ttyS0 quiet panic=-1' -no-reboot"
            {devices}
        """)
        done = subprocess.run([OUTBOARD, "run", tmp_path / "vm.conf"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        return done.stdout

    return start


def test_a_guest_calls_its_backdoor(run, tmp_path):
    source = tmp_path / "add.c"
    source.write_text(
        "#include <stdint.h>\nvoid backdoor(uint64_t command, void *data) { *(uint64_t *)data = command + 1; }\n"
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "add.so", source], check=True)
    printed = run(
        "backdoor call 41 && backdoor read 0 8 | od -A n -t u8",
        f'[device "door"]\n program = "backdoor"\n library = "{tmp_path}/add.so"',
        programs=[BACKDOOR],
    )
    assert "42" in printed.split()


@pytest.mark.parametrize("command, told", [(3, "1 7"), (0x100, "1 263")], ids=["reported", "repeated"])
def test_a_guest_calls_a_backdoor_that_dies(run, tmp_path, command, told):
    """In the midst of the first call, behind its effect: the code has it reported or repeated, and counts it once or not."""
    library, source = tmp_path / "door.so", paths.TREE / "tests/supervisor/door.c"
    include, effects = paths.BUILD / "root/include", tmp_path / "effects"
    subprocess.run(["cc", "-shared", "-fPIC", f"-I{include}", f'-DFILE_NAME="{effects}"', "-o", library, source], check=True)
    printed = run(
        f"printf '\\002\\0\\0\\0\\0\\0\\0\\0' | backdoor write 0 && backdoor call {command} && "
        "printf '\\0\\0\\0\\0\\0\\0\\0\\0' | backdoor write 0 && backdoor call 7 && "
        "echo told $(backdoor read 8 16 | od -A n -t u8)",
        f'[device "door"]\n program = "backdoor"\n library = "{library}"\n on-death = "restart"',
        programs=[BACKDOOR],
    )
    assert f"told {told}" in printed
    assert effects.read_text() == ("e" if command == 3 else "er") + "e"


def disk_is_written(run, folder):
    image = folder / "disk.img"
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    run(
        "until [ -b /dev/nvme0n1 ]; do usleep 10000; done; echo 'from the guest' >/dev/nvme0n1; sync",
        f'[device "disk0"]\n program = "nvme"\n image = "{image}"',
        modules=["nvme"],
    )
    assert image.read_bytes().startswith(b"from the guest\n")


def test_a_guest_has_a_virtio_disk_and_a_channel(run, tmp_path):
    """One file: a disk over vhost-user, and a proxy by whose port the guest runs a command of the host."""
    image = tmp_path / "disk.img"
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    printed = run(
        "until [ -b /dev/vda ]; do usleep 10000; done; echo 'from the guest' >/dev/vda; sync\n"
        "outboard-proxy run --channel=virtio:org.outboard.proxy.0 -- sh -c 'echo answer: $((6 * 7))'",
        f'[device "disk0"]\n program = "blk"\n wire = "vhost-user"\n image = "{image}"\n'
        '[channel "c"]\n arguments = "--allow-run"',
        modules=["virtio_pci", "virtio_blk", "virtio_console"],
        programs=[paths.BUILD / "root/bin/outboard-proxy"],
    )
    assert image.read_bytes().startswith(b"from the guest\n")
    assert "answer: 42" in printed


@pytest.mark.irqfd
def test_a_guest_writes_its_disk(run, tmp_path):
    disk_is_written(run, tmp_path)


if OVERRIDE in os.environ:  # a QEMU of 10.1 or later, whose interrupts need no KVM

    def test_a_guest_writes_its_disk_over_vfio_user(run, tmp_path):
        disk_is_written(run, tmp_path)

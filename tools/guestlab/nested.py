# SPDX-License-Identifier: BSD-3-Clause
"""Runs a command of this machine where KVM works: right here, or in an emulated machine that has one.

The emulated machine (TCG, with AMD's virtualisation in its processor) boots Debian's kernel with kvm-amd. Its
root is this machine's own, shared over 9p read-only, under an overlay in memory: the command finds every
program and file where it is here, may write anywhere, and nothing of that comes back, except for what it writes
into build/test-logs. Guests in there have true irqfds and ioeventfds; they are slow, so only ratios mean anything.
"""
import os
import shlex
import subprocess
import sys
import tempfile

from guestlab import machine, paths
from guestlab.accelerator import OVERRIDE, accelerator
from guestlab.guest import Guest

MODULES = ["kvm_amd", "virtio_pci", "9pnet_virtio", "9p", "overlay"]
SHARE = "-t 9p -o trans=virtio,version=9p2000.L,msize=512000"
TIMEOUT_S = 15 * 60

# The machine's own /tmp may hold files of other users, which only their owners here can read.
TEMPORARY = "/run/tmp"

# Between guest and KVM, QEMU 7.2 can forget to tell a processor of an interrupt until the next one comes. A timer that
# is set for one event at a time is then never set again, and everything sleeps for ever; one that ticks goes on.
PERIODIC_TICK = "nohz=off highres=off"

KEEP_VM = str(paths.TREE / "tools/guestlab/keep_vm.py")

# What the command finds in its environment as it is here.
KEPT = ("PATH", "LANG", "PYTHONDONTWRITEBYTECODE", machine.OVERRIDE, paths.OVERRIDE)

# The command's output goes to a serial line of its own, as it comes. To close that waits until all is sent.
SCRIPT = """
exec >/dev/ttyS2 2>&1
stty -F /dev/ttyS2 raw -echo
mkdir /tmp/machine /tmp/memory /tmp/root
mount {share},cache=loose,ro root /tmp/machine &&
mount -t tmpfs tmpfs /tmp/memory && mkdir /tmp/memory/upper /tmp/memory/work &&
mount -t overlay -o lowerdir=/tmp/machine,upperdir=/tmp/memory/upper,workdir=/tmp/memory/work overlay /tmp/root &&
mount -t proc proc /tmp/root/proc && mount -t sysfs sysfs /tmp/root/sys && mount -t devtmpfs devtmpfs /tmp/root/dev &&
mkdir -p /dev/pts /dev/shm && ln -s /proc/self/fd /dev/fd && mount -t devpts devpts /tmp/root/dev/pts && mount -t tmpfs tmpfs /tmp/root/dev/shm &&
mount -t tmpfs tmpfs /tmp/root/run && mkdir -m 1777 /tmp/root{temporary} &&
mount {share} logs /tmp/root{logs} && ip link set lo up || exit 125
set -o pipefail
# Through cat, since here too the command has no terminal.
chroot /tmp/root /usr/bin/env -i --chdir={cwd} {environment} {command} 2>&1 | cat
"""


def run(command, timeout=TIMEOUT_S, output=None, processors=1):
    """Runs a command (a list) in the current folder; its exit status, or LabError if the machine fails.

    output: a function to hand each chunk of what it prints to; standard output if left out. processors: how many
    the emulated machine has. With one, tests take no longer, and no two threads of the emulator can get into each
    other's way, which in QEMU 7.2 they can (keep_vm.py).
    """
    output = output or _print
    if accelerator() == "kvm":
        return _run_here(command, timeout, output)
    paths.TEST_LOGS.mkdir(parents=True, exist_ok=True)
    script = SCRIPT.format(
        share=SHARE,
        temporary=TEMPORARY,
        logs=shlex.quote(str(paths.TEST_LOGS)),
        cwd=shlex.quote(os.getcwd()),
        environment=shlex.join(f"{name}={value}" for name, value in _environment().items()),
        command=shlex.join([KEEP_VM, *command]),
    )
    with (
        tempfile.TemporaryDirectory(prefix="guestlab-nested-") as logs,
        _outer_guest(logs, output, processors) as guest,
    ):
        return guest.attempt(script, timeout).status


def _outer_guest(logs, output, processors):
    arguments = ["-no-reboot"]  # a machine that crashes ends, and is not waited for
    for tag, path, access in (("root", "/", ",readonly=on"), ("logs", paths.TEST_LOGS, "")):
        share = f"local,path={path},mount_tag={tag},security_model=none,multidevs=remap{access}"
        arguments += ["-virtfs", share]
    return Guest(logs, flavour="full", modules=MODULES, accel="tcg", cpus=processors, memory_mib=2048, lines=2,
                 arguments=arguments, append=PERIODIC_TICK, echo=output, qemu=machine.QEMU)  # fmt: skip


def _environment():
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {"HOME": TEMPORARY, "TMPDIR": TEMPORARY, "PYTHONUNBUFFERED": "1"} | kept | {OVERRIDE: "kvm"}


def _run_here(command, timeout, output):
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        while chunk := os.read(child.stdout.fileno(), 65536):
            output(chunk)
        return child.wait(timeout)


def _print(chunk):
    sys.stdout.buffer.write(chunk)
    sys.stdout.flush()

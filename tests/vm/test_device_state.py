# SPDX-License-Identifier: BSD-3-Clause
"""A stock QEMU that moves the own state of a device over vhost-user. Of QEMU's front ends, vhost-user-fs (8.2 and later) does so; it
is content with any device that has two queues. OUTBOARD_QEMU names such a QEMU."""
import json
import os
import socket
import subprocess

import pytest
from guestlab import paths
from guestlab.machine import OVERRIDE

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-vsock"
FRONT_END = "vhost-user-fs-pci"
PATIENCE_S = 120

pytestmark = pytest.mark.skipif(OVERRIDE not in os.environ, reason=f"{OVERRIDE} names no QEMU that moves a device's state")


class Qemu:
    """A machine without a guest, whose only device is a process of ours."""

    def __init__(self, spawn, cleanup, folder, name, *options):
        path, self.trace = folder / f"{name}.socket", folder / f"{name}.trace"
        process = spawn([PROGRAM, "--guest-cid=3", f"--host-socket={folder / name}", "--wire=vhost-user",
                         f"--socket-path={path}", f"--trace={self.trace}"], name=name)  # fmt: skip
        while not path.exists():
            assert process.running, process.log_tail()
        ours, theirs = socket.socketpair()
        memory = ["-object", "memory-backend-memfd,id=ram,size=64M,share=on", "-machine", "q35,memory-backend=ram"]
        self.process = spawn(
            [os.environ[OVERRIDE], *memory, "-m", "64M", "-S", "-nodefaults", "-display", "none", "-accel", "tcg",
             "-chardev", f"socket,id=c,path={path}", "-device", f"{FRONT_END},chardev=c,tag=t,num-request-queues=2",
             "-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "chardev=qmp,mode=control", *options],
            name=f"qemu-{name}", inherit=[theirs])  # fmt: skip
        theirs.close()
        self.file = ours.makefile("rw")
        cleanup.callback(ours.close)
        ours.settimeout(PATIENCE_S)
        self.next("QMP")
        self.ask("qmp_capabilities")

    def next(self, key):
        while True:
            line = self.file.readline()
            assert line, self.process.log_tail()
            message = json.loads(line)
            assert "error" not in message, message
            if key in message:
                return message[key]

    def ask(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        return self.next("return")

    def wait_migrated(self):
        while (status := self.ask("query-migrate").get("status")) != "completed":
            assert status != "failed", self.process.log_tail()


def test_a_state_moves_with_the_machine(spawn, cleanup, tmp_path):
    devices = subprocess.run([os.environ[OVERRIDE], "-device", "help"], capture_output=True, text=True, check=True)
    if FRONT_END not in devices.stdout:
        pytest.skip(f"{os.environ[OVERRIDE]} has no {FRONT_END}")
    state = tmp_path / "state"
    source = Qemu(spawn, cleanup, tmp_path, "source")
    source.ask("migrate", uri=f"file:{state}")
    source.wait_migrated()
    target = Qemu(spawn, cleanup, tmp_path, "target", "-incoming", f"file:{state}")
    target.wait_migrated()
    for end in (source, target):
        trace = end.trace.read_text()
        assert "got SET_DEVICE_STATE_FD" in trace and "sent CHECK_DEVICE_STATE reply size 8" in trace
        assert trace.split("sent CHECK_DEVICE_STATE")[1].split("\n")[0].endswith("0x0"), trace[-500:]

# SPDX-License-Identifier: BSD-3-Clause
"""outboard save with stock QEMU: the VM is paused and its disk rests until it runs again, and what `migrate` says to it."""
import json
import os
import socket
import subprocess

import pytest
from controllab import Control
from guestlab import paths
from guestlab.machine import OVERRIDE, QEMU

OUTBOARD = paths.BUILD / "root/bin/outboard"


@pytest.fixture
def machine(tmp_path, spawn, cleanup):
    """outboard run, its control socket, and a QMP connection to its QEMU, which runs firmware alone."""
    with open(tmp_path / "disk.img", "wb") as file:
        file.truncate(1 << 20)
    (tmp_path / "vm.conf").write_text(f"""
        [machine]
          program = "{os.environ.get(OVERRIDE, QEMU)}"
          memory = "64M"
          control = "{tmp_path}/control"
          arguments = "-nodefaults -no-user-config -display none -machine q35 -accel tcg -qmp unix:{tmp_path}/qmp,server=on,wait=off"
        [device "disk0"]
          program = "nvme"
          image = "{tmp_path}/disk.img"
    """)
    process = spawn([OUTBOARD, "run", tmp_path / "vm.conf"])
    cleanup.callback(lambda: process.running and process.terminate())
    control = cleanup.enter_context(Control(tmp_path / "control", process))
    while control.ask("status")["state"] != "running":
        assert process.running, process.log_tail()
    return process, control


@pytest.fixture
def qmp(machine, tmp_path, cleanup):
    """qmp(command, argument...): QEMU's answer."""
    connection = cleanup.enter_context(socket.socket(socket.AF_UNIX))
    connection.connect(str(tmp_path / "qmp"))
    file = cleanup.enter_context(connection.makefile("rwb"))
    file.readline()

    def ask(command, **arguments):
        file.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        file.flush()
        while "event" in (answer := json.loads(file.readline())):
            pass
        return answer

    ask("qmp_capabilities")
    return ask


def test_a_running_machine_is_saved(machine, qmp, tmp_path):
    process, control = machine
    done = subprocess.run([OUTBOARD, "save", tmp_path / "control", tmp_path / "saved"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + process.log_tail()
    status = control.ask("status")
    assert (status["state"], status["devices-rest"]) == ("paused", True)
    answer = qmp("migrate", uri=f"exec:cat >{tmp_path}/ram")
    if OVERRIDE in os.environ:  # 10.1 or later: goes without the device
        assert answer == {"return": {}}
        while (state := qmp("query-migrate")["return"]["status"]) not in ("completed", "failed"):
            pass
        assert state == "completed"
    else:
        assert answer["error"]["desc"] == "x-pci-proxy-dev does not support migration"
    subprocess.run([OUTBOARD, "ctl", f"--vm={tmp_path}/control", "resume"], check=True)
    while control.ask("status")["state"] != "running":
        assert process.running, process.log_tail()
    assert control.ask("status")["devices-rest"] is False
    refused = subprocess.run([OUTBOARD, "restore", tmp_path / "control", tmp_path / "saved"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "got a VM that runs, expected one that is paused" in refused.stderr
    control.ask("quit")
    assert process.wait() == 0

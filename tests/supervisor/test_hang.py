# SPDX-License-Identifier: BSD-3-Clause
"""A device process that gets SIGSTOP: what each policy (on-hang) does, in which order, and when. The device tells every
half of watchdog-ms that it lives, so its silence is seen between a half and the whole of it after the signal."""
import os
import signal
import time

import pytest
from controllab import Control
from guestlab import paths

pytestmark = pytest.mark.usefixtures("runtime")

COUNTER = paths.BUILD / "release/examples/counter"
WATCHDOG_S = 1
# No policy waits this long, and a machine that is so slow would fail everywhere.
PATIENCE_S = 30

# Waits for the end of its device or of itself.
VMM = """
import signal, socket, sys
device = socket.socket(fileno=int(sys.argv[1]))
device.recv(1)
print("the device has gone", flush=True)
signal.pause()
"""
# The same as QEMU, which stops and continues the guest.
QEMU = """
import json, os, re, socket, sys
if sys.argv[1:] == ["-device", "help"]:
    print('name "x-pci-proxy-dev", bus PCI')
    sys.exit()
fd = int(re.search(r"id=outboard-qmp,fd=(\\d+)", " ".join(sys.argv))[1])
qmp = socket.socket(fileno=fd).accept()[0]
def say(**message):
    qmp.sendall(json.dumps(message).encode() + b"\\n")
say(QMP={"version": {}, "capabilities": []})
for line in qmp.makefile():
    request = json.loads(line)
    command = request["execute"]
    say(**{"return": {"running": True} if command == "query-status" else {}, "id": request.get("id")})
    if command in ("stop", "cont"):
        say(event="STOP" if command == "stop" else "RESUME", data={}, timestamp={"seconds": 0, "microseconds": 0})
"""


@pytest.fixture
def stopped(machine, cleanup):
    """stopped(policy): a machine whose device has got SIGSTOP, a client that gets its events, the device's number, and when."""

    def run(policy, vmm=VMM, name="vmm"):
        machine.script(name, vmm)
        machine.write(f"""
            [machine]
              program = "{{FOLDER}}/{name}"
              {'arguments = "%fd:device%"' if vmm is VMM else ""}
              control = "{{FOLDER}}/control"
            [device "device"]
              program = "{COUNTER}"
              on-death = "restart"
              watchdog-ms = "{WATCHDOG_S * 1000}"
              on-hang = "{policy}"
        """)
        process = machine.start()
        cleanup.callback(lambda: process.running and process.terminate())
        client = cleanup.enter_context(Control(machine.folder / "control", process))
        client.wait_until_ready()
        while client.ask("status")["state"] not in ("running", "unknown"):
            pass
        pid = client.ask("list")[0]["pid"]
        client.socket.settimeout(PATIENCE_S)
        os.kill(pid, signal.SIGSTOP)
        return process, client, pid, time.time()

    return run


def next_event(client):
    event = client.events.pop(0) if client.events else client.next()
    return event["event"], event["timestamp"]["seconds"] + event["timestamp"]["microseconds"] / 1e6


def hangs_in_time(client, since):
    """The event, neither sooner nor later than it says. Later by what the machine is busy with, of which there is no bound."""
    name, at = next_event(client)
    assert name == "DEVICE_HUNG"
    assert at - since > WATCHDOG_S / 2 - 0.1, "a sign of life was given within the time"
    assert at - since < WATCHDOG_S + PATIENCE_S


def test_restart(stopped):
    """The process is killed, another one continues, and the VMM notices nothing."""
    process, client, pid, since = stopped("restart")
    hangs_in_time(client, since)
    assert [next_event(client)[0] for _ in range(2)] == ["DEVICE_RESTARTS", "DEVICE_ALIVE"]
    client.wait_for_event("DEVICE_READY")
    now = client.ask("list")[0]
    assert now["state"] == "ready" and now["pid"] != pid
    assert "the device has gone" not in process.log.read_text()


def test_fail(stopped):
    """The process is killed, no other one comes though it might, and the VMM goes on without it."""
    process, client, _, since = stopped("fail")
    hangs_in_time(client, since)
    assert client.wait_for_event("DEVICE_GONE") == {"device": "device", "signal": signal.SIGKILL}
    assert client.ask("list")[0]["state"] == "ended"
    assert client.ask("status")["vmm-pid"] > 0
    while "the device has gone" not in process.log.read_text():
        assert process.running, process.log_tail()


def test_kill(stopped):
    """The VMM goes with it."""
    process, client, _, since = stopped("kill")
    hangs_in_time(client, since)
    assert process.wait() == 3
    assert "device: was ended by signal 9" in process.log.read_text()


def test_pause(stopped):
    """The guest stands still until the process gives a sign of life; nobody is killed."""
    _, client, pid, since = stopped("pause", QEMU, "qemu-pauses")
    hangs_in_time(client, since)
    assert next_event(client)[0] == "VM_PAUSED"
    assert client.ask("list")[0]["state"] == "hung" and client.ask("status")["state"] == "paused"
    os.kill(pid, signal.SIGCONT)
    assert [next_event(client)[0] for _ in range(2)] == ["DEVICE_ALIVE", "VM_RESUMED"]
    status = client.ask("status")
    assert status["state"] == "running" and status["pauses"] == 1
    assert client.ask("list")[0]["pid"] == pid

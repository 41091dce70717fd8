# SPDX-License-Identifier: BSD-3-Clause
"""outboard run is killed: the VMM and its devices go on and outboard adopt takes them over, or they end, as the file says."""
import json
import os
import pathlib
import signal
import subprocess

import pytest
from controllab import Control, Refused
from guestlab import paths
from guestlab.process import tail
from machinelab import OUTBOARD

pytestmark = pytest.mark.usefixtures("runtime")

COUNTER = paths.BUILD / "release/examples/counter"
HEIR = paths.BUILD / "release/tests/supervisor/heir"
LAB = pathlib.Path(__file__).parent / "restartlab.py"


@pytest.fixture
def start(machine, spawn, cleanup):
    """start(wire, settings of [machine], settings of the device): outboard run, with a VMM that counts until `stop` is there."""
    cleanup.callback((machine.folder / "stop").touch)

    def run(wire="mpqemu", of_machine="", of_device='on-death = "restart"'):
        place = {"mpqemu": "%fd:device%", "vfio-user": "%socket:device%"}[wire]
        machine.write(f"""
            [machine]
              program = "{{PYTHON}}"
              arguments = "{LAB} count_until {wire} {place} {{FOLDER}}/stop"
              control = "{{FOLDER}}/control"
              {of_machine}
            [device "device"]
              program = "{COUNTER}"
              {of_device}
        """)
        process = spawn([OUTBOARD, "run", machine.file])
        wait_for((machine.folder / "stop.counts").exists, process)
        return process

    return run


def wait_for(condition, process):
    while not condition():
        assert process.running or condition(), process.log_tail()


def children(process):
    return [int(pid) for pid in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def has_ended(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def adopt(machine, spawn):
    """outboard adopt, and a client of its control socket. The one of before left its path."""
    process = spawn([OUTBOARD, "adopt", machine.file])
    wait_for(lambda: children(process), process)  # it has a guardian of its own, and the control socket before that
    return process, Control(machine.folder / "control", process)


def orphan(machine, process):
    """Kills outboard run alone; its guardian then listens."""
    process.kill()
    folder = next(pathlib.Path(os.environ["XDG_RUNTIME_DIR"]).glob("outboard-*"))
    while not (folder / ".adopt").exists():
        pass


def progress(machine):
    """The VMM gets on: it writes the file again and again."""
    path = machine.folder / "stop.counts"
    path.unlink()
    while not path.exists():
        pass


def finish(machine, process):
    (machine.folder / "stop").touch()
    assert process.wait() == 0, tail(process.log)
    assert (machine.folder / "stop.done").read_text() == "counted"
    assert list(pathlib.Path(os.environ["XDG_RUNTIME_DIR"]).iterdir()) == []


@pytest.mark.parametrize("wire", ["mpqemu", "vfio-user"])
def test_a_device_dies_after_the_adoption(machine, spawn, start, wire):
    """Twice, since the adopter may be killed too."""
    process = start(wire)
    for _ in range(2):
        orphan(machine, process)
        progress(machine)
        process, control = adopt(machine, spawn)
        with control:
            control.want_events()
            device = control.ask("list")[0]
            assert device["state"] == "ready" and control.ask("status")["vmm-pid"] > 0
            os.kill(device["pid"], signal.SIGKILL)
            assert control.wait_for_event("DEVICE_READY") == {"device": "device"}
            assert control.ask("list")[0]["pid"] != device["pid"]
        progress(machine)
    finish(machine, process)


def test_a_device_dies_before_the_adoption(machine, spawn, start):
    process = start()
    device = next(pid for pid in children(process) if os.readlink(f"/proc/{pid}/exe") == str(COUNTER.resolve()))
    orphan(machine, process)
    os.kill(device, signal.SIGKILL)
    while not has_ended(device):
        pass
    process, control = adopt(machine, spawn)
    with control:
        progress(machine)
        assert control.ask("list")[0]["state"] == "ready"
    finish(machine, process)
    assert "device: was ended by signal 9 (Killed); restarts it" in tail(process.log)


def test_an_adopted_device_with_a_spare_process_and_a_watchdog(machine, spawn, start):
    process = start(of_device='on-death = "restart"\nspare = "yes"\nwatchdog-ms = "1000"')
    orphan(machine, process)
    process, control = adopt(machine, spawn)
    with control:
        control.want_events()
        device = control.ask("list")[0]
        while "spare-pid" not in (now := control.ask("list")[0]):
            pass
        os.kill(device["pid"], signal.SIGSTOP)
        control.wait_for_event("DEVICE_HUNG")
        control.wait_for_event("DEVICE_READY")
        assert control.ask("list")[0]["pid"] == now["spare-pid"]
    progress(machine)
    finish(machine, process)


def test_an_adopted_process_is_upgraded(machine, spawn, start):
    """It is nobody's child. The next one is the adopter's, and can be upgraded too."""
    process = start()
    orphan(machine, process)
    process, control = adopt(machine, spawn)
    with control:
        for _ in range(2):
            before = control.ask("list")[0]["pid"]
            assert control.ask("upgrade", device="device") == {"drained": True}
            assert control.ask("list")[0]["pid"] != before
            while not has_ended(before):
                pass
            progress(machine)
    finish(machine, process)


def test_an_adopted_process_that_was_being_upgraded_continues(machine, spawn, start):
    """Its supervisor dies while it stands still and takes no message."""
    heir = machine.folder / "heir-hangs"
    heir.symlink_to(HEIR)
    process = start()
    with Control(machine.folder / "control", process) as control:
        request = {"execute": "upgrade", "arguments": {"device": "device", "program": str(heir)}}
        control.socket.sendall(json.dumps(request).encode() + b"\n")
        with Control(machine.folder / "control", process) as other:
            while other.ask("list")[0].get("upgrade") != "continuing":
                pass
        new = next(pid for pid in children(process) if b"heir-hangs" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())
    orphan(machine, process)
    while not has_ended(new):
        pass
    process, control = adopt(machine, spawn)
    with control:
        progress(machine)
        assert control.ask("list")[0]["state"] == "ready"
    finish(machine, process)


def test_orders_to_an_adopted_process(machine, spawn, start):
    """Its socket of orders is the adopter's: it is traced, and saved."""
    process = start()
    orphan(machine, process)
    process, control = adopt(machine, spawn)
    with control:
        control.ask("trace", device="device", state="on", file=f"{machine.folder}/trace")
        progress(machine)
        control.ask("trace", device="device", state="off")
        assert (machine.folder / "trace").read_text().count("BAR_READ") > 0
        with pytest.raises(Refused, match="counter can't save its state"):
            control.ask("save")
        progress(machine)
    finish(machine, process)


def test_all_end_with_the_supervisor(machine, start, runtime):
    process = start(of_machine='on-supervisor-death = "end"')
    pids = children(process)
    assert len(pids) == 3  # the device, the guardian, the VMM
    process.kill()
    while not all(map(has_ended, pids)):
        pass
    assert list(runtime.iterdir()) == []


def test_the_guardian_ends_with_the_vmm(machine, start, runtime):
    process = start()
    pids = children(process)
    orphan(machine, process)
    (machine.folder / "stop").touch()
    while not all(map(has_ended, pids)):
        pass
    assert (machine.folder / "stop.done").read_text() == "counted"
    assert list(runtime.iterdir()) == []


def test_only_a_machine_without_a_supervisor_is_adopted(machine, start):
    process = start()
    done = machine.run(command="adopt")
    assert done.returncode == 1 and "found no machine that was started with it" in done.stderr
    finish(machine, process)
    assert machine.run(command="adopt").returncode == 1


@pytest.mark.parametrize("words", [[], ["--what"], ["a", "b"]])
def test_usage(words):
    done = subprocess.run([OUTBOARD, "adopt", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("outboard adopt: got ")

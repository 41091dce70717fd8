# SPDX-License-Identifier: BSD-3-Clause
"""64 devices in one machine: what their start costs, and that none of them does anything while nobody asks."""
import os
import pathlib
import time

import pytest
from controllab import Control
from guestlab import paths

COUNT = 64
LED = paths.BUILD / "release/examples/led"


@pytest.fixture
def crowd(machine, cleanup, monkeypatch, tmp_path_factory):
    """outboard run with COUNT devices of six kinds, and a client of its control socket; (process, client, seconds of start)."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("r")))
    sections = []
    for number in range(COUNT):
        machine.image(f"{number}.img")
        program = [f'program = "nvme"\nimage = "{{FOLDER}}/{number}.img"\n', f'program = "{LED}"\n', 'program = "rng"\n',
                   f'program = "blk"\nimage = "{{FOLDER}}/{number}.img"\n',
                   f'program = "vmchannel"\nport = "p,listen:{{FOLDER}}/port{number}"\n',
                   f'program = "vsock"\nguest-cid = "{number + 3}"\nhost-socket = "{{FOLDER}}/vsock{number}"\n'][number % 6]  # fmt: skip
        sections.append(f'[device "d{number}"]\n{program}socket-path = "{{FOLDER}}/{number}.sock"\n')
    begin = time.monotonic()
    process = machine.write("".join(sections) + '[machine]\nprogram = "sh"\ncontrol = "{FOLDER}/control"\narguments = "-c \'exec sleep 1000\' '
                            + " ".join(f"%socket:d{number}%" for number in range(COUNT)) + '"\n').start()  # fmt: skip
    cleanup.callback(lambda: process.running and process.terminate())
    client = cleanup.enter_context(Control(machine.folder / "control", process))
    client.want_events()
    while any(device["state"] == "starting" for device in client.ask("list")):
        client.wait_for_event("DEVICE_READY")
    return process, client, time.monotonic() - begin


def private_kib(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(("Private_Clean:", "Private_Dirty:")))


def switches(pid):
    """How often a process has gone to sleep: one that does nothing never wakes up to do it again."""
    return sum(int(line.split()[1]) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
               for line in (task / "status").read_text().splitlines() if line.startswith("voluntary_ctxt_switches"))  # fmt: skip


def test_sixty_four_devices(crowd):
    process, client, seconds = crowd
    devices = client.ask("list")
    assert len(devices) == COUNT and {device["state"] for device in devices} == {"ready"}
    memory = [private_kib(device["pid"]) for device in devices]
    print(f"{COUNT} devices: ready after {seconds:.2f} s, {sum(memory) / 1024:.0f} MiB private ({max(memory)} KiB at most), "
          f"supervisor {private_kib(process.pid)} KiB, {len(os.listdir(f'/proc/{process.pid}/fd'))} descriptors")  # fmt: skip
    before = {device["pid"]: switches(device["pid"]) for device in devices}
    until = client.ask("status")["uptime-ms"] + 1000
    while client.ask("status")["uptime-ms"] < until:
        pass
    busy = {pid: switches(pid) - count for pid, count in before.items() if switches(pid) != count}
    assert busy == {}
    assert all(stats["polls"] == stats["wakes"] == 0 for stats in client.ask("stats"))
    client.ask("quit")
    assert process.wait() == 0

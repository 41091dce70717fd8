# SPDX-License-Identifier: BSD-3-Clause
"""A device process that was taken over: whatever it does to what the supervisor has given it, other devices keep their service."""
import os
import subprocess
import time

import pytest
from controllab import Control
from machinelab import OUTBOARD

ROUNDS = 15
SERVED = '[device "disk0"]\nprogram = "nvme"\nimage = "{FOLDER}/disk.img"\nsocket-path = "{FOLDER}/disk.sock"\n'
BAD = '[device "bad"]\nprogram = "{FOLDER}/bad"\non-death = "restart"\n'
# `kinds` are descriptors whose close, or whose look, may cost: a pipe that is full, a socket with descriptors in it, a
# terminal, a file of /proc, an epoll that watches itself, a memfd of a TiB.
TAKEN_OVER = """
import array, fcntl, itertools, os, pty, select, socket, sys
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ["NOTIFY_SOCKET"].replace("@", chr(0)))
notify.send(b"READY=1")
vmm = socket.socket(fileno=3)
vault, channel = map(int, os.environ["OUTBOARD_VAULT"].split(",")[:2])
keeper = socket.socket(fileno=channel)
orders = socket.socket(fileno=int(os.environ["OUTBOARD_ORDERS_FD"]))

def kinds():
    pipe = os.pipe()
    os.set_blocking(pipe[1], False)
    try:
        while True:
            os.write(pipe[1], bytes(65536))
    except BlockingIOError:
        pass
    left, right = socket.socketpair()
    socket.send_fds(left, [b"x"], [pipe[0], right.fileno()])
    lingering = socket.socket()
    lingering.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, (100).to_bytes(4, "little") * 2)
    outer, inner = select.epoll(), select.epoll()
    outer.register(inner)
    huge = os.memfd_create("huge")
    os.ftruncate(huge, 1 << 40)
    return [left.detach(), right.detach(), lingering.detach(), pty.openpty()[0], os.open("/proc/self/mem", os.O_RDONLY),
            outer.fileno(), huge, *pipe], (outer, inner)

fds, kept = kinds()
rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]

def attempt(function, *arguments):
    try:
        function(*arguments)
    except OSError:
        pass

def served():
    return not select.select([vmm], [], [], 0)[0]

for one in (notify, keeper, orders, vmm):
    one.setblocking(False)
while served():
"""
DEEDS = {
    "notify": 'attempt(notify.sendmsg, [b"WATCHDOG=1\\nSTATUS=" + b"x" * 3000])',
    "descriptors at the notify socket": 'attempt(notify.sendmsg, [b"READY=1\\nX_OUTBOARD_ORDER=1 0 0"], rights)',
    "log": 'attempt(os.write, 2, b"x" * 4000)',
    "orders": "attempt(orders.sendmsg, [bytes(16)], rights)",
    "keeper": "attempt(keeper.sendmsg, [bytes(64)], rights)",
    "vault": "attempt(os.pwrite, vault, os.urandom(4096), 0); attempt(os.ftruncate, vault, 0)",
    "VMM": 'attempt(vmm.sendmsg, [b"x" * 4000], rights)',
}


@pytest.fixture
def start(machine, cleanup, monkeypatch, tmp_path_factory):
    """start(deed): outboard run with a device that does it without end, and an ordinary one; a client of the control socket."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("r")))

    def run(deed):
        machine.image()
        machine.script("bad", TAKEN_OVER + f"    {deed}\n")
        machine.write('[machine]\nprogram = "sh"\narguments = "-c \'exec sleep 1000\' %fd:bad% %socket:disk0%"\n'
                      f'control = "{{FOLDER}}/control"\n{BAD}{SERVED}')  # fmt: skip
        process = machine.start()
        cleanup.callback(lambda: process.running and process.terminate())
        client = cleanup.enter_context(Control(machine.folder / "control", process))
        client.wait_until_ready()
        return process, client

    return run


def latencies(machine, client):
    """Milliseconds of a question to the supervisor, and of a look at the other device, sorted."""
    asked, looked = [], []
    for _ in range(ROUNDS):
        begin = time.monotonic()
        assert {device["device"] for device in client.ask("list")} == {"bad", "disk0"}
        asked.append(1000 * (time.monotonic() - begin))
        begin = time.monotonic()
        subprocess.run([OUTBOARD, "inspect", machine.folder / "disk.sock"], capture_output=True, check=True)
        looked.append(1000 * (time.monotonic() - begin))
        client.wait_for_event("CLIENT_WENT")
    return sorted(asked), sorted(looked)


def test_no_deed_for_comparison(machine, start, record_property):
    _, client = start("select.select([vmm], [], [])")
    record(record_property, "nothing", *latencies(machine, client))


def record(record_property, name, asked, looked):
    print(f"{name}: list {asked[ROUNDS // 2]:.2f} ms (longest {asked[-1]:.2f}), look {looked[ROUNDS // 2]:.1f} ms (longest {looked[-1]:.1f})")
    record_property("latencies", f"{asked[ROUNDS // 2]:.3f} {looked[ROUNDS // 2]:.3f}")


@pytest.mark.parametrize("deed", DEEDS)
def test_a_deed_without_end(machine, start, record_property, deed):
    """The supervisor answers, the other device is served, and nothing piles up in the supervisor."""
    process, client = start(DEEDS[deed])
    before = len(os.listdir(f"/proc/{process.pid}/fd"))
    asked, looked = latencies(machine, client)
    record(record_property, deed, asked, looked)
    state = {device["device"]: device["state"] for device in client.ask("list")}
    assert state["disk0"] == "ready"
    # The thread that closes descriptors has some of them at any time; without it they would be thousands.
    assert len(os.listdir(f"/proc/{process.pid}/fd")) < before + 2000
    memory = next(line for line in open(f"/proc/{process.pid}/status") if line.startswith("VmRSS:"))
    assert int(memory.split()[1]) < 100_000
    client.ask("quit")
    assert process.wait() == 0, process.log_tail()

# SPDX-License-Identifier: BSD-3-Clause
"""A remote that stops, and one that dies: what the VMM sees, and that it costs a bounded time."""
import errno
import os
import pathlib
import select
import signal
import threading

import pytest
from guestlab import count_descriptors
from mpqemu import PATIENCE_S
from outboard_client import ALIVE, ASK, ERROR, FAIL, HUNG, LOST, REPORT, Client, fails_with

CONTROL = 0
NEVER_RETURN = 2
# How long a call waits: for ever, but where it is known that nobody will answer.
PATIENT_MS, IMPATIENT_MS = PATIENCE_S * 1000, 50
SYS_POLL = "7"  # x86-64


def wait_until(process, file, *texts):
    """Waits for the kernel to say one of these of a process."""
    path = pathlib.Path(f"/proc/{process.pid}/{file}")
    while not any(text in path.read_text() for text in texts):
        os.sched_yield()


def stop(vmm, process):
    process.signal(signal.SIGSTOP)
    wait_until(process, "stat", ") T ", ") t ")  # the latter under strace (./dev policies)
    vmm.set_timeout(IMPATIENT_MS)


def go_on(vmm, process):
    vmm.set_timeout(PATIENT_MS)
    process.signal(signal.SIGCONT)


def descriptors():
    return count_descriptors()


@pytest.fixture(params=["mpqemu", "mpqemu-v8", "vfio-user"])
def wire(request):
    return request.param


@pytest.fixture
def start(backdoor, client, wire):
    """start(**options): a client whose device is placed, and the process of the device."""

    def start_client(*arguments, **options):
        process, ours = backdoor(*arguments, wire=wire)
        vmm = client(ours, wire=wire, timeout_ms=PATIENT_MS, **options)
        vmm.probe()
        vmm.place_bars()
        return vmm, process

    return start_client


@pytest.fixture
def interrupt(wire, cleanup):
    """interrupt(vmm): gives the remote an eventfd, which it is to let go of."""
    ours = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    cleanup.callback(os.close, ours)

    def give(vmm):
        if wire == "vfio-user":
            vmm.set_vectors(ERROR, 0, 1, [ours])
        else:
            vmm.emulate_intx()

    return give


def test_a_stopped_remote_is_hung_and_comes_back(start):
    vmm, process = start()
    stop(vmm, process)
    assert fails_with(errno.ETIMEDOUT, vmm.config_read, 0, 2) == 0xFFFF
    assert vmm.states == [HUNG]
    assert vmm.fault.text == "the remote does not answer"
    # Nothing is asked any more: none of these takes the time of a timeout.
    for _ in range(1000):
        assert fails_with(errno.ETIMEDOUT, vmm.bar_read, CONTROL, 0, 8) == 2**64 - 1
        fails_with(errno.ETIMEDOUT, vmm.bar_write, CONTROL, 0, 4, 0)
    fails_with(errno.ETIMEDOUT, vmm.reset)
    go_on(vmm, process)
    while vmm.state == HUNG:
        assert select.select([vmm], [], [], PATIENCE_S)[0]
        vmm.dispatch()
    assert vmm.states == [HUNG, ALIVE]
    assert vmm.fault.code == 0
    # The late answer, 0x1af4, is not the answer to this.
    assert vmm.config_read(2, 2) == 0x10F0


def test_the_next_call_finds_that_it_is_back(start):
    vmm, process = start()
    stop(vmm, process)
    fails_with(errno.ETIMEDOUT, vmm.config_read, 0, 2)
    go_on(vmm, process)
    assert select.select([vmm], [], [], PATIENCE_S)[0]
    assert vmm.config_read(2, 2) == 0x10F0
    assert vmm.state == ALIVE


@pytest.mark.parametrize("wire", ["mpqemu", "mpqemu-v8"], indirect=True)
def test_memory_is_published_to_a_hung_remote_too(start, cleanup):
    vmm, process = start()
    ram = os.memfd_create("ram")
    cleanup.callback(os.close, ram)
    os.ftruncate(ram, 4096)
    stop(vmm, process)
    fails_with(errno.ETIMEDOUT, vmm.config_read, 0, 2)
    vmm.publish_memory((0, 4096, 0, ram))
    go_on(vmm, process)
    assert select.select([vmm], [], [], PATIENCE_S)[0]
    assert vmm.config_read(2, 2) == 0x10F0
    assert any("memfd:ram" in line for line in pathlib.Path(f"/proc/{process.pid}/maps").read_text().splitlines())


def test_policy_fail_gives_it_up(start, interrupt):
    before = descriptors()
    vmm, process = start(heartbeat_ms=60000, policy=FAIL)
    interrupt(vmm)
    stop(vmm, process)
    assert fails_with(errno.ENOTCONN, vmm.bar_read, CONTROL, 0, 8) == 2**64 - 1
    assert vmm.states == [LOST]
    assert descriptors() == before + 1  # the client's own, ob_client_fd(): no socket, timer or eventfd
    go_on(vmm, process)
    assert process.wait() == 0
    for call in [vmm.reset, lambda: interrupt(vmm), vmm.publish_memory]:
        fails_with(errno.ENOTCONN, call)
    assert vmm.fault.text == "the remote does not answer and was given up"
    assert vmm.states == [LOST]


@pytest.mark.parametrize("verdict, state", [(REPORT, HUNG), (FAIL, LOST)])
def test_policy_ask_does_what_it_is_told(start, verdict, state):
    vmm, process = start(policy=ASK, verdict=verdict)
    stop(vmm, process)
    assert fails_with(errno.ENOTCONN if state == LOST else errno.ETIMEDOUT, vmm.config_read, 0, 4) == 0xFFFFFFFF
    assert vmm.questions == 1
    assert vmm.states == [state]


def test_the_heartbeat_finds_a_stopped_remote_at_the_second_beat(start):
    vmm, process = start(heartbeat_ms=200)
    stop(vmm, process)
    while select.select([vmm], [], [], 0)[0]:  # what it had said before
        vmm.dispatch()
    vmm.states.clear()
    beats = 0
    while vmm.state == ALIVE:
        assert select.select([vmm], [], [], PATIENCE_S)[0]
        vmm.dispatch()
        beats += 1
    assert beats <= 2
    assert vmm.states == [HUNG]
    fails_with(errno.ETIMEDOUT, vmm.config_read, 0, 2)
    go_on(vmm, process)
    while vmm.state == HUNG:
        assert select.select([vmm], [], [], PATIENCE_S)[0]
        vmm.dispatch()
    assert vmm.config_read(2, 2) == 0x10F0


def test_the_heartbeat_leaves_a_good_remote_alone(start):
    vmm, _ = start(heartbeat_ms=1)
    for _ in range(200):
        assert select.select([vmm], [], [], PATIENCE_S)[0]
        vmm.dispatch()
        assert vmm.config_read(2, 2) == 0x10F0
    assert vmm.states == []


def test_a_remote_killed_while_a_call_waits(start, interrupt):
    before = descriptors()
    vmm, process = start("--cell=none", heartbeat_ms=60000)  # which call waits, only its user's processes may look
    interrupt(vmm)

    def kill():
        wait_until(process, "syscall", SYS_POLL + " 0x0 ")
        process.signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    fails_with(errno.ENOTCONN, vmm.bar_write, CONTROL, 0, 8, NEVER_RETURN)
    killer.join()
    assert vmm.states == [LOST]
    assert vmm.fault.text == "the remote has closed the connection"
    assert vmm.fault.code == -errno.ENOTCONN
    assert fails_with(errno.ENOTCONN, vmm.config_read, 0, 4) == 0xFFFFFFFF
    assert descriptors() == before + 1
    vmm.dispatch()
    assert not select.select([vmm], [], [], 0)[0]


def test_a_remote_killed_between_calls(start):
    vmm, process = start()
    process.kill()
    assert select.select([vmm], [], [], PATIENCE_S)[0]
    vmm.dispatch()
    assert vmm.states == [LOST]


def test_code_of_the_host_that_never_returns(start):
    """The device process is alive, but its one thread is lost in the user's code."""
    vmm, process = start()
    vmm.set_timeout(IMPATIENT_MS)
    fails_with(errno.ETIMEDOUT, vmm.bar_write, CONTROL, 0, 8, NEVER_RETURN)
    assert vmm.state == HUNG
    assert process.running


def test_a_client_can_be_freed_in_any_state(backdoor, wire):
    process, ours = backdoor(wire=wire)
    with Client(ours, wire=wire, timeout_ms=PATIENT_MS) as vmm:
        vmm.probe()
        stop(vmm, process)
        fails_with(errno.ETIMEDOUT, vmm.config_read, 0, 2)
        if wire != "vfio-user":
            vmm.emulate_intx()
    process.signal(signal.SIGCONT)
    assert process.wait() == 0

# SPDX-License-Identifier: BSD-3-Clause
"""The client and a real outboard-backdoor: probe, registers, memory, reset, the ways to connect."""
import errno
import select
import socket

import pytest
from mpqemu import PATIENCE_S
from outboard_client import ALIVE, LOST, MEM32, PAGE, Client, ClientError, fails_with

CONTROL, DATA = 0, 1
ADD = 1

WIRES = ["mpqemu", "mpqemu-v8", "vfio-user"]


@pytest.fixture(params=WIRES)
def wire(request):
    return request.param


@pytest.fixture
def vmm(backdoor, client, wire):
    """A client whose device is placed."""
    _, ours = backdoor(wire=wire)
    vmm = client(ours, wire=wire, timeout_ms=PATIENCE_S * 1000)
    vmm.probe()
    vmm.place_bars()
    return vmm


def add(vmm, left, right):
    vmm.bar_write(DATA, 0, 8, left)
    vmm.bar_write(DATA, 8, 8, right)
    vmm.bar_write(CONTROL, 0, 8, ADD)
    return vmm.bar_read(DATA, 16, 8)


def test_probe_tells_what_it_is(backdoor, client, wire):
    _, ours = backdoor("--pages=3", wire=wire)
    info = client(ours, wire=wire).probe()
    assert (info.vendor_id, info.device_id, info.class_code) == (0x1AF4, 0x10F0, 0x050000)
    assert (info.subsystem_vendor_id, info.subsystem_id) == (0x1AF4, 0x1100)
    bars = [(bar.kind, bar.size) for bar in info.bars]
    assert bars == [(MEM32, PAGE), (MEM32, 4 * PAGE), (0, 0), (0, 0), (0, 0), (0, 0)]
    assert not info.intx
    assert not info.seventh_region


def test_registers_and_code_of_the_host(vmm):
    assert vmm.bar_read(CONTROL, 0, 8) == PAGE
    assert vmm.bar_read(CONTROL, 1, 1) == PAGE >> 8
    assert add(vmm, 2**63, 2**62 + 5) == 2**63 + 2**62 + 5


def test_polling_for_answers_gives_the_same(backdoor, client, wire):
    _, ours = backdoor("--poll-us=1000", wire=wire)
    vmm = client(ours, wire=wire, poll_us=1000)
    vmm.probe()
    vmm.place_bars()
    assert add(vmm, 40, 2) == 42


def test_a_reset_leaves_a_working_device(vmm):
    vmm.reset()
    assert vmm.config_read(0x10, 4) == 0
    assert vmm.config_read(0x04, 2) == 0
    vmm.place_bars()
    assert add(vmm, 1, 2) == 3


def test_accesses_that_the_device_does_not_have(vmm):
    for bar, offset, size in [(CONTROL, PAGE, 1), (CONTROL, PAGE - 2, 4), (2, 0, 1), (6, 0, 1), (0, 0, 3), (0, 0, 16)]:
        assert fails_with(errno.EINVAL, vmm.bar_read, bar, offset, size) == 2**64 - 1
        fails_with(errno.EINVAL, vmm.bar_write, bar, offset, size, 0)
    assert fails_with(errno.EINVAL, vmm.config_read, 0, 3) == 2**32 - 1
    assert vmm.state == ALIVE


def test_a_place_that_the_device_refuses(vmm, wire):
    if wire == "vfio-user":
        assert fails_with(errno.EREMOTEIO, vmm.config_read, 0x1000, 4) == 2**32 - 1
        assert vmm.refusal == errno.EINVAL
    else:
        assert vmm.config_read(0x1000, 4) == 2**32 - 1  # the wire has no other way to say it
    assert vmm.config_read(0, 2) == 0x1AF4
    assert vmm.state == ALIVE


def test_a_bar_needs_a_probe(backdoor, client):
    _, ours = backdoor()
    vmm = client(ours)
    fails_with(errno.EINVAL, vmm.bar_read, 0, 0, 4)
    fails_with(errno.EINVAL, vmm.place_bars)


def test_bars_that_do_not_fit_are_not_placed(backdoor, client):
    _, ours = backdoor()
    vmm = client(ours)
    vmm.probe()
    fails_with(errno.ENOSPC, vmm.place_bars, 0xFFFFF000, 0)


def test_regions_that_touch_are_sent_as_one(vmm, ram):
    vmm.publish_memory(*[(i * PAGE, PAGE, i * PAGE, ram) for i in range(64)])
    assert vmm.config_read(0, 2) == 0x1AF4


def test_more_regions_than_the_wire_takes(vmm, wire, ram):
    regions = [(2 * i * PAGE, PAGE, i * PAGE, ram) for i in range(8)]
    vmm.publish_memory(*regions[:7])
    if wire == "vfio-user":
        vmm.publish_memory(*regions)
    else:
        fails_with(errno.E2BIG, vmm.publish_memory, *regions)
    fails_with(errno.E2BIG, vmm.publish_memory, *regions * 9)
    fails_with(errno.EINVAL, vmm.publish_memory, (0, PAGE, 0, ram), (0, PAGE, PAGE, ram))
    fails_with(errno.EBADF, vmm.publish_memory, (0, PAGE, 0, 1 << 20))
    vmm.publish_memory()
    assert vmm.config_read(0, 2) == 0x1AF4


def test_a_region_beyond_its_file(vmm, wire, ram):
    if wire == "vfio-user":
        fails_with(errno.EOVERFLOW, vmm.publish_memory, (0, 65 * PAGE, 0, ram))
        assert vmm.config_read(0, 2) == 0x1AF4
        return
    vmm.publish_memory((0, 65 * PAGE, 0, ram))  # no answer to this: the device ends the connection
    assert fails_with(errno.ENOTCONN, vmm.config_read, 0, 2) == 0xFFFF
    assert vmm.states == [LOST]


def test_interrupts_need_eventfds_that_are_open(vmm, wire):
    fails_with(errno.EBADF, vmm.set_intx, 1 << 20, 0)
    if wire == "vfio-user":
        fails_with(errno.EINVAL, vmm.emulate_intx)  # the backdoor has no interrupt, and this wire says so
    else:
        vmm.emulate_intx()
    assert vmm.config_read(0, 2) == 0x1AF4


def test_by_path(spawn, program, library, cleanup, tmp_path):
    path = tmp_path / "socket"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    cleanup.enter_context(listener)
    listener.bind(str(tmp_path / "notify"))
    listener.settimeout(PATIENCE_S)
    argv = [program, f"--library={library}", f"--socket-path={path}"]
    spawn(argv, env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    assert b"READY=1" in listener.recv(4096)
    vmm = cleanup.enter_context(Client(path))
    assert vmm.probe().device_id == 0x10F0


def test_nobody_at_the_path(tmp_path):
    with pytest.raises(ClientError, match="can't connect to .*: No such file or directory"):
        Client(tmp_path / "nobody")


def test_a_listener_that_accepts_nobody_costs_a_bounded_time(tmp_path, cleanup):
    listener = cleanup.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(str(tmp_path / "full"))
    listener.listen(0)
    cleanup.enter_context(socket.socket(socket.AF_UNIX)).connect(str(tmp_path / "full"))
    with pytest.raises(ClientError) as raised:
        Client(tmp_path / "full", timeout_ms=50)
    assert raised.value.errno == errno.ETIMEDOUT


def test_options_that_are_none(cleanup):
    ours, theirs = socket.socketpair()
    cleanup.enter_context(ours)
    cleanup.enter_context(theirs)
    for options in [{"wire": "telegraph"}, {"timeout_ms": 60001}]:
        with pytest.raises(ClientError) as raised:
            Client(ours, **options)
        assert raised.value.errno == errno.EINVAL


def test_a_descriptor_that_is_no_connection(cleanup):
    with open("/dev/null") as file, pytest.raises(ClientError) as raised:
        Client(file)
    assert raised.value.errno == errno.ENOTSOCK


def test_the_device_ends_when_the_client_does(backdoor):
    process, ours = backdoor()
    with Client(ours) as vmm:
        vmm.probe()
        assert not select.select([vmm], [], [], 0)[0]
    assert process.wait() == 0

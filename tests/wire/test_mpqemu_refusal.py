# SPDX-License-Identifier: BSD-3-Clause
"""outboard-backdoor over mpqemu: what a proxy that breaks the rules gets.

Always the end of the connection, no reply, exit status 1 and one line that says what was wrong.
"""
import contextlib
import os
import select
import socket

import mpqemu
import pytest
from mpqemu import PAGE

FILE_LEN = 16 * PAGE


class Things:
    """Descriptors of every kind, closed at the end."""

    def __init__(self, stack):
        self.stack = stack

    def _own(self, fd):
        self.stack.callback(os.close, fd)
        return fd

    def memory(self):
        return self._own(mpqemu.memory_file(FILE_LEN))

    def event(self):
        return self._own(os.eventfd(0))

    def pipe(self):
        ends = [self._own(fd) for fd in os.pipe()]
        return ends[1]

    def socket(self):
        return self.stack.enter_context(socket.socket(socket.AF_UNIX))

    def epoll(self):
        poll = select.epoll()
        self.stack.callback(poll.close)
        return poll

    def folder(self):
        return self._own(os.open("/", os.O_RDONLY | os.O_DIRECTORY))

    def device(self):
        return self._own(os.open("/dev/zero", os.O_RDWR))

    def read_only(self):
        fd = self.memory()
        return self._own(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY))


@pytest.fixture
def things():
    with contextlib.ExitStack() as stack:
        yield Things(stack)


def check_refused(proxy, device, data, fds, says):
    proxy.config_read(0, 4)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        proxy.send(data, fds)
    assert proxy.is_gone()
    status, lines = device.end()
    assert status == 1
    assert len(lines) == 1, lines
    assert lines[0].startswith("outboard-backdoor: ") and says in lines[0], lines[0]


LENGTHS = ["SYNC_SYSMEM", "PCI_CFGWRITE", "PCI_CFGREAD", "BAR_WRITE", "BAR_READ", "SET_IRQFD", "DEVICE_RESET"]


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("size", [1, 13, 25, 193, 208, 4096, 2**31, 2**32, 2**63, 2**64 - 1])
def test_wrong_size(serve, dialect, name, size):
    proxy, device = serve(dialect)
    check_refused(proxy, device, proxy.message(name, size=size), [], f"{name}: expected a payload of ")


@pytest.mark.parametrize("number", ["RET", 11, 12, 255, -1, -(2**31)])
def test_unknown_command(serve, dialect, number):
    proxy, device = serve(dialect)
    data = proxy.message(number)
    check_refused(proxy, device, data, [], "a message: got cmd ")


@pytest.mark.parametrize("first", [2, 3, 7, 100, -1])
def test_first_message_is_no_sysmem(connect, first):
    proxy, device = connect()
    proxy.send(proxy.message(first))
    assert proxy.is_gone()
    status, lines = device.end()
    assert status == 1
    assert len(lines) == 1 and "(offset 0), expected SYNC_SYSMEM" in lines[0]


@pytest.mark.parametrize("count", [9, 16, 32])
def test_too_many_regions(serve, dialect, things, count):
    proxy, device = serve(dialect)
    check_refused(proxy, device, proxy.sysmem(), [things.memory()] * count, f"SYNC_SYSMEM: got {count} descriptors")


@pytest.mark.parametrize("count", [33, 64, 253])
def test_more_descriptors_than_are_received(serve, dialect, things, count):
    proxy, device = serve(dialect)
    check_refused(proxy, device, proxy.sysmem(), [things.memory()] * count, "more than 32 descriptors")


@pytest.mark.parametrize("count", [0, 1, 3, 7, 8, 9])
def test_wrong_number_of_events(serve, dialect, things, count):
    proxy, device = serve(dialect)
    fds = [things.event() for _ in range(count)]
    check_refused(proxy, device, proxy.message("SET_IRQFD"), fds, f"SET_IRQFD: got {count} descriptors")


@pytest.mark.parametrize("name", ["PCI_CFGREAD", "PCI_CFGWRITE", "BAR_READ", "BAR_WRITE", "DEVICE_RESET"])
def test_descriptors_where_none_belong(serve, dialect, things, name):
    proxy, device = serve(dialect)
    if name == "DEVICE_RESET":
        data = proxy.reset()
    else:
        data = proxy.config(name, 0, 4) if "CFG" in name else proxy.bar(name, 0, 4)
    check_refused(proxy, device, data, [things.event()], f"{name}: got 1 descriptors")


@pytest.mark.parametrize("kind", ["memory", "pipe", "socket", "epoll", "folder", "device"])
@pytest.mark.parametrize("place", [0, 1])
def test_events_that_are_none(serve, dialect, things, kind, place):
    proxy, device = serve(dialect)
    fds = [things.event(), things.event()]
    fds[place] = getattr(things, kind)()
    check_refused(proxy, device, proxy.message("SET_IRQFD"), fds, "SET_IRQFD: the descriptors are not two eventfds")


@pytest.mark.parametrize("kind", ["event", "pipe", "socket", "epoll", "folder", "device", "read_only"])
def test_memory_that_is_none(serve, dialect, things, kind):
    proxy, device = serve(dialect)
    regions = [(0, PAGE, 0), (PAGE, PAGE, 0)]
    check_refused(proxy, device, proxy.sysmem(*regions), [things.memory(), getattr(things, kind)()], "memory region 1")


BAD_REGIONS = {
    "overlap": ((0, 2 * PAGE, 0), (PAGE, PAGE, 0), "overlaps"),
    "same twice": ((0, PAGE, 0), (0, PAGE, 0), "overlaps"),
    "empty": ((0, PAGE, 0), (PAGE, 0, 0), "empty"),
    "wrap": ((0, PAGE, 0), (2**64 - PAGE, 2 * PAGE, 0), "wraps"),
    "wrap in the file": ((0, PAGE, 0), (PAGE, PAGE, 2**64 - PAGE), "wraps"),
    "beyond the file": ((0, PAGE, 0), (PAGE, PAGE, FILE_LEN), "its file is shorter"),
    "longer than the file": ((0, PAGE, 0), (PAGE, FILE_LEN + PAGE, 0), "its file is shorter"),
    "far beyond the file": ((0, PAGE, 0), (2 * PAGE, 2**63, 0), "its file is shorter"),
    "address not aligned": ((0, PAGE, 0), (PAGE + 1, PAGE, 0), "not aligned"),
    "size not aligned": ((0, PAGE, 0), (PAGE, PAGE + 1, 0), "not aligned"),
    "offset not aligned": ((0, PAGE, 0), (PAGE, PAGE, 512), "not aligned"),
}


@pytest.mark.parametrize("case", BAD_REGIONS.values(), ids=BAD_REGIONS)
def test_bad_region(serve, dialect, things, case):
    *regions, says = case
    proxy, device = serve(dialect)
    check_refused(proxy, device, proxy.sysmem(*regions), [things.memory()] * 2, "memory region 1")
    assert says in device.lines()[0]


def test_nothing_behind_a_refused_message_is_done(serve, dialect):
    """One write of all: a command, which is carried out once and answered, what is refused, a command."""
    proxy, device = serve(dialect)
    command = proxy.config("PCI_CFGWRITE", 0x3C, 1, 5)
    proxy.send(command + proxy.message("RET") + command)
    assert proxy.receive().value == 0
    assert proxy.is_gone()
    assert device.end()[0] == 1


def test_cut_at_every_byte(connect, dialect, things):
    """The peer goes in the middle of a message: a clean end, whatever was there by then."""
    proxy, _ = connect(dialect)
    memory = things.memory()
    fds = [memory] * 8
    sysmem = proxy.sysmem(*[(i * PAGE, PAGE, i * PAGE) for i in range(8)])
    stream = sysmem + proxy.config("PCI_CFGREAD", 0, 4) + proxy.bar("BAR_READ", 0, 4)
    for cut in range(len(stream) + 1):
        proxy, device = connect(dialect)
        if cut > 0:
            proxy.send(sysmem[:cut], fds)
        if cut > len(sysmem):
            proxy.send(stream[len(sysmem) : cut])
        proxy.sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(mpqemu.Gone):
            while True:
                assert proxy.receive().cmd == dialect.numbers["RET"]
        assert device.end() == (0, ["outboard-backdoor: the peer has gone, ending"])

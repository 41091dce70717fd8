# SPDX-License-Identifier: BSD-3-Clause
"""QEMU's own remote as the reference: the same questions to it and to ours, answered alike.

The devices differ (lsi53c895a there, the backdoor here), so what is compared is what the wire
defines: the header of each reply, its length, what sizing a BAR must give, the value that says
"error", and which messages are not answered.
"""
import dataclasses
import os
import socket

import mpqemu
import pytest

BAR_AT = [0xC000, 0xFEBF0000, 0xFEC00000]
MEMORY = 16 * mpqemu.PAGE


@dataclasses.dataclass
class Remote:
    """One end to be asked, and where its registers are once place() has been called."""

    proxy: mpqemu.Proxy
    register_bar: int  # a BAR of memory space
    io: bool  # whether BAR 0 is in port space
    address: int = 0xFEBF0000

    def place(self):
        self.proxy.config_write(0x10 + 4 * self.register_bar, 4, self.address)
        self.proxy.config_write(0x04, 2, 0x0003)


@pytest.fixture
def qemu(spawn, cleanup):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    monitor, monitored = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    argv = ["qemu-system-x86_64", "-machine", "x-remote", "-nodefaults", "-display", "none"]
    argv += ["-chardev", f"socket,id=monitor,fd={monitored.fileno()}", "-mon", "chardev=monitor,mode=control"]
    argv += ["-device", "lsi53c895a,id=dev", "-object", f"x-remote-object,id=robj,devid=dev,fd={theirs.fileno()}"]
    spawn(argv, inherit=[theirs, monitored])
    cleanup.enter_context(monitor)
    wait_until_started(monitor)
    return Remote(cleanup.enter_context(mpqemu.Proxy(ours)), register_bar=1, io=True)


def wait_until_started(monitor):
    """QEMU resets its devices once more after it has begun to serve; what it was told before is lost."""
    monitor.settimeout(mpqemu.PATIENCE_S)
    monitor.sendall(b'{"execute": "qmp_capabilities"} {"execute": "query-status", "id": "started"}')
    heard = b""
    while b'"started"' not in heard:
        more = monitor.recv(4096)
        assert more, f"QEMU has ended: {heard}"
        heard += more


@pytest.fixture
def outboard(connect):
    proxy, _ = connect()
    return Remote(proxy, register_bar=0, io=False)


@pytest.fixture
def both(qemu, outboard):
    return [qemu, outboard]


@pytest.fixture(autouse=True)
def greeted(both):
    """Both have heard what a proxy says first: the memory of the machine, and the interrupt."""
    memory = mpqemu.memory_file(MEMORY)
    events = [os.eventfd(0) for _ in range(4)]
    for i, remote in enumerate(both):
        remote.proxy.send(remote.proxy.sysmem((0, MEMORY, 0)), [memory])
        remote.proxy.send(remote.proxy.message("SET_IRQFD"), events[2 * i : 2 * i + 2])
    yield
    for fd in [memory, *events]:
        os.close(fd)


def answers(both, ask):
    """The replies to a question, in the order of both."""
    return [remote.proxy.ask(ask(remote)) for remote in both]


def shape(reply):
    """What the wire defines of a reply, whatever its value."""
    return reply.cmd, reply.padding, reply.size, len(reply.payload)


def alike(both, ask):
    """Asks both, who must answer in the same shape; the replies, theirs first."""
    theirs, ours = answers(both, ask)
    assert shape(ours) == shape(theirs)
    return theirs, ours


def test_the_header_is_read_as_the_proxy_does(both):
    """Vendor, device, class and subsystem: two bytes each, which is what the value holds."""
    for offset in [0x00, 0x02, 0x0A, 0x2E, 0x2C]:
        theirs, ours = alike(both, lambda remote: remote.proxy.config("PCI_CFGREAD", offset, 2))
        assert theirs.value <= 0xFFFF and ours.value <= 0xFFFF
        assert shape(ours) == (1, 0, 8, 8)


def test_bars_are_sized_as_the_proxy_does(both):
    """Seven registers, of which the last lies behind the BARs: read, write ones, read, write back."""
    for region in range(7):
        offset = 0x10 + 4 * region
        olds = alike(both, lambda remote: remote.proxy.config("PCI_CFGREAD", offset, 4))
        ones = alike(both, lambda remote: remote.proxy.config("PCI_CFGWRITE", offset, 4, 0xFFFFFFFF))
        assert [reply.value for reply in ones] == [0, 0]
        sized = alike(both, lambda remote: remote.proxy.config("PCI_CFGREAD", offset, 4))
        for remote, old in zip(both, olds):
            assert remote.proxy.config_write(offset, 4, old.value) == 0
        restored = alike(both, lambda remote: remote.proxy.config("PCI_CFGREAD", offset, 4))
        for old, reply, again, remote in zip(olds, sized, restored, both):
            check_sizing(reply.value, region, remote)
            assert again.value == old.value


def check_sizing(value, region, remote):
    assert value <= 0xFFFFFFFF
    size = -(value & 0xFFFFFFF0) & 0xFFFFFFFF
    assert size & (size - 1) == 0
    if region == 6:
        assert value == 0
    if region == remote.register_bar:
        assert size >= 16 and value & 1 == 0
    if region == 0:
        assert value & 1 == remote.io


def test_the_command_register_keeps_its_meaning(both):
    theirs, ours = alike(both, lambda remote: remote.proxy.config("PCI_CFGWRITE", 0x04, 2, 0xFFFF))
    assert theirs.value == ours.value == 0
    theirs, ours = alike(both, lambda remote: remote.proxy.config("PCI_CFGREAD", 0x04, 2))
    # Memory space, bus mastering and SERR, which both devices have.
    assert theirs.value & 0x0106 == ours.value & 0x0106 == 0x0106


def check_error(both, ask, goes_on):
    """Both answer with the value for errors. Then they differ, and ours is right: QEMU's remote shuts itself down, so
    that any access of a guest to an odd address would end its device; a device has to outlive its guest's mistakes."""
    theirs, ours = alike(both, ask)
    assert theirs.value == ours.value == mpqemu.ALL_ONES
    assert both[0].proxy.is_gone()
    assert both[1].proxy.config_read(0, 2) == goes_on


@pytest.mark.parametrize("offset, length", [(256, 1), (256, 4), (4096, 4), (0x7FFFFFF0, 4)])
@pytest.mark.parametrize("name", ["PCI_CFGREAD", "PCI_CFGWRITE"])
def test_config_accesses_beyond_the_end_are_errors(both, name, offset, length):
    check_error(both, lambda remote: remote.proxy.config(name, offset, length), 0x1AF4)


@pytest.mark.parametrize("name", ["BAR_READ", "BAR_WRITE"])
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_accesses_that_nobody_decodes_are_errors(both, name, size):
    for remote in both:
        remote.place()
    check_error(both, lambda remote: remote.proxy.bar(name, 0xD0000000, size), 0x1AF4)


@pytest.mark.parametrize("offset, length", [(253, 1), (254, 2), (255, 1)])
def test_the_last_bytes_of_config_space_are_read(both, offset, length):
    """Here they differ, and ours is right: QEMU's remote adds 4 to the offset whatever the length, and so refuses
    what lies within 3 bytes of the end. A device has 256 bytes of configuration space."""
    theirs, ours = alike(both, lambda remote: remote.proxy.config("PCI_CFGREAD", offset, length))
    assert theirs.value == mpqemu.ALL_ONES
    assert ours.value == 0


def test_the_last_register_of_config_space_is_read(both):
    theirs, ours = alike(both, lambda remote: remote.proxy.config("PCI_CFGREAD", 252, 4))
    assert theirs.value == ours.value == 0


@pytest.mark.parametrize("size", [0, 3, 5, 7, 16, 2**31])
def test_register_accesses_of_odd_size_are_answered_with_ones(both, size):
    for remote in both:
        remote.place()
    theirs, ours = alike(both, lambda remote: remote.proxy.bar("BAR_READ", remote.address, size))
    assert theirs.value == ours.value == mpqemu.ALL_ONES
    theirs, ours = alike(both, lambda remote: remote.proxy.bar("BAR_WRITE", remote.address, size, 1))
    assert theirs.value == ours.value == mpqemu.ALL_ONES


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_register_accesses_are_answered(both, size):
    for remote in both:
        remote.place()
    theirs, ours = alike(both, lambda remote: remote.proxy.bar("BAR_READ", remote.address, size))
    assert theirs.value < 256**size and ours.value < 256**size
    # Into a part of the register that does not complete a command, nor starts a script.
    theirs, ours = alike(both, lambda remote: remote.proxy.bar("BAR_WRITE", remote.address, min(size, 4), 0))
    assert theirs.value == ours.value == 0


def test_a_bar_that_was_moved_answers_at_its_new_place(both):
    for remote in both:
        remote.place()
        before = remote.proxy.bar_read(remote.address, 4)
        remote.proxy.config_write(0x10 + 4 * remote.register_bar, 4, 0xFE000000)
        assert remote.proxy.bar_read(0xFE000000, 4) == before
    check_error(both, lambda remote: remote.proxy.bar("BAR_READ", remote.address, 4), 0x1AF4)


def test_a_bar_that_is_not_enabled_does_not_answer(both):
    for remote in both:
        remote.place()
        remote.proxy.config_write(0x04, 2, 0)
    check_error(both, lambda remote: remote.proxy.bar("BAR_READ", remote.address, 4), 0x1AF4)


def test_reset_is_answered_by_a_header_alone(both):
    """Then they differ, and ours is right: QEMU's remote calls the device's own reset, which knows nothing of
    configuration space; a reset function has its BARs at 0 and decodes nothing (PCI Local Bus 3.0, 6.2)."""
    for remote in both:
        remote.place()
    assert shape(alike(both, lambda remote: remote.proxy.reset())[1]) == (1, 0, 0, 0)
    theirs, ours = alike(both, lambda remote: remote.proxy.config("PCI_CFGREAD", 0x04, 2))
    assert theirs.value != 0
    assert ours.value == 0


def test_memory_may_change_at_any_time(both):
    memory = mpqemu.memory_file(MEMORY)
    for remote in both:
        for length in [MEMORY, mpqemu.PAGE, MEMORY]:
            remote.proxy.send(remote.proxy.sysmem((0, length, 0)), [memory])
            assert remote.proxy.config_read(0x00, 2) != 0xFFFF
    os.close(memory)


def test_no_memory_at_all(both):
    """Here they differ, and ours is right: a proxy whose machine has no memory to share says so with a table of no
    regions. QEMU's remote calls that invalid and ends; ours goes on without memory."""
    theirs, ours = both
    theirs.proxy.send(theirs.proxy.sysmem())
    assert theirs.proxy.is_gone()
    ours.proxy.send(ours.proxy.sysmem())
    assert ours.proxy.config_read(0x00, 2) == 0x1AF4

# SPDX-License-Identifier: BSD-3-Clause
"""outboard-backdoor over mpqemu: what a proxy that keeps the rules sees."""
import os

import mpqemu
import pytest
from conftest import CONTROL, DATA


def test_the_guest_calls_host_code(serve, dialect):
    proxy, _ = serve(dialect)
    assert proxy.config_read(0x00, 4) == 0x10F01AF4
    assert proxy.bar_read(CONTROL, 8) == 4096
    assert proxy.bar_write(CONTROL, 8, 41) == 0
    assert proxy.bar_read(DATA, 8) == 42
    assert proxy.bar_write(CONTROL, 4, 0x11111111) == 0
    assert proxy.bar_write(CONTROL + 4, 4, 0x22222222) == 0
    assert proxy.bar_read(DATA, 8) == 0x2222222211111112
    assert proxy.bar_read(DATA + 8, 1) == 2


def test_reset_leaves_a_working_device(serve, dialect):
    proxy, _ = serve(dialect)
    reply = proxy.ask(proxy.reset())
    assert (reply.cmd, reply.padding, reply.size) == (dialect.numbers["RET"], 0, 0)
    assert proxy.config_read(0x10, 4) == 0
    assert proxy.bar_read(CONTROL, 8) == mpqemu.ALL_ONES
    proxy.config_write(0x10, 4, CONTROL)
    proxy.config_write(0x04, 2, 2)
    assert proxy.bar_read(CONTROL, 8) == 4096


def test_heartbeats_are_answered(serve):
    proxy, _ = serve(mpqemu.V8)
    for _ in range(3):
        assert proxy.ask(proxy.message("PROXY_PING")).value == 0


@pytest.mark.parametrize("pages", [1, 2, 3, 255])
def test_bars_have_the_size_that_was_asked_for(serve, pages):
    proxy, _ = serve(mpqemu.SHIPPED, f"--pages={pages}")
    proxy.config_write(0x14, 4, 0xFFFFFFFF)
    size = -(proxy.config_read(0x14, 4) & 0xFFFFFFF0) & 0xFFFFFFFF
    assert size >= pages * 4096 > size // 2
    assert proxy.bar_read(CONTROL, 8) == pages * 4096


def test_byte_by_byte_is_as_good(connect, dialect):
    proxy, _ = connect(dialect)
    stream = (
        proxy.sysmem()
        + proxy.config("PCI_CFGWRITE", 0x10, 4, CONTROL)
        + proxy.config("PCI_CFGWRITE", 0x04, 2, 2)
        + proxy.bar("BAR_READ", CONTROL, 8)
    )
    for i in range(len(stream)):
        proxy.send(stream[i : i + 1])
    assert [proxy.receive().value for _ in range(3)] == [0, 0, 4096]


def test_many_requests_at_once_are_all_answered(serve, dialect):
    proxy, _ = serve(dialect)
    count = 200
    proxy.send(proxy.bar("BAR_READ", CONTROL, 8) * count)
    assert [proxy.receive().value for _ in range(count)] == [4096] * count


def test_descriptors_stay_where_they_are(serve, dialect):
    """Memory and interrupts set again and again: what they replace is closed."""
    proxy, device = serve(dialect)
    with open(mpqemu.memory_file(16 * mpqemu.PAGE), "rb") as memory:
        regions = [(i * mpqemu.PAGE, mpqemu.PAGE, i * mpqemu.PAGE) for i in range(8)]
        events = [os.eventfd(0), os.eventfd(0)]
        proxy.send(proxy.message("SET_IRQFD"), events)
        proxy.config_read(0, 4)
        before = device.descriptors()
        for count in [8, 0, 7, 1, 8]:
            proxy.send(proxy.sysmem(*regions[:count]), [memory] * count)
            proxy.send(proxy.message("SET_IRQFD"), events)
            assert proxy.config_read(0, 4) == 0x10F01AF4
            assert device.descriptors() == before
        for event in events:
            os.close(event)


# Accesses that mean nothing: (address, size, memory space).
NOTHING = {
    "size 0": (CONTROL, 0, True),
    "size 3": (CONTROL, 3, True),
    "size 16": (CONTROL, 16, True),
    "size of 4 GiB less one": (CONTROL, 2**32 - 1, True),
    "before the BAR": (CONTROL - 1, 1, True),
    "behind the BAR": (CONTROL + 4096, 8, True),
    "across the end of the BAR": (CONTROL + 4095, 2, True),
    "the end of the address space": (2**64 - 1, 8, True),
    "port space": (CONTROL, 8, False),
}


@pytest.mark.parametrize("access", NOTHING.values(), ids=NOTHING)
def test_accesses_that_mean_nothing_read_ones(serve, dialect, access):
    address, size, memory = access
    proxy, device = serve(dialect)
    before = device.descriptors()
    assert proxy.bar_read(address, size, memory) == mpqemu.ALL_ONES
    assert proxy.bar_write(address, size, 1, memory) == mpqemu.ALL_ONES
    assert device.descriptors() == before
    assert proxy.bar_read(CONTROL, 8) == 4096
    assert proxy.bar_read(DATA + 8, 8) == 0  # no command came


@pytest.mark.parametrize("offset, length", [(256, 1), (255, 2), (253, 4), (2**32 - 1, 4), (0, 0), (0, 5), (0, -1)])
def test_config_accesses_outside_read_ones(serve, dialect, offset, length):
    proxy, device = serve(dialect)
    before = device.descriptors()
    assert proxy.config_read(offset, length) == mpqemu.ALL_ONES
    assert proxy.config_write(offset, length, 0) == mpqemu.ALL_ONES
    assert device.descriptors() == before
    assert proxy.config_read(0, 2) == 0x1AF4

# SPDX-License-Identifier: BSD-3-Clause
"""The client drives QEMU's own remote: registers, DMA into memory of ours, interrupts."""
import errno
import select

import mpqemu
from mpqemu import PAGE, PATIENCE_S
from outboard_client import LOST, fails_with


def test_a_script_of_the_53c895a_does_dma_and_interrupts(qemu, lsi, spawn):
    _, ours = qemu
    vmm = spawn([lsi, str(ours.fileno())], inherit=[ours])
    assert vmm.wait() == 0, vmm.log_tail()
    assert "3 interrupts, 5000 bytes moved twice" in vmm.log.read_text()


def test_a_remote_that_ends_is_lost_at_once(qemu, client):
    process, ours = qemu
    vmm = client(ours)
    process.kill()
    assert select.select([vmm], [], [], 10)[0]
    vmm.dispatch()
    assert vmm.state == LOST
    assert vmm.fault.text == "the remote has closed the connection"


def test_it_takes_as_many_regions_as_the_client_sends(qemu, client, ram):
    vmm = client(qemu[1])
    vmm.publish_memory(*[(2 * i * PAGE, PAGE, i * PAGE, ram) for i in range(7)])
    assert vmm.probe().vendor_id == 0x1000


def test_it_refuses_one_more(qemu, ram, cleanup):
    """Why the client sends no more than seven."""
    proxy = cleanup.enter_context(mpqemu.Proxy(qemu[1]))
    proxy.send(proxy.sysmem(*[(2 * i * PAGE, PAGE, i * PAGE) for i in range(8)]), [ram] * 8)
    assert proxy.is_gone()


def test_it_ends_when_there_is_no_memory(qemu, client):
    vmm = client(qemu[1], timeout_ms=PATIENCE_S * 1000)
    vmm.publish_memory()
    fails_with(errno.ENOTCONN, vmm.config_read, 0, 2)


def test_it_ends_after_an_access_that_nothing_decodes(qemu, client, ram):
    vmm = client(qemu[1], timeout_ms=PATIENCE_S * 1000)
    vmm.publish_memory((0, PAGE, 0, ram))
    vmm.probe()
    vmm.config_write(0x14, 4, 0xFE000000)  # but decoding is off
    assert vmm.bar_read(1, 0, 4) == 2**32 - 1
    fails_with(errno.ENOTCONN, vmm.config_read, 0, 2)

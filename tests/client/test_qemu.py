# SPDX-License-Identifier: BSD-3-Clause
"""The client drives QEMU's own remote: registers, DMA into memory of ours, interrupts."""
import select

import pytest


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
    assert vmm.state == 2
    assert vmm.fault.text == "the remote has closed the connection"

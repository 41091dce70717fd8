# SPDX-License-Identifier: BSD-3-Clause
"""An idle device uses no CPU at all."""
import os
import pathlib
import select

import mpqemu
import pytest
from conftest import CONTROL

# The window that is measured. Nothing happens in it, which is the point.
WINDOW_S = 3


def usage(pid):
    """What the kernel has counted: context switches by kind, and ticks of CPU time."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    switches = {line.split(":")[0]: int(line.split(":")[1]) for line in status.splitlines() if "ctxt_switches" in line}
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return switches | {"utime": int(fields[11]), "stime": int(fields[12]), "threads": int(fields[17])}


def sleeps(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def wait_until_asleep(pid):
    """It may poll for 1 ms more at most; that is many looks."""
    for _ in range(100000):
        if sleeps(pid):
            break


@pytest.mark.parametrize("poll_us", [0, 50, 1000])
def test_idle_means_idle(serve, poll_us):
    proxy, device = serve(mpqemu.SHIPPED, f"--poll-us={poll_us}")
    events = [os.eventfd(0), os.eventfd(0)]
    proxy.send(proxy.message("SET_IRQFD"), events)
    for _ in range(2000):
        assert proxy.bar_read(CONTROL, 8) == 4096
    pid = device.process.pid
    wait_until_asleep(pid)
    before = usage(pid)
    assert before["threads"] == 2  # one serves, one closes what a peer should not have sent
    assert before["voluntary_ctxt_switches"] > 0
    select.select([proxy.sock, *events], [], [], WINDOW_S)
    assert usage(pid) == before
    assert proxy.bar_read(CONTROL, 8) == 4096  # and it is there
    wait_until_asleep(pid)
    assert usage(pid) != before
    for event in events:
        os.close(event)

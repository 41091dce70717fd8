# SPDX-License-Identifier: BSD-3-Clause
"""As test_agent_debian.py, over the ports of outboard-vmchannel: behind stock QEMU's x-pci-proxy-dev, or over vfio-user and
behind vhost-user-test-device-pci, where OUTBOARD_QEMU names a QEMU that has these.

Behind x-pci-proxy-dev the Debian guest takes minutes (long), so a system of busybox has the commands that it can have.
"""
import os
import subprocess

import pytest
from agentcompare import CHANGE, READ, check_change, check_read, commands_not_asked, read_ids
from agentdebian import GENERIC, SmallGuest, comparable, vmchannel
from guestlab.machine import OVERRIDE

pytestmark = [] if OVERRIDE in os.environ else [pytest.mark.irqfd]
# No mark, or one.
in_debian = (lambda test: test) if OVERRIDE in os.environ else pytest.mark.long
DEVICES = {"vfio-user": "vfio-user-pci", "vhost-user": GENERIC} if OVERRIDE in os.environ else {"mpqemu": "x-pci-proxy-dev"}

CPUS = {"mpqemu": 1}  # QEMU 7.2 loses accesses of two at once (docs/testing.md)

# What busybox has the programs for, and the systems have in common.
SMALL_READ = [request for request in READ if request[0] not in ("get-users", "get-disks", "get-timezone")]
SMALL_CHANGE = [name for name in CHANGE if name.split("-")[0] in ("file", "exec")]


def need(device):
    """Skips a test whose QEMU does not have the device."""
    if OVERRIDE in os.environ:
        listing = subprocess.run([os.environ[OVERRIDE], "-device", "help"], capture_output=True, text=True, check=True).stdout
        if f'"{device}"' not in listing:
            pytest.skip(f"{os.environ[OVERRIDE]} has no {device}")


@pytest.fixture(scope="module", params=DEVICES)
def world(request, shared_logs, tmp_path_factory):
    """(the DebianGuest, {name: Wire})."""
    need(DEVICES[request.param])
    ports = vmchannel(request.param)
    with comparable(shared_logs / request.param, tmp_path_factory.mktemp("disk"), ports=ports, has_lines=False,
                    cpus=CPUS.get(request.param, 2)) as world:
        yield world


@pytest.fixture(scope="module", params=DEVICES)
def small(request, shared_logs):
    """(the SmallGuest, {name: Wire})."""
    need(DEVICES[request.param])
    with SmallGuest(shared_logs / f"small-{request.param}", ports=vmchannel(request.param), cpus=CPUS.get(request.param, 2)) as guest:
        guest.start()
        with guest.wires() as wires:
            yield guest, wires


@pytest.mark.parametrize("command, arguments", SMALL_READ, ids=read_ids(SMALL_READ))
def test_reads_as_qemu_ga_in_a_small_guest(small, command, arguments):
    check_read(small[1], command, arguments)


@pytest.mark.parametrize("name", SMALL_CHANGE)
def test_changes_as_qemu_ga_in_a_small_guest(small, name):
    check_change(*small, name)


@in_debian
@pytest.mark.parametrize("command, arguments", READ, ids=read_ids(READ))
def test_reads_as_qemu_ga(world, command, arguments):
    check_read(world[1], command, arguments)


@in_debian
@pytest.mark.parametrize("name", CHANGE)
def test_changes_as_qemu_ga(world, name):
    debian, wires = world
    check_change(debian, wires, name)


@in_debian
def test_all_commands_were_compared(world):
    """But for those that pause the guest."""
    for name, wire in world[1].items():
        if not name.startswith("ours"):
            assert commands_not_asked(wire) == {"suspend-disk", "suspend-ram", "suspend-hybrid"}

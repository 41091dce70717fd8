# SPDX-License-Identifier: BSD-3-Clause
"""Each command in a Debian guest with systemd and no network device: our answers beside qemu-ga's, field by field.

Over virtio-serial and over an ISA line each. OUTBOARD_QEMU_GA names a newer qemu-ga, which is then compared too.
"""
import re

import pytest
from agentcompare import CHANGE, KNOWN, READ, WORDS, check_change, check_read, commands_not_asked, read_ids
from agentdebian import comparable
from agentlab import decode
from guestlab import paths


@pytest.fixture(scope="module")
def world(shared_logs, tmp_path_factory):
    """(the DebianGuest, {name: Wire})."""
    with comparable(shared_logs, tmp_path_factory.mktemp("disk")) as world:
        yield world


@pytest.mark.parametrize("command, arguments", READ, ids=read_ids(READ))
def test_reads_as_qemu_ga(world, command, arguments):
    check_read(world[1], command, arguments)


@pytest.mark.parametrize("name", CHANGE)
def test_changes_as_qemu_ga(world, name):
    debian, wires = world
    check_change(debian, wires, name)


def test_commands_of_our_own(world):
    debian, wires = world
    for wire in ("ours", "ours-isa"):
        text = decode(wires[wire].ask("get-file", path="/etc/os-release")["buf-b64"]).decode()
        assert text == debian.run("cat /etc/os-release")
        assert "Linux version" in wires[wire].ask("get-dmesg")["messages"]
        assert wires[wire].ask("hello")["boot-id"] == debian.read("/proc/sys/kernel/random/boot_id")


def test_all_commands_were_compared(world):
    """Each command of qemu-ga's that ours has, but for those that pause the guest."""
    for name, wire in world[1].items():
        if not name.startswith("ours"):
            assert commands_not_asked(wire) == {"suspend-disk", "suspend-ram", "suspend-hybrid"}


def test_differences_are_documented():
    text = (paths.TREE / "docs/agent.md").read_text()
    for command, _, reason in KNOWN:
        if reason not in (WORDS, "ours", "of the agent", "of 10.2", "for Windows", "of a qemu-ga that was built with libudev"):
            assert re.search(rf"^\|.*guest-.*{re.escape(command.removeprefix('frozen '))}", text, re.MULTILINE), command

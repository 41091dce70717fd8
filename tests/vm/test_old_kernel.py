# SPDX-License-Identifier: BSD-3-Clause
"""Cells on Debian 12's Linux 6.1, whose Landlock is older, and on the root of an initramfs, which can't be pivoted.

test_escape.py tries the deeds there.
"""
import maclab
import pytest
from celllab import parts_of
from guestlab import Guest
from maclab import BACKDOOR, IMAGES, LIBRARY, NVME, PREFIX, SOCKET


@pytest.fixture(scope="module")
def lab(shared_logs, tmp_path_factory):
    files = maclab.files(maclab.build_library(tmp_path_factory.mktemp("deeds")))
    with Guest(shared_logs / "guest", programs=[maclab.ROOT / "bin/backdoor"], files=files) as guest:
        maclab.prepare(guest)
        yield maclab.Lab(guest)


def test_the_kernel_is_the_one(lab):
    assert lab.run("uname -r").startswith("6.1.")
    assert "rootfs / rootfs" in lab.guest.read("/proc/mounts")


@pytest.mark.parametrize("user", ["root", "plain"])
def test_a_cell_is_complete_but_for_later_parts_of_landlock(lab, user):
    printed = lab.run(f"su {user} -c '{BACKDOOR} --cell=required --print-cell'")
    parts = parts_of(printed)
    landlock = parts.pop("Landlock")
    assert landlock.startswith("yes, without truncate(2) (Linux 6.2), TCP ports (Linux 6.7)") and "signals" in landlock
    if user != "root":
        assert parts.pop("own user id") == "left out: the program does not run as root"
    assert set(parts.values()) == {"yes"}, printed


def test_devices_serve_on_the_root_of_an_initramfs(lab):
    said = lab.run(f"start {BACKDOOR} --cell=required --library={LIBRARY}; deed 0 0; stop; [ -e {SOCKET} ] || echo removed")
    assert said.split() == ["0", "removed"]
    said = lab.run(f"start {NVME} --cell=required --image={IMAGES}/own.img; {PREFIX}/bin/outboard inspect {SOCKET}; stop")
    assert "MSI-X" in said

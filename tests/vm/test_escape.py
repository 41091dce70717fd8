# SPDX-License-Identifier: BSD-3-Clause
"""Deeds that a cell refuses on Debian's kernel, 6.1, whose Landlock has no ports, sockets and signals.

The root of the guest is an initramfs. tests/escape has the deeds, and each device program; here are two.
"""
import pytest
from escapelab import DEEDS, HOOK, INSTALLED, RELEASE, RUNNER, outcomes
from guestlab import Guest
from guestlab.initramfs import with_libraries

LED = RELEASE / "examples/led"
NVME = INSTALLED / "outboard-nvme"
# Of the runner, for all deeds: programs start slowly in an emulated guest. That with a ring loads 20 libraries, so it
# does those deeds alone that take a ring.
PATIENCE_S = 600
PROGRAMS = {"/bin/led": [], "/bin/outboard-nvme --image=@/image": []}
for name, words in DEEDS.items():
    PROGRAMS[list(PROGRAMS)["ring" in words]].append(name)

USERS = {"root": "", "user": "--user=65534"}


@pytest.fixture(scope="module")
def machine(shared_logs):
    files = {"/bin/escapes": RUNNER, "/bin/led": LED, "/bin/outboard-nvme": NVME, "/lib/hook.so": HOOK}
    files |= {path: file for path, file in with_libraries(str(RUNNER), str(LED), str(NVME)).items() if ".so" in path}
    with Guest(shared_logs / "guest", files=files, memory_mib=768) as guest:
        guest.run("chmod 1777 /tmp; dmesg -n 1")
        yield guest


@pytest.fixture(scope="module")
def tried(machine):
    """tried(user, cell): what became of each deed."""
    known = {}

    def run(user, cell):
        if (user, cell) not in known:
            found = known[user, cell] = {}
            for program, names in PROGRAMS.items():
                options = f"{USERS[user]} --cell={cell} --hook=/lib/hook.so \"{','.join(names)}\""
                found |= outcomes(machine.attempt(f"escapes {options} {program} 2>&1", PATIENCE_S).output)
        return known[user, cell]

    return run


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("user", USERS)
def test_a_cell_refuses(tried, user, deed):
    tried(user, "default")[deed].check_refused()


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("user", USERS)
def test_without_a_cell_it_is_done(tried, user, deed):
    tried(user, "none")[deed].check_done()

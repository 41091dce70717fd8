# SPDX-License-Identifier: BSD-3-Clause
"""Devices in control groups of their own. tests/vm/test_control_group.py has limits that a kernel enforces."""
import os
import pathlib

import pytest
from guestlab import paths

LED = paths.BUILD / "release/examples/led"
VMM = """
import os, sys
group = sys.argv[1]
print(open(group + "/cgroup.max.depth").read().strip())
for pid in open(group + "/cgroup.procs").read().split():
    print(open("/proc/" + pid + "/comm").read().strip())
"""


def hierarchy():
    """Where cgroup v2 is mounted."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            return pathlib.Path(mount.split()[4])
    return None


@pytest.fixture
def group():
    """A path at which this user can make a group."""
    top = hierarchy()
    if not top:
        pytest.skip("cgroup v2 is not mounted")
    path = top / f"outboard-test-{os.getpid()}"
    try:
        path.mkdir()
        path.rmdir()
    except OSError as error:
        pytest.skip(f"this user can make no control group: {error}")
    yield path
    assert not path.exists()


def configure(machine, group, *more):
    vmm = machine.script("vmm", VMM)
    machine.write(f"""
        [machine]
          program = "{vmm}"
          arguments = "{group} %fd:lamp%"
        [device "lamp"]
          program = "{LED}"
          cgroup = "{group}"
    """ + "\n".join(more))  # fmt: skip
    return machine.run()


def test_a_device_is_in_its_group_which_ends_with_it(machine, group):
    done = configure(machine, group, 'cgroup.cgroup.max.depth = "3"')
    assert done.returncode == 0, done.stderr
    depth, *processes = done.stdout.splitlines()
    assert depth == "3"
    assert processes and set(processes) == {"led"}


@pytest.mark.parametrize(
    "setting, message",
    [
        ('cgroup.cgroup.max.depth = "deep"', "cgroup.cgroup.max.depth: the kernel refuses 'deep': Invalid argument"),
        ('cgroup.absent.max = "1"', "cgroup.absent.max: got 'No such file or directory' from the group, and"),
    ],
)
def test_a_limit_that_the_kernel_refuses_keeps_the_machine_from_its_start(machine, group, setting, message):
    done = configure(machine, group, setting)
    assert done.returncode == 3
    assert f'[device "lamp"]: {message}' in done.stderr


def test_a_path_that_is_no_group_is_named(machine):
    done = configure(machine, machine.folder / "group")
    assert done.returncode == 3
    assert f"cgroup: got {machine.folder}/group, expected a path in a file system of cgroup v2" in done.stderr
    assert not (machine.folder / "group").exists()


def test_a_group_that_can_not_be_made_is_named(machine):
    done = configure(machine, "/proc/outboard/group")
    assert done.returncode == 3
    assert "cgroup: can't make /proc/outboard/group: No such file or directory; give a path in a group that" in done.stderr

# SPDX-License-Identifier: BSD-3-Clause
"""Requests of a dead process come to their end before its successor begins any, at an NBD server that is slow."""
import os
import pathlib
import subprocess
import tempfile

import nbd_server
import pytest
from guestlab import paths
from machinelab import OUTBOARD, Machine
from restartlab import LAB_PATH
from test_barrier import FOREVER_S, check, late, rounds  # noqa: F401
from test_kept import check_storm, kept  # noqa: F401
from test_restart import disk_restarted, empty_image  # noqa: F401

NOBODY = 65534
DISK_LAB = paths.TREE / "tests/supervisor/disklab.py"

# A server that has one request in its hands at a time would do the work of the barrier.
QEMU_NBD = ["qemu-nbd", "--shared=0", "--persistent", "-f", "raw", "--cache=none", "--aio=native"]
NBDKIT = ["nbdkit", "-f", "--threads=16", "nbd"]


@pytest.fixture
def server(machine, spawn, late):  # noqa: F811
    """server(kind, hold_s): the URI of an image on a slow file system, served by qemu-nbd; nbdkit passes requests on to that one."""

    def start(kind, hold_s):
        path = late(hold_s)
        uri, _ = nbd_server.start(spawn, machine.folder / "qemu", [*QEMU_NBD, path])
        if kind == "nbdkit":
            uri, _ = nbd_server.start(spawn, machine.folder / "nbdkit", [*NBDKIT, f"socket={machine.folder / 'qemu'}"])
        return uri

    return start


@pytest.mark.parametrize("kind", ["qemu-nbd", "nbdkit"])
def test_at_a_slow_server(rounds, server, kind):  # noqa: F811
    check(rounds, server(kind, 0.3), 4)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["qemu-nbd", "nbdkit"])
def test_at_a_slow_server_500_times(rounds, server, kind):  # noqa: F811
    check(rounds, server(kind, 0.1), 500)


@pytest.mark.parametrize("kind", ["qemu-nbd", "nbdkit"])
def test_without_the_barrier_a_write_comes_last(rounds, server, kind):  # noqa: F811
    """A read can't: nobody but the process itself moves its data into the guest's memory."""
    done = rounds(server(kind, FOREVER_S), 1, OUTBOARD_WITHOUT_BARRIER="1")
    assert "an old write came last" in done.stderr


@pytest.fixture
def export(machine, spawn, empty_image):  # noqa: F811
    """export(kind, shared): the URI of an empty image, served by qemu-nbd or nbdkit."""

    def start(kind, shared="--shared=0"):
        qemu = ["qemu-nbd", shared, "--persistent", "-f", "raw", empty_image]
        nbdkit = ["nbdkit", "-f", "--filter=delay", "file", empty_image, "wdelay=3ms", "rdelay=1ms"]
        return nbd_server.start(spawn, machine.folder / kind, qemu if kind == "qemu-nbd" else nbdkit)[0]

    return start


@pytest.mark.parametrize("settings", ["", 'spare = "yes"'], ids=["", "spare"])
@pytest.mark.parametrize("kind", ["qemu-nbd", "nbdkit"])
def test_a_disk_is_killed_while_a_guest_uses_it(disk_restarted, export, kind, settings):  # noqa: F811
    done = disk_restarted("storm", 20, export(kind), settings)
    assert done.stdout == "verified True through 20\n", done.stderr
    assert "connection is lost" not in done.stderr


@pytest.mark.long
@pytest.mark.parametrize("kind", ["qemu-nbd", "nbdkit"])
def test_a_disk_is_killed_500_times(disk_restarted, export, kind):  # noqa: F811
    done = disk_restarted("storm", 500, export(kind))
    assert done.stdout == "verified True through 500\n", done.stderr


def test_a_disk_s_process_is_replaced_while_a_guest_uses_it(disk_restarted, machine, export):  # noqa: F811
    done = disk_restarted("upgrades", f"{machine.folder}/control 10", export("qemu-nbd"))
    assert done.stdout == "verified True, upgraded\n", done.stderr
    assert done.stderr.count("another process has taken its place") == 10


def test_a_server_for_one_connection_is_refused(disk_restarted, export):  # noqa: F811
    done = disk_restarted("storm", 1, export("qemu-nbd", "--shared=1"))
    assert done.returncode == 3
    assert "start qemu-nbd with --shared=0" in done.stderr


def test_a_server_that_ends_with_the_disk_is_refused(machine):
    machine.write("""
        [machine]
          program = "/bin/true"
          arguments = "%fd:disk%"
        [device "disk"]
          program = "disk"
          image = "/none.qcow2"
          on-death = "restart"
    """)
    done = machine.run()
    assert done.returncode == 3
    assert "its qemu-nbd ends with 'outboard disk'" in done.stderr


@pytest.mark.parametrize("wire", ["mpqemu", "vfio-user"])
def test_a_virtio_disk_is_killed_while_a_guest_uses_it(kept, export, wire):  # noqa: F811
    check_storm(kept("disk", wire, "blk", 20, "split-event", settings=f'image = "{export("qemu-nbd")}"'), 20)


def test_an_ordinary_user_s_disk_is_killed(spawn):
    """Its server is the user's too."""
    if os.geteuid() != 0:
        pytest.skip("the other tests run as an ordinary user here")
    as_user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        machine = Machine(pathlib.Path(name), spawn)
        image = machine.image()
        with open(image, "r+b") as file:
            file.truncate(8 << 20)
        socket_path = machine.folder / "nbd"
        uri, _ = nbd_server.start(spawn, socket_path, [*as_user, "qemu-nbd", "--shared=0", "--persistent", "-f", "raw", image])
        machine.write(f"""
            [machine]
              program = "{{PYTHON}}"
              arguments = "{DISK_LAB} storm %fd:device% 10"
              control = "{{FOLDER}}/control"
            [device "device"]
              program = "nvme"
              image = "{uri}"
              on-death = "restart"
              restart-limit = "100000"
        """)
        for path in (machine.folder, image, socket_path):
            os.chown(path, NOBODY, NOBODY)
        done = subprocess.run([*as_user, OUTBOARD, "run", machine.file], cwd=machine.folder, capture_output=True, text=True, check=False,
                              env=os.environ | {"PYTHONPATH": LAB_PATH})  # fmt: skip
    assert done.stdout == "verified True through 10\n", done.stderr

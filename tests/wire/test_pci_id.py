# SPDX-License-Identifier: BSD-3-Clause
"""--pci-id: other ids than a device has by itself, over both wires and for its libraries."""
import os
import struct
import subprocess

import migration
import mpqemu
import pytest
import vfio_user
from conftest import PROGRAM
from guestlab import paths
from server import EXERCISE, Server

BACKDOOR = paths.BUILD / "root/bin/backdoor"


@pytest.mark.parametrize("dialect", mpqemu.DIALECTS, ids=str)
def test_over_mpqemu(connect, dialect):
    proxy, _ = connect(dialect, "--pci-id=1b36:BEEF")
    proxy.send(proxy.sysmem())
    assert proxy.config_read(0, 4) == 0xBEEF1B36
    assert proxy.config_read(0x2C, 4) == 0x11001AF4  # the subsystem stays
    proxy.ask(proxy.reset())
    assert proxy.config_read(0, 4) == 0xBEEF1B36


def test_over_vfio_user_for_each_client(tmp_path):
    server = Server(tmp_path, EXERCISE, "--pci-id=1b36:1", wire=None)
    for _ in range(2):
        client = server.client()
        assert struct.unpack("<HH", client.read(vfio_user.CONFIG, 0, 4)) == (0x1B36, 0x0001)
        client.close()
    server.end()


def test_a_state_is_loaded_by_the_same_ids_alone(tmp_path):
    servers = []
    for name, ids in [("source", "1b36:1"), ("same", "1b36:1"), ("other", "1b36:2")]:
        (tmp_path / name).mkdir()
        servers.append(Server(tmp_path / name, EXERCISE, f"--pci-id={ids}"))
    source, same, other = (server.client() for server in servers)
    data = migration.save(source)
    migration.load(same, data)
    with pytest.raises(vfio_user.ServerError):
        migration.load(other, data)
    for server in servers:
        server.end()


@pytest.fixture
def renamed(tmp_path, library):
    server = Server(tmp_path, PROGRAM, f"--library={library}", "--pci-id=1b36:beef")
    yield server
    server.end()


def ask(server, ids):
    environment = {**os.environ, "OUTBOARD_BACKDOOR": str(server.path)}
    environment.pop("OUTBOARD_BACKDOOR_PCI_ID", None)
    if ids:
        environment["OUTBOARD_BACKDOOR_PCI_ID"] = ids
    return subprocess.run([BACKDOOR, "info"], env=environment, capture_output=True, text=True, timeout=vfio_user.PATIENCE_S, check=False)


def test_the_library_finds_a_backdoor_by_other_ids(renamed):
    done = ask(renamed, None)
    assert done.returncode != 0 and "expected a backdoor (1af4:10f0), got 1b36:beef" in done.stderr
    done = ask(renamed, "1b36:beef")
    assert (done.returncode, done.stderr) == (0, "")

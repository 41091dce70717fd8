# SPDX-License-Identifier: BSD-3-Clause
"""The descriptions under share/vfio-user, by which a launcher that knows nothing of Outboard finds and starts a device."""
import json
import os
import socket
import struct
import subprocess

import mpqemu
import pytest
import vfio_user
from guestlab import paths

ROOT = paths.BUILD / "root"
FILES = sorted((ROOT / "share/vfio-user").glob("*"))
DESCRIPTIONS = [json.loads(path.read_text()) for path in FILES]


def output_of(binary, option):
    return subprocess.run([binary, option], capture_output=True, text=True, check=True).stdout


def test_each_device_program_has_one():
    programs = sorted((ROOT / "libexec/outboard").glob("outboard-*"))
    assert programs
    assert [entry["binary"] for entry in DESCRIPTIONS] == [str(path) for path in programs]
    assert [path.name for path in FILES] == [f"50-{path.name}.json" for path in programs]


@pytest.mark.parametrize("entry", DESCRIPTIONS, ids=lambda entry: entry["type"])
def test_the_binary_is_what_it_says(entry):
    """The members are those of QEMU's docs/interop/vhost-user.json, which vfio-user.rst leans on."""
    assert set(entry) == {"description", "type", "binary"}
    assert os.path.isabs(entry["binary"]) and os.access(entry["binary"], os.X_OK)
    capabilities = json.loads(output_of(entry["binary"], "--print-capabilities"))
    assert capabilities["type"] == entry["type"]
    assert "vfio-user" in capabilities["wires"]
    assert output_of(entry["binary"], "--help").splitlines()[1] == entry["description"]


@pytest.fixture
def options(library, tmp_path):
    """{type: the options without which it doesn't start}."""
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(4096))
    images = [f"--image={image}"]
    ends = {"console": [f"--port=a,listen:{tmp_path}/port"], "vsock": ["--guest-cid=3", f"--host-socket={tmp_path}/vsock"]}
    return {"backdoor": [f"--library={library}"], "nvme": images, "block": images, "rng": [], **ends}


@pytest.mark.parametrize("entry", DESCRIPTIONS, ids=lambda entry: entry["type"])
def test_started_as_the_convention_says_it_serves_either_wire(entry, options, spawn):
    """With --fd=N and nothing of ours: the peer's first message tells what it speaks."""
    ours, theirs = socket.socketpair()
    first = spawn([entry["binary"], f"--fd={theirs.fileno()}", *options[entry["type"]]], name="vfio-user", inherit=[theirs])
    client = vfio_user.Client(ours)
    client.negotiate()
    ids = client.read(vfio_user.CONFIG, 0, 4)
    assert ids[:2] == b"\xf4\x1a"
    client.close()
    theirs.close()
    first.wait()  # its paths are free then

    ours, theirs = socket.socketpair()
    spawn([entry["binary"], f"--fd={theirs.fileno()}", *options[entry["type"]]], name="mpqemu", inherit=[theirs])
    with mpqemu.Proxy(ours) as proxy:
        proxy.send(proxy.sysmem())
        assert proxy.config_read(0, 4) == int.from_bytes(ids, "little")


def test_virtio_devices_have_the_same_one_for_vhost_user(options, spawn):
    files = sorted((ROOT / "share/qemu/vhost-user").glob("*"))
    entries = [json.loads(path.read_text()) for path in files]
    offers = [entry for entry in DESCRIPTIONS if "vhost-user" in output_of(entry["binary"], "--print-capabilities")]
    assert entries == offers and {"block", "rng"} <= {entry["type"] for entry in entries}
    for entry in entries:
        ours, theirs = socket.socketpair()
        spawn([entry["binary"], f"--fd={theirs.fileno()}", *options[entry["type"]]], name=entry["type"], inherit=[theirs])
        with ours:
            ours.sendall(struct.pack("<III", 1, 1, 0))  # GET_FEATURES
            request, flags, size, features = struct.unpack("<IIIQ", ours.recv(20, socket.MSG_WAITALL))
            assert (request, flags, size) == (1, 5, 8)
            assert features >> 30 & 1 and features >> 32 & 1  # protocol features, virtio 1

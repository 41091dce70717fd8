# SPDX-License-Identifier: BSD-3-Clause
"""outboard disk: images of every format, each by a qemu-nbd that lives as long as the device."""
import os
import pathlib
import signal
import stat
import subprocess

import pytest
from disklab import OUTBOARD, all_end, children
from driver import IMAGE_LEN, PAGE, SUCCESS, WRITE_PROTECTED, Controller, Disk, pattern

INTERNAL = 0x006


@pytest.fixture
def start(attach_to):
    """start(image option..., options=[...]): a driver.Disk of what outboard disk serves."""

    def start_disk(*images, options=()):
        made = attach_to(OUTBOARD, "disk", *(f"--image={image}" for image in images), *options)
        controller = Controller(made)
        disk = Disk(controller.create_queue())
        disk.controller, disk.process = controller, made.process
        return disk

    return start_disk


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where temporary files of all programs are."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def make(path, *options, kind="qcow2"):
    subprocess.run(["qemu-img", "create", "-q", "-f", kind, *options, path, str(IMAGE_LEN)], check=True)
    return path


def make_encrypted(path, *options, kind):
    """As make(). How fast this machine derives keys is measured first, which can fail while it has more to do."""
    for _ in range(100):
        command = ["qemu-img", "create", "-q", "-f", kind, *options, path, str(IMAGE_LEN)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "Unable to get accurate CPU usage" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr


def content(path, kind="qcow2"):
    """What the disk in an image holds, which nothing else has open."""
    raw = path.with_suffix(".converted")
    subprocess.run(["qemu-img", "convert", "-f", kind, "-O", "raw", path, raw], check=True)
    return raw.read_bytes()


def refusal(*options, status=1, env=None):
    done = subprocess.run(
        [OUTBOARD, "disk", "--fd=0", *options], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env=env,
    )  # fmt: skip
    assert done.returncode == status
    return done.stderr


def test_a_qcow2_just_works(start, tmp_path, scratch):
    """What the guest writes is in the image when all have ended, and nothing else is left."""
    path = make(tmp_path / "disk.qcow2")
    disk = start(path)
    assert disk.write(9000, pattern(0, PAGE)) == SUCCESS
    assert disk.read(9000, PAGE) == pattern(0, PAGE)
    assert disk.read(0, PAGE) == bytes(PAGE)
    assert list(scratch.iterdir()) == []
    with all_end(disk.process):
        assert disk.process.terminate() == 0
    subprocess.run(["qemu-img", "check", "-q", path], check=True)
    assert content(path)[9000 * 512 :][:PAGE] == pattern(0, PAGE)
    assert list(scratch.iterdir()) == []
    assert "qemu-nbd" not in disk.process.log.read_text()


@pytest.mark.parametrize("name, kind", [("d.VMDK", "vmdk"), ("d.vdi", "vdi"), ("d.vhdx", "vhdx"), ("d.qed", "qed"), ("d.vhd", "vpc")])
def test_other_formats_by_their_names(start, tmp_path, name, kind):
    path = make(tmp_path / name, *(["-o", "force_size=on"] if kind == "vpc" else []), kind=kind)
    disk = start(path)
    assert disk.write(16, pattern(0, PAGE)) == SUCCESS
    assert disk.process.terminate() == 0
    assert content(path, kind)[16 * 512 :][:PAGE] == pattern(0, PAGE)


def test_the_socket_is_nobody_elses(start, tmp_path):
    """It has no name, and had mode 0600; the device has it, and the launcher no socket at all."""
    disk = start(make(tmp_path / "disk.qcow2"))
    [device] = children(disk.process)["outboard-nvme"]
    names = [entry for entry in pathlib.Path(f"/proc/{device}/fd").iterdir() if os.readlink(entry).endswith("/nbd (deleted)")]
    assert [stat.S_IMODE(name.stat().st_mode) for name in names] == [0o600]
    links = [os.readlink(entry) for entry in pathlib.Path(f"/proc/{disk.process.pid}/fd").iterdir()]
    assert not any(link.startswith("socket:") or link.endswith("/nbd (deleted)") for link in links), links


def test_nothing_of_ours_becomes_standard_error(tmp_path):
    """If that is closed, the socket's name would become it, and qemu-nbd's or the device's log something else's content."""
    path = make(tmp_path / "disk.qcow2")
    before = path.read_bytes()
    bad = tmp_path / "bad.qcow2"
    bad.write_bytes(bytes(PAGE))
    for image in (path, bad):
        command = ["sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh", OUTBOARD, "disk", "--fd=99", f"--image={image}"]
        assert subprocess.run(command, check=False).returncode == 1
    assert (path.read_bytes(), bad.read_bytes()) == (before, bytes(PAGE))


def test_a_name_says_the_format_never_the_content(start, machine, image, tmp_path):
    """A guest could make its raw image a qcow2 whose backing file is any of the host's."""
    path = make(tmp_path / "cloud.img")
    said = refusal(f"--image={path}")
    assert "got a qcow2 image, expected a raw one" in said and "'outboard disk' with ,format=qcow2" in said
    assert start(f"{path},format=qcow2").read(0, PAGE) == bytes(PAGE)
    disk = start(image)
    assert disk.read(0, PAGE) == pattern(0, PAGE)
    assert list(children(disk.process)) == ["outboard-nvme"]
    assert disk.process.terminate() == 0
    disk = start(f"{image},nbd")
    assert disk.read(0, PAGE) == pattern(0, PAGE)
    assert sorted(children(disk.process)) == ["outboard-nvme", "qemu-nbd"]


def test_images_of_several_kinds(start, image, tmp_path):
    """With the properties and identities that they have without a server; commas and colons in names are their own."""
    path = make(tmp_path / "a:b,c%20 ?#\u00fc.qcow2")
    named = str(path).replace(",", ",,")
    disk = start(image, f"{named},readonly,block-size=4096,serial=x,,y", f"{make(tmp_path / 'c.vdi', kind='vdi')}")
    nvme = disk.controller
    assert disk.read(0, PAGE) == pattern(0, PAGE)
    assert Disk(disk.queue, nsid=2).write(0, bytes(PAGE)) == WRITE_PROTECTED
    assert nvme.identify(0, 2)[130] == 12
    assert Disk(disk.queue, nsid=3).write(0, pattern(0, PAGE)) == SUCCESS
    assert len({nvme.identify(3, nsid)[4:20] for nsid in (1, 2, 3)}) == 3
    identities = [nvme.identify(1)[4:24], nvme.identify(3, 1)]
    assert disk.process.terminate() == 0
    disk = start(f"{image},nbd")
    assert [disk.controller.identify(1)[4:24], disk.controller.identify(3, 1)] == identities


def test_a_snapshot_is_forgotten(start, image):
    before = image.read_bytes()
    disk = start(f"{image},snapshot")
    assert disk.write(0, bytes(PAGE)) == disk.flush() == SUCCESS
    assert disk.read(0, PAGE) == bytes(PAGE)
    assert disk.process.terminate() == 0
    assert image.read_bytes() == before


@pytest.mark.parametrize("name, options", [
    ("disk.luks", ["-o", "key-secret=key,iter-time=10"]),
    ("disk.qcow2", ["-o", "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10"]),
])  # fmt: skip
def test_an_encrypted_image(start, tmp_path, name, options):
    key, path = tmp_path / "the,key", tmp_path / name
    key.write_text("a secret")
    quoted = str(key).replace(",", ",,")
    make_encrypted(path, "--object", f"secret,id=key,file={quoted}", *options, kind=name.split(".")[1])
    for data in (pattern(0, PAGE), pattern(PAGE, PAGE)):
        disk = start(f"{path},key-file={quoted}")
        assert disk.write(16, data) == SUCCESS
        assert disk.read(16, PAGE) == data
        assert disk.process.terminate() == 0
        assert data not in path.read_bytes()
    key.write_text("another")
    assert "qemu-nbd does not serve" in refusal(f"--image={path},key-file={quoted}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_each_signal_ends_all(start, tmp_path, number):
    """In order: the device's last words are served."""
    path = make(tmp_path / "disk.qcow2")
    disk = start(path)
    assert disk.write(0, pattern(0, PAGE)) == SUCCESS
    with all_end(disk.process):
        disk.process.signal(number)
        assert disk.process.wait() == 0
    assert content(path)[:PAGE] == pattern(0, PAGE)


def test_the_device_ends_with_its_peer_and_all_with_it(start, tmp_path):
    disk = start(make(tmp_path / "disk.qcow2"))
    with all_end(disk.process):
        disk.controller.machine.proxy.sock.close()
        assert disk.process.wait() == 0


def test_a_server_that_dies_ends_the_disk(start, tmp_path):
    disk = start(make(tmp_path / "one.qcow2"), make(tmp_path / "two.qcow2"))
    with all_end(disk.process):
        os.kill(children(disk.process)["qemu-nbd"][1], signal.SIGKILL)
        assert disk.process.wait() == 1
    assert f"the qemu-nbd of {tmp_path}/two.qcow2 has ended" in disk.process.log.read_text()


def test_a_device_that_dies_ends_the_servers(start, tmp_path):
    path = make(tmp_path / "disk.qcow2")
    disk = start(path)
    assert disk.write(0, pattern(0, PAGE)) == disk.flush() == SUCCESS
    with all_end(disk.process):
        os.kill(children(disk.process)["outboard-nvme"][0], signal.SIGKILL)
        assert disk.process.wait() == 128 + signal.SIGKILL
    assert content(path)[:PAGE] == pattern(0, PAGE)


def test_a_launcher_that_is_killed_leaves_nothing(start, tmp_path, scratch):
    path = make(tmp_path / "disk.qcow2")
    disk = start(path)
    assert disk.write(0, pattern(0, PAGE)) == SUCCESS
    with all_end(disk.process):
        disk.process.kill()
    subprocess.run(["qemu-img", "check", "-q", path], check=True)
    assert content(path)[:PAGE] == pattern(0, PAGE)
    assert list(scratch.iterdir()) == []


def test_a_server_that_pauses_is_a_pause(start, tmp_path):
    """The device gives the connection up and makes another to the same server, which is still there."""
    disk = start(make(tmp_path / "disk.qcow2"), options=["--timeout-ms=100"])
    [server] = children(disk.process)["qemu-nbd"]
    assert disk.write(0, pattern(0, PAGE)) == disk.flush() == SUCCESS
    page = disk.machine.pages(1)
    os.kill(server, signal.SIGSTOP)
    assert disk.run(0x02, 0, page, PAGE) == INTERNAL
    os.kill(server, signal.SIGCONT)
    for _ in range(1000):  # each try waits for the connection, and fails with the time-out at worst
        if disk.run(0x02, 0, page, PAGE) == SUCCESS:
            break
    assert disk.machine.read(page, PAGE) == pattern(0, PAGE)
    assert "image nbd+unix:///disk.qcow2?socket=" in disk.process.log.read_text()


def test_what_can_not_be_served(image, tmp_path, scratch):
    """One reason, and nothing left."""
    bad = tmp_path / "bad.qcow2"
    bad.write_bytes(bytes(PAGE))
    cases = {
        f"{tmp_path}/absent.qcow2": "No such file",
        bad: "qemu-nbd does not serve",
        f"{image},format=qcow3": "format=: got 'qcow3', expected raw",
        f"{image},sparse": "property: got 'sparse', expected readonly",
    }
    for option, reason in cases.items():
        status = 2 if "," in str(option) else 1
        assert reason in refusal(f"--image={option}", status=status)
    two = (make(tmp_path / "a.qcow2"), make(tmp_path / "b.qcow2"))
    assert "both have the serial number" in refusal(*(f"--image={path},serial=VM1" for path in two))
    assert "another process uses the image" in refusal(f"--image={image},readonly", f"--image={image},serial=X")
    assert "can't start qemu-nbd" in refusal(f"--image={two[0]}", env=os.environ | {"PATH": str(tmp_path)})
    assert "TMPDIR: the path is too long" in refusal(f"--image={two[0]}", env=os.environ | {"TMPDIR": "/tmp/" + "x" * 100})
    assert "can't make a folder" in refusal(f"--image={two[0]}", env=os.environ | {"TMPDIR": f"{tmp_path}/absent"})
    assert list(scratch.iterdir()) == []


def test_help():
    done = subprocess.run([OUTBOARD, "disk", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: outboard disk") and "snapshot" in done.stdout

# SPDX-License-Identifier: BSD-3-Clause
"""outboard disk where qemu-nbd is not installed: qemu-storage-daemon serves the images."""
import os
import pathlib
import shutil
import signal
import subprocess

import pytest
from disklab import OUTBOARD, all_end, children
from driver import PAGE, SUCCESS, WRITE_PROTECTED, Controller, Disk, pattern
from test_disk import content, make

DAEMON = "qemu-storage-daemon"


@pytest.fixture
def start(attach_to, tmp_path, monkeypatch):
    """start(image option): a driver.Disk of outboard disk. Of QEMU's tools PATH has the storage daemon alone."""
    found = shutil.which(DAEMON)
    if not found:
        pytest.skip("qemu-storage-daemon, of Debian's package qemu-system-common, is not installed")

    def start_disk(image):
        programs = tmp_path / "programs"
        programs.mkdir(exist_ok=True)
        (programs / DAEMON).symlink_to(found)
        (programs / "setpriv").symlink_to(shutil.which("setpriv"))  # with which the test starts a program
        with monkeypatch.context() as environment:
            environment.setenv("PATH", str(programs))
            made = attach_to(OUTBOARD, "disk", f"--image={image}")
        disk = Disk(Controller(made).create_queue())
        disk.process = made.process
        return disk

    return start_disk


def daemon(process):
    [pid] = children(process)[DAEMON[:15]]
    return pid


@pytest.mark.parametrize("name", ["disk.qcow2", "a,disk.qcow2"])
def test_a_qcow2_image_is_served(start, tmp_path, name):
    image = make(tmp_path / name)
    disk = start(str(image).replace(",", ",,"))
    assert disk.write(9000, pattern(1, PAGE)) == SUCCESS
    assert disk.read(9000, PAGE) == pattern(1, PAGE)
    with all_end(disk.process):
        assert disk.process.terminate() == 0
    assert content(image)[9000 * 512 :][:PAGE] == pattern(1, PAGE)


def test_a_read_only_image_is_not_written(start, tmp_path):
    disk = start(f"{make(tmp_path / 'disk.qcow2')},readonly")
    assert disk.write(0, pattern(1, PAGE)) == WRITE_PROTECTED
    assert disk.read(0, PAGE) == bytes(PAGE)


def test_it_is_in_a_cell(start, tmp_path):
    disk = start(make(tmp_path / "disk.qcow2"))
    status = pathlib.Path(f"/proc/{daemon(disk.process)}/status").read_text()
    found = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == 0
    assert found["NoNewPrivs"] == "1"
    assert found["Seccomp"] == "2"


def test_its_death_ends_the_disk(start, tmp_path):
    disk = start(make(tmp_path / "disk.qcow2"))
    with all_end(disk.process):
        os.kill(daemon(disk.process), signal.SIGKILL)


@pytest.mark.parametrize("name", ["snapshot", "key-file"])
def test_some_images_need_qemu_nbd(tmp_path, name):
    image = make(tmp_path / "disk.qcow2")
    (tmp_path / "key").write_text("secret")
    value = f"{name}={tmp_path}/key" if name == "key-file" else name
    command = [OUTBOARD, "disk", "--fd=0", f"--image={image},{value}"]
    environment = os.environ | {"PATH": str(tmp_path)}
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode != 0
    assert f"{name}: qemu-nbd is not installed; install Debian's package qemu-utils" in done.stderr

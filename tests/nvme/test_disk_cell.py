# SPDX-License-Identifier: BSD-3-Clause
"""The qemu-nbd of outboard disk is in a cell of its own."""
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

import pytest
from disklab import OUTBOARD, children
from driver import IMAGE_LEN, PAGE, SUCCESS, Controller, Disk, pattern
from test_disk import make

NOBODY = 65534
DEEDS = """#!/usr/bin/python3
import ctypes, os, socket, sys
def attempt(name, deed):
    try:
        deed()
        print(f"deed {name}: done", file=sys.stderr)
    except OSError as error:
        print(f"deed {name}: refused", file=sys.stderr)
def call(*words):
    if ctypes.CDLL(None, use_errno=True).syscall(*words) < 0:
        raise OSError(ctypes.get_errno(), "")
def connect():
    with socket.create_connection(("127.0.0.1", int(os.environ["DEED_PORT"]))):
        pass
attempt("image", lambda: open(os.environ["DEED_IMAGE"], "r+b").close())
attempt("secret", lambda: open(os.environ["DEED_SECRET"]).close())
attempt("new-file", lambda: open(os.environ["DEED_IMAGE"] + ".new", "w").close())
attempt("connect", connect)
attempt("unshare", lambda: call(272, 0x10000000))
attempt("ring", lambda: call(425, 1, None))
attempt("parent", lambda: open(f"/proc/{os.getppid()}/environ").close())
sys.exit(1)
"""


def lacks_namespaces():
    done = subprocess.run(["unshare", "-Urmn", "true"], capture_output=True, check=False)
    return "user namespaces can't be had here" if done.returncode else None


@pytest.fixture(autouse=True)
def needs_namespaces():
    reason = lacks_namespaces()
    if reason:
        pytest.skip(reason)


@pytest.fixture
def serve(attach_to):
    def start(option):
        made = attach_to(OUTBOARD, "disk", f"--image={option}")
        return Disk(Controller(made).create_queue()), made.process

    return start


def server(process):
    return children(process)["qemu-nbd"][0]


def status(pid):
    return dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def test_the_parts_of_the_cell(serve, tmp_path):
    disk, process = serve(make(tmp_path / "disk.qcow2"))
    assert disk.write(0, pattern(0, PAGE)) == SUCCESS
    pid = server(process)
    found = status(pid)
    assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == int(found["CapBnd"], 16) == 0
    assert found["NoNewPrivs"] == "1"
    assert found["Seccomp"] == "2"
    for kind in ("user", "net", "mnt", "ipc", "uts"):
        assert os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")


def test_deeds_of_a_server_that_was_taken_over(tmp_path, listening_port, secret):
    """In its place there is a program that tries them."""
    image = make(tmp_path / "disk.qcow2")
    folder = tmp_path / "bin"
    folder.mkdir()
    fake = folder / "qemu-nbd"
    fake.write_text(DEEDS)
    fake.chmod(0o755)
    done = subprocess.run(
        [OUTBOARD, "disk", "--fd=0", f"--image={image}"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "DEED_IMAGE": str(image), "DEED_SECRET": str(secret),
                          "DEED_PORT": str(listening_port)},
    )  # fmt: skip
    deeds = [line.split("deed ", 1)[1] for line in done.stderr.splitlines() if "deed " in line]
    refused = ["secret", "new-file", "connect", "unshare", "ring", "parent"]
    assert deeds == ["image: done", *(f"{name}: refused" for name in refused)], done.stderr


@pytest.fixture
def secret(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    path = folder / "secret"
    path.write_text("secret")
    return path


@pytest.fixture
def listening_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize("relative", [False, True])
def test_backing_files_in_other_folders(serve, tmp_path, relative):
    for name in ("images", "bases"):
        (tmp_path / name).mkdir()
    base = tmp_path / "bases/base.img"
    base.write_bytes(pattern(0, IMAGE_LEN))
    middle = tmp_path / "bases/middle.qcow2"
    make(middle, "-F", "raw", "-b", base)
    top = tmp_path / "images/top.qcow2"
    make(top, "-F", "qcow2", "-b", "../bases/middle.qcow2" if relative else middle)
    disk, _ = serve(top)
    assert disk.read(0, PAGE) == pattern(0, PAGE)
    assert disk.write(0, pattern(PAGE, PAGE)) == SUCCESS


def as_user(path, user):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    os.chown(path, user, user)


@pytest.fixture
def open_folder():
    """A folder that all users can reach."""
    path = pathlib.Path(tempfile.mkdtemp(dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_root_s_server_is_the_image_s_owner(serve, open_folder):
    image = make(open_folder / "disk.qcow2")
    image.chmod(0o600)
    as_user(image, NOBODY)
    disk, process = serve(image)
    assert disk.write(0, pattern(0, PAGE)) == SUCCESS
    assert status(server(process))["Uid"].split() == [str(NOBODY)] * 4


def test_an_image_that_its_owner_can_t_reach(open_folder):
    open_folder.chmod(0o700)
    image = make(open_folder / "disk.qcow2")
    as_user(image, NOBODY)
    done = subprocess.run(
        [OUTBOARD, "disk", "--fd=0", f"--image={image}"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"qemu-nbd can't open it in its cell as user {NOBODY}" in done.stderr


def test_an_ordinary_user(open_folder):
    """The program serves until its peer goes, which happens at once."""
    if os.geteuid() != 0:
        pytest.skip("the other tests run as an ordinary user here")
    image = make(open_folder / "disk.qcow2")
    os.chown(image, NOBODY, NOBODY)
    ours, theirs = socket.socketpair()
    ours.close()
    done = subprocess.run(
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", OUTBOARD, "disk", f"--fd={theirs.fileno()}",
         f"--image={image}"],
        pass_fds=[theirs.fileno()], capture_output=True, text=True, check=False,
    )  # fmt: skip
    theirs.close()
    assert done.returncode == 0, done.stderr
    assert "lacks a part" not in done.stderr

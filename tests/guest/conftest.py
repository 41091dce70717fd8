# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of the backdoor share: compiled programs, device processes, and the three worlds.

A world is a place in which the same guest program runs: a guest of QEMU, where the backdoor is a PCI device;
a plain process; and a process under qemu-x86_64.
"""
import os
import pathlib
import socket
import subprocess

import pytest
from guestlab import paths
from guestlab.shell import Result

ROOT = paths.BUILD / "root"
DEVICE = ROOT / "libexec/outboard/outboard-backdoor"
TOOL = ROOT / "bin/backdoor"
PROGRAMS = pathlib.Path(__file__).with_name("programs")
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"]


def run(*argv, **options):
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, **options)


def pkg_config(*arguments):
    """As a user of the installed tree would call it."""
    done = run("pkg-config", *arguments, env=os.environ | {"PKG_CONFIG_PATH": str(ROOT / "lib/pkgconfig")})
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def build(output, *arguments, compiler="gcc"):
    done = run(compiler, *WARNINGS, "-o", output, *arguments)
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """A folder with everything in programs/, compiled; the names that end in -32 are 32-bit programs."""
    folder = tmp_path_factory.mktemp("programs")
    include = f"-I{ROOT}/include"
    for library in ("recorder", "old_names"):
        build(folder / f"{library}.so", PROGRAMS / f"{library}.c", include, "-shared", "-fPIC")
    build(folder / "linked", PROGRAMS / "linked.c", *pkg_config("--cflags", "--libs", "--static", "outboard-backdoor"),
          f"-Wl,-rpath,{ROOT}/lib")  # fmt: skip
    sources = [*(paths.TREE / "guest/libbackdoor").glob("*.c"), paths.TREE / "src/base/fault.c", f"-I{paths.TREE}/src"]
    definitions = ["-static", "-O2", "-D_GNU_SOURCE", '-DOUTBOARD_VERSION="32-bit"', include]
    build(folder / "access", PROGRAMS / "access.c", *definitions)
    build(folder / "threads", PROGRAMS / "threads.c", *definitions, f"-L{ROOT}/lib", "-lbackdoor")
    build(folder / "access-32", "-m32", PROGRAMS / "access.c", *definitions)
    build(folder / "threads-32", "-m32", PROGRAMS / "threads.c", *definitions, *sources)
    build(folder / "backdoor-32", "-m32", *(paths.TREE / "guest/backdoor").glob("*.c"), *definitions, *sources)
    return folder


@pytest.fixture(scope="session")
def guest_programs(programs):
    """The programs that every guest of these tests gets."""
    names = ("access", "threads", "access-32", "threads-32", "backdoor-32")
    return [TOOL, *(programs / name for name in names)]


class Recorded:
    """A device process with programs/recorder.c inside, and what that told."""

    def __init__(self, process):
        self.process = process

    @property
    def lines(self):
        return [line for line in self.process.log.read_text().splitlines() if " VMM has " not in line]

    @property
    def commands(self):
        """The commands that have reached the host's code, in their order."""
        return [int(line.split()[1], 16) for line in self.lines if line.startswith("command ")]


@pytest.fixture
def device(spawn, programs):
    """device(*options): a Recorded, and the socket at which it awaits a VMM."""

    def start(*options, name="outboard-backdoor"):
        ours, theirs = socket.socketpair()
        arguments = [f"--fd={ours.fileno()}", f"--library={programs}/recorder.so", *options]
        return Recorded(spawn([DEVICE, *arguments], name=name, inherit=[ours])), theirs

    return start


def proxy(sock, name="backdoor"):
    """QEMU's arguments for a device behind a socket, as options of boot()."""
    return {"arguments": ["-device", f"x-pci-proxy-dev,id={name},fd={sock.fileno()}"], "inherit": [sock]}


@pytest.fixture
def backdoor_guest(boot, device, guest_programs):
    """backdoor_guest(*options of the device): a guest with a backdoor, and its Recorded."""

    def start(*options, **guest_options):
        recorded, sock = device(*options)
        # Two processors, so that threads can really collide.
        return boot(programs=guest_programs, cpus=2, **proxy(sock), **guest_options), recorded

    return start


@pytest.fixture
def serve(spawn, tmp_path, notifications):
    """serve(argv): a device program that listens at the socket of the path `serve.socket`."""

    def start(*argv):
        process = spawn([*argv, "--wire=vfio-user", f"--socket-path={start.socket}"],
                        env={"NOTIFY_SOCKET": notifications.path})  # fmt: skip
        notifications.wait("READY=1")
        return process

    start.socket = tmp_path / "backdoor.sock"
    return start


class Notifications:
    """The launcher's end of the notify protocol: sd_notify(3)."""

    def __init__(self, path):
        self.path = str(path)
        self.received = []
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(self.path)
        self._sock.settimeout(30)

    def wait(self, assignment):
        """Waits for a message with a line that begins so."""
        while True:
            lines = self._sock.recv(4096).decode().splitlines()
            self.received += lines
            if any(line.startswith(assignment) for line in lines):
                return

    def close(self):
        self._sock.close()


@pytest.fixture
def notifications(tmp_path, cleanup):
    receiver = Notifications(tmp_path / "notify.sock")
    cleanup.callback(receiver.close)
    return receiver


class ProcessWorld:
    """Runs the commands on this machine, with wrappers in front of the programs."""

    def __init__(self, folder, programs, sock, emulator=()):
        self.environment = os.environ | {"PATH": f"{folder}:/usr/bin:/bin", "OUTBOARD_BACKDOOR": str(sock)}
        for program in programs:
            wrapper = folder / program.name
            wrapper.write_text(f'#!/bin/sh\nexec {" ".join(emulator)} {program} "$@"\n')
            wrapper.chmod(0o755)

    def attempt(self, script):
        done = subprocess.run(["sh", "-c", script], env=self.environment, capture_output=True, timeout=60, check=False)
        return Result(done.returncode, (done.stdout + done.stderr).decode(errors="replace"))

    def run(self, script):
        result = self.attempt(script)
        assert result.status == 0, result.output
        return result.output


@pytest.fixture(params=["guest", "process", "qemu-x86_64"])
def world(request, programs, tmp_path):
    """A world, something that runs scripts as Guest does, and the Recorded behind its backdoor."""

    def enter(*options):
        if request.param == "guest":
            return request.getfixturevalue("backdoor_guest")(*options)
        process = request.getfixturevalue("serve")(DEVICE, f"--library={programs}/recorder.so", *options)
        emulator = () if request.param == "process" else (request.param,)
        folder = tmp_path / "bin"
        folder.mkdir()
        tools = [TOOL, programs / "threads"]
        return ProcessWorld(folder, tools, tmp_path / "backdoor.sock", emulator), Recorded(process)

    return enter

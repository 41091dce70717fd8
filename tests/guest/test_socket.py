# SPDX-License-Identifier: BSD-3-Clause
"""Without a virtual machine: what libbackdoor says when the socket leads nowhere or to somebody else."""
import ctypes
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import tempfile

import pytest

from .conftest import DEVICE, ROOT, TOOL, build, pkg_config, run

NO_BACKDOOR = 3
PATIENCE_S = 30
# VERSION 0.0 of vfio-user, without a word about capabilities.
GREETING = struct.pack("<HHIIIHH", 1, 1, 20, 0, 0, 0, 0)


def backdoor(*arguments, path=None, prefix=()):
    environment = {"PATH": "/usr/bin:/bin"} | ({} if path is None else {"OUTBOARD_BACKDOOR": str(path)})
    return run(*prefix, TOOL, *arguments, env=environment)


def refused(path, prefix=()):
    """What the tool says when it can't open the backdoor."""
    done = backdoor("info", path=path, prefix=prefix)
    assert (done.returncode, done.stdout) == (NO_BACKDOOR, "")
    assert done.stderr.startswith("backdoor: ") and done.stderr.count("\n") == 1
    return done.stderr


@pytest.fixture
def server(serve, programs):
    return serve(DEVICE, f"--library={programs}/recorder.so")


@pytest.fixture
def listener(tmp_path):
    """Somebody who listens and never accepts."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "listener.sock"))
        sock.listen(1)
        yield sock


def test_nothing_named_and_no_device():
    for path in (None, ""):
        assert "found no PCI device 1af4:10f0, and OUTBOARD_BACKDOOR is not set; add the device" in refused(path)


def test_socket_that_is_not_there(tmp_path):
    said = refused(tmp_path / "absent")
    assert f"OUTBOARD_BACKDOOR names {tmp_path}/absent, which does not exist; start outboard-backdoor" in said


def test_socket_that_nobody_listens_at(tmp_path):
    path = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
    assert f"no process listens at the backdoor's socket {path}; start outboard-backdoor" in refused(path)


def test_path_that_is_too_long():
    assert "got a path of 108 bytes, expected at most 107" in refused("/" + "x" * 107)


def test_no_permission(listener):
    path = listener.getsockname()
    os.chmod(path, 0)
    without_privilege = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"] if os.getuid() == 0 else []
    said = refused(path, without_privilege)
    assert f"no permission for the backdoor's socket {path}; run this as its owner" in said


def test_server_that_serves_somebody_else(server, serve):
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(serve.socket))
        other.sendall(GREETING)
        assert other.recv(4096)
        assert "is not free within 5 s; it serves one program at a time: end the other one" in refused(serve.socket)
    assert backdoor("info", path=serve.socket).returncode == 0


def test_programs_wait_for_their_turn(server, serve):
    """The second one comes while the first is served, and is served when that has gone."""
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(serve.socket))
        other.sendall(GREETING)
        assert other.recv(4096)
        environment = {"PATH": "/usr/bin:/bin", "OUTBOARD_BACKDOOR": str(serve.socket)}
        second = subprocess.Popen([TOOL, "info"], env=environment, stdout=subprocess.DEVNULL)
        while "is busy" not in server.log.read_text():
            assert second.poll() is None
    assert second.wait(PATIENCE_S) == 0


def test_one_that_connects_and_says_nothing_holds_nobody_up(server, serve):
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(serve.socket))
        assert backdoor("info", path=serve.socket).returncode == 0


def test_server_that_speaks_something_else(listener):
    path = listener.getsockname()
    client = subprocess.Popen([TOOL, "info"], env={"OUTBOARD_BACKDOOR": path}, stderr=subprocess.PIPE, text=True)
    with client, listener.accept()[0] as peer:
        peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        said = client.communicate(timeout=30)[1]
    assert client.returncode == NO_BACKDOOR
    assert f"the listener at {path} is not a vfio-user server: its message is not the reply to ours" in said


def test_server_of_another_device(serve, tmp_path):
    led = build(tmp_path / "led", ROOT / "share/outboard/examples/led.c",
                *pkg_config("--cflags", "--libs", "outboard"), f"-Wl,-rpath,{ROOT}/lib")  # fmt: skip
    serve(led)
    assert "expected a backdoor (1af4:10f0), got 1af4:10f2" in refused(serve.socket)


def test_server_is_there_for_the_next_program_after_one_was_killed(server, serve):
    client = subprocess.Popen([TOOL, "write", "0"], env={"OUTBOARD_BACKDOOR": str(serve.socket)}, stdin=subprocess.PIPE)
    with client:
        client.kill()
    assert backdoor("info", path=serve.socket).returncode == 0


class Fault(ctypes.Structure):
    """struct ob_fault"""

    _fields_ = [("code", ctypes.c_int), ("text", ctypes.c_char * 256)]


class Library:
    """The shared library, in this very process: whatever kills it kills the test."""

    def __init__(self, path):
        self.calls = ctypes.CDLL(str(ROOT / "lib/libbackdoor.so"))
        self.calls.ob_backdoor_data.restype = ctypes.c_void_p
        self.handle = ctypes.c_void_p()
        self.fault = Fault()
        os.environ["OUTBOARD_BACKDOOR"] = str(path)
        try:
            self.error = self.calls.ob_backdoor_open(ctypes.byref(self.handle), ctypes.byref(self.fault))
        finally:
            del os.environ["OUTBOARD_BACKDOOR"]

    def call(self, command):
        self.fault = Fault()
        return self.calls.ob_backdoor_call(self.handle, ctypes.c_uint64(command), ctypes.byref(self.fault))

    def data(self, size):
        return (ctypes.c_uint8 * size).from_address(self.calls.ob_backdoor_data(self.handle))

    def close(self):
        self.calls.ob_backdoor_close(self.handle)


def test_server_that_is_killed_between_calls(server, serve):
    library = Library(serve.socket)
    assert (library.error, library.call(1)) == (0, 0)
    server.kill()
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # which would kill this process
    try:
        for _ in range(3):
            assert library.call(2) == -107  # ENOTCONN
            assert b"has ended; start it again" in library.fault.text
    finally:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    library.data(4096)[4095] = 1  # is still there
    library.close()


def test_data_channel_is_shared_memory(server, serve):
    library = Library(serve.socket)
    assert library.call(0xF111) == 0
    assert bytes(library.data(4096)) == bytes((i * 7 + i // 251) & 0xFF for i in range(4096))
    library.close()


def test_library_leaves_nothing_behind(server, serve):
    def belongings():
        with open("/proc/self/maps", encoding="ascii") as maps:
            return len(os.listdir("/proc/self/fd")), sum("outboard-bar" in line for line in maps)

    before = belongings()
    for _ in range(50):
        library = Library(serve.socket)
        assert (library.error, library.call(1)) == (0, 0)
        library.close()
    assert belongings() == before


@pytest.fixture
def set_user_id():
    """A copy of the tool that is root's for whoever starts it, in a folder that everybody may use."""
    if os.getuid() != 0:
        pytest.skip("only root can make a set-user-ID program of root's")
    with tempfile.TemporaryDirectory(prefix="outboard-") as name:
        folder = pathlib.Path(name)
        if os.statvfs(folder).f_flag & os.ST_NOSUID:
            pytest.skip(f"the file system of {folder} has no set-user-ID programs")
        folder.chmod(0o777)
        shutil.copy(TOOL, folder / "backdoor")
        (folder / "backdoor").chmod(0o4755)
        yield folder


def test_who_starts_a_set_user_id_program_does_not_choose_its_host(set_user_id):
    """As for LD_PRELOAD: the environment is that of a user who has fewer rights."""
    path = set_user_id / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o777)
        listener.listen()
        listener.setblocking(False)
        run(set_user_id / "backdoor", "info", env={"OUTBOARD_BACKDOOR": str(path)}, user=65534, group=65534,
            extra_groups=[])  # fmt: skip
        with pytest.raises(BlockingIOError):
            listener.accept()
        with subprocess.Popen([TOOL, "info"], env={"OUTBOARD_BACKDOOR": str(path)}, stderr=subprocess.DEVNULL) as tool:
            listener.setblocking(True)
            listener.settimeout(PATIENCE_S)
            listener.accept()[0].close()  # who has no more rights than its user is asked to
            assert tool.wait() == NO_BACKDOOR

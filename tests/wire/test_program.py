# SPDX-License-Identifier: BSD-3-Clause
"""outboard-backdoor as a program: command line, launchers, its end."""
import contextlib
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import tempfile

import mpqemu
import pytest
import vfio_user
from conftest import CONTROL, PROGRAM

ENDED = "outboard-backdoor: the peer has gone, ending"
STOPPED = "outboard-backdoor: asked to stop, ending"


def run(*words):
    return subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=mpqemu.PATIENCE_S, check=False)


def test_capabilities_are_json():
    done = run("--print-capabilities")
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said["type"] == "backdoor"
    assert "mpqemu" in said["wires"]
    assert said["features"] == ["dma-messages"]


def test_help_names_every_option():
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for option in ["fd=N", "socket-path=PATH", "wire=", "poll-us=N", "dma=HOW", "label=LABEL", "library=PATH", "pages=N", "help", "version"]:
        assert f"--{option}" in done.stdout


def test_version_is_one_line():
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("outboard-backdoor ") and done.stdout.count("\n") == 1


MISTAKES = {
    "nothing": ([], 2, "--fd=N"),
    "both": (["--fd=0", "--socket-path=x"], 2, "not both"),
    "unknown option": (["--fd=0", "--frob"], 2, "got '--frob', expected an option"),
    "word": (["word"], 2, "got 'word', expected an option"),
    "no value": (["--pages"], 2, "got '--pages', which needs a value"),
    "pages 0": (["--pages=0"], 2, "--pages: got '0', expected a number from 1 to 255"),
    "pages 256": (["--pages=256"], 2, "--pages: got '256'"),
    "wire": (["--wire=smoke"], 2, "--wire: got 'smoke', expected mpqemu, vfio-user or vhost-user"),
    "poll": (["--poll-us=x"], 2, "--poll-us: got 'x', expected a number"),
    "dma": (["--dma=mail"], 2, "--dma: got 'mail', expected shared or messages"),
    "no label": (["--fd=0", "--label="], 2, "--label: got 0 bytes, expected 1 to 1024"),
    "unknown label": (["--fd=0", "--label=there-is-no-such-profile"], 2, "--label=there-is-no-such-profile: got '"),
    "dma by what": (["--fd=0", "--wire=mpqemu", "--dma=messages"], 2, "--dma=messages: got wire mpqemu, expected vfio-user"),
    "no library": (["--fd=0"], 1, "--library=PATH"),
    "library missing": (["--fd=0", "--library=/no/such.so"], 1, "/no/such.so"),
    "library without function": (["--fd=0", "--library=libm.so.6"], 1, "found no function 'backdoor'"),
}


@pytest.mark.parametrize("case", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told_in_one_line(case):
    words, status, says = case
    done = run(*words)
    assert done.returncode == status
    assert done.stdout == ""
    assert done.stderr.startswith("outboard-backdoor: ") and done.stderr.count("\n") == 1
    assert says in done.stderr


def test_descriptors_that_are_no_socket(start):
    for kind in [socket.SOCK_DGRAM, socket.SOCK_STREAM]:
        lonely = socket.socket(socket.AF_UNIX, kind)
        number = lonely.fileno()
        status, lines = start(f"--fd={number}", inherit=[lonely]).end()
        assert status == 1
        assert len(lines) == 1 and f"--fd={number} is not a connected stream socket" in lines[0]
    status, lines = start("--fd=999").end()
    assert status == 1 and "--fd=999" in lines[0]


@pytest.fixture
def folder():
    """A folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="outboard-") as path:
        yield pathlib.Path(path)


@contextlib.contextmanager
def launcher(name):
    """What systemd is to a service: a socket that hears its notifications; yields a function that waits for the next."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        sock.settimeout(mpqemu.PATIENCE_S)
        yield lambda: dict(line.split("=", 1) for line in sock.recv(4096).decode().split("\n"))


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_a_launcher_is_notified(connect, folder, abstract):
    name = f"@outboard-test-{os.getpid()}" if abstract else str(folder / "notify")
    with launcher(name) as heard:
        proxy, device = connect(env={"NOTIFY_SOCKET": name})
        assert heard() == {"READY": "1", "X_OUTBOARD_CLIENT": "1", "STATUS": "serving"}
        proxy.sock.close()
        assert heard() == {"STOPPING": "1", "STATUS": "ended"}
        assert device.end() == (0, [ENDED])


def test_a_launcher_hears_what_went_wrong(connect, folder):
    name = str(folder / "notify")
    with launcher(name) as heard:
        proxy, device = connect(env={"NOTIFY_SOCKET": name})
        assert heard()["READY"] == "1"
        proxy.send(proxy.message(7))
        ending = heard()
        assert ending["STOPPING"] == "1" and "SYNC_SYSMEM" in ending["STATUS"]
        assert device.end()[0] == 1


@pytest.fixture
def listening(start, folder):
    """A device that listens at a path, and the path."""
    path, name = folder / "device", str(folder / "notify")
    with launcher(name) as heard:
        device = start(f"--socket-path={path}", env={"NOTIFY_SOCKET": name})
        assert heard() == {"READY": "1", "STATUS": "waiting for a peer"}
        yield device, path


def dial(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(str(path))
    return mpqemu.Proxy(sock)


@pytest.mark.parametrize("options", [["--dma=messages"], ["--dma=messages", "--wire=vfio-user"]], ids=len)
def test_what_is_reached_by_messages_is_mapped_for_no_peer(start, folder, options):
    """Neither for one of the wire that has such messages, nor for one of the other, which is refused."""
    path, name = folder / "device", str(folder / "notify")
    memory = os.memfd_create("guest-ram")
    os.ftruncate(memory, 1 << 20)
    with launcher(name) as heard:
        device = start(f"--socket-path={path}", *options, env={"NOTIFY_SOCKET": name})
        assert heard()["READY"] == "1"
        with dial(path) as proxy:
            proxy.send(proxy.sysmem((0, 1 << 20, 0)), [memory])
            assert proxy.is_gone()
        client = vfio_user.Client.connect(path)
        client.negotiate()
        client.map(0, 1 << 20, [memory])
        assert "guest-ram" not in pathlib.Path(f"/proc/{device.process.pid}/maps").read_text()
        client.close()
    os.close(memory)
    device.process.signal(signal.SIGTERM)
    assert device.end()[0] == 0


def stop(device):
    """Ends a device that would serve for ever; returns the lines that it has printed."""
    device.process.signal(signal.SIGTERM)
    status, lines = device.end()
    assert (status, lines[-1]) == (0, STOPPED)
    return lines[:-1]


def is_served(path):
    """Whether the device serves who connects, over mpqemu."""
    with dial(path) as proxy:
        proxy.send(proxy.sysmem())
        return proxy.config_read(0, 4) == 0x10F01AF4


def test_serves_who_connects_to_its_path_until_sigterm(listening):
    device, path = listening
    assert is_served(path)
    assert is_served(path)
    stop(device)
    assert not path.exists()


def test_a_peer_that_goes_without_a_word_is_not_the_last(listening):
    device, path = listening
    for said in (b"", b"\0\0"):
        with dial(path) as proxy:
            proxy.sock.sendall(said)
    assert is_served(path)
    assert "has come" in stop(device)[0]


def test_a_bad_peer_of_its_path_is_dropped_and_told(listening):
    device, path = listening
    with dial(path) as proxy:
        proxy.send(proxy.message(5))
        assert proxy.is_gone()
    assert is_served(path)
    lines = stop(device)
    assert "dropped the peer" in lines[1] and "SYNC_SYSMEM" in lines[1]
    assert not path.exists()


def test_a_path_that_is_served_is_left_alone(listening, start):
    device, path = listening
    status, lines = start(f"--socket-path={path}").end()
    assert status == 1
    assert len(lines) == 1 and f"can't listen at {path}: Address already in use" in lines[0]
    assert path.exists() and device.process.running


def remover_of(device):
    """The process that removes the socket of a device in a cell, as a pidfd."""
    pid = device.process.pid
    (child,) = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return os.pidfd_open(int(child))


def wait_for_end(pidfd):
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(mpqemu.PATIENCE_S * 1000)
    os.close(pidfd)


def test_the_path_goes_with_a_device_that_is_killed(listening):
    device, path = listening
    remover = remover_of(device)
    device.process.kill()
    wait_for_end(remover)
    assert not path.exists()


def test_a_path_that_a_crash_left_is_taken_over(listening, start, folder):
    """Of the machine, or of all processes of a service: nobody is left who could remove the socket."""
    device, path = listening
    remover = remover_of(device)
    signal.pidfd_send_signal(remover, signal.SIGKILL)
    wait_for_end(remover)
    device.process.kill()
    assert path.exists()
    with launcher(str(folder / "again")) as heard:
        again = start(f"--socket-path={path}", env={"NOTIFY_SOCKET": str(folder / "again")})
        assert heard()["READY"] == "1"
        assert is_served(path)
    stop(again)


def test_sigterm_while_nobody_has_connected(listening):
    device, path = listening
    device.process.signal(signal.SIGTERM)
    assert device.end() == (0, [STOPPED])
    assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_while_idle(serve, dialect, number):
    proxy, device = serve(dialect)
    device.process.signal(number)
    assert proxy.is_gone()
    assert device.end() == (0, [STOPPED])


@pytest.mark.parametrize("poll_us", [0, 50, 1000])
def test_sigterm_under_a_flood(serve, poll_us):
    """A peer that never pauses can't keep the device from hearing anything else."""
    proxy, device = serve(mpqemu.SHIPPED, f"--poll-us={poll_us}")
    for _ in range(100):  # so often within the limit that it polls
        assert proxy.bar_read(CONTROL, 8) == 4096
    flood = proxy.sysmem() * 1000
    proxy.sock.sendall(flood)
    device.process.signal(signal.SIGTERM)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for _ in range(1000):
            proxy.sock.sendall(flood)
    assert device.end() == (0, [STOPPED])


def test_a_peer_that_does_not_read_is_not_waited_for(serve):
    """Replies fill the socket; the device then waits without work, and hears the signal to end."""
    proxy, device = serve()
    proxy.sock.setblocking(False)
    requests = proxy.bar("BAR_READ", CONTROL, 8) * 1000
    with contextlib.suppress(BlockingIOError):
        while True:
            proxy.sock.send(requests)
    device.process.signal(signal.SIGTERM)
    assert device.end() == (0, [STOPPED])


def test_a_callback_that_crashes_kills_this_process_alone(connect, tmp_path):
    source, library = tmp_path / "crash.c", tmp_path / "crash.so"
    source.write_text("#include <stdlib.h>\nvoid backdoor(unsigned long command, void *data) { abort(); }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    proxy, device = connect(mpqemu.SHIPPED, f"--library={library}")
    proxy.send(proxy.sysmem())
    proxy.config_write(0x10, 4, CONTROL)
    proxy.config_write(0x04, 2, 2)
    proxy.send(proxy.bar("BAR_WRITE", CONTROL, 8, 1))
    assert proxy.is_gone()
    assert device.process.wait() == -signal.SIGABRT

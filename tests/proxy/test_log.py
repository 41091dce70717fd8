# SPDX-License-Identifier: BSD-3-Clause
"""What the proxy says: to nobody, to a full pipe, and about a peer that wants to fill a disk."""
import contextlib
import os
import signal
import socket
import subprocess

import pytest
from proxylab import PATIENCE_S, PROGRAM, STATIC
from stuck import assert_clean, drain, full_pipe, gone_reader, without

PROGRAMS = {"outboard": [PROGRAM, "proxy"], "outboard-proxy": [STATIC]}


@pytest.fixture(params=PROGRAMS.values(), ids=PROGRAMS)
def argv(request):
    return request.param


@contextlib.contextmanager
def listening(lab, argv, stderr, *options):
    """An end that waits at lab.channel; its process, which is asked to end and must do so well."""
    name = lab.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.settimeout(PATIENCE_S)
        notify.bind(str(name))
        words = [*argv, f"--channel=unix-listen:{lab.channel}", *options]
        process = subprocess.Popen(words, stderr=stderr, env={**os.environ, "NOTIFY_SOCKET": str(name)})
        try:
            assert b"READY=1" in notify.recv(100)
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
            process.wait()
            name.unlink()


def provoke(lab, times=1):
    """Has the end at lab.channel log a line: a peer of another protocol. It has been dropped afterwards."""
    for _ in range(times):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE_S)
            sock.connect(str(lab.channel))
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                sock.sendall(b"GET / HTTP/1.0\r\n\x1b[2J\r\n" * 100)
                while sock.recv(4096):
                    pass


def test_a_full_pipe_holds_nobody_up(argv, lab):
    with full_pipe() as (reading, writing), listening(lab, argv, writing):
        provoke(lab, 5)
        assert os.get_blocking(writing)
        assert drain(reading) == ""
        provoke(lab)
        told = drain(reading)
        assert " lines dropped\n" in told and "dropping a connection to the channel" in told
        assert_clean(told, "outboard proxy")


def test_a_reader_that_goes_ends_nobody(argv, lab):
    reading, writing = os.pipe()
    with listening(lab, argv, writing):
        os.close(reading)
        provoke(lab, 3)
        os.close(writing)
    with gone_reader() as writing, listening(lab, argv, writing):
        provoke(lab, 3)


@pytest.mark.parametrize("closed", ["2", "012"])
def test_a_closed_descriptor_becomes_none_of_the_proxy(argv, lab, closed):
    script = without(closed, lab.folder, argv[0])
    with listening(lab, [script, *argv[1:]], None) as process:
        for number in closed:
            assert os.readlink(f"/proc/{process.pid}/fd/{number}") == "/dev/null"
        provoke(lab)


def test_a_peer_fills_no_disk(argv, lab):
    path = lab.folder / "log"
    with open(path, "w") as log, listening(lab, argv, log):
        provoke(lab, 300)
        assert 0 < len(path.read_text().splitlines()) < 100
    assert_clean(path.read_text(), "outboard proxy")
    assert " more like this: dropping a connection to the channel" in path.read_text()


def test_a_peer_writes_no_line(lab):
    """The name of a service is any bytes of the peer's."""
    host, guest = lab.pair()
    service = "web\x1b]0;owned\x07"
    assert guest.ask(f"OPEN {service}").startswith("REFUSED")
    assert host.ask("PING").startswith("PONG")
    assert "\\033]0;owned\\007" in guest.log() + host.log()
    for end in (host, guest):
        assert_clean(end.log(), "outboard proxy")


def test_a_key_that_is_put_right_is_found(lab):
    """The end that connects comes back ever more slowly while the keys differ, and still comes back."""
    keys = {}
    for name in ("right", "wrong"):
        keys[name] = lab.folder / f"{name}.key"
        keys[name].write_text(name * 8)
        keys[name].chmod(0o600)
    host = lab.start("host", f"--channel=unix-listen:{lab.channel}", f"--key-file={keys['wrong']}")
    guest = lab.start("guest", f"--channel=unix:{lab.channel}", f"--key-file={keys['right']}")
    while guest.log().count("dropping the channel") < 6:
        assert guest.ask("PING") == "DOWN"
    assert host.process.terminate() == 0
    host = lab.start("host-again", f"--channel=unix-listen:{lab.channel}", f"--key-file={keys['right']}")
    assert guest.wait_up() == host.wait_up()

# SPDX-License-Identifier: BSD-3-Clause
"""What people meet first: ports that are taken, terminals that are channels, idle sessions, and the reasons of failures."""
import fcntl
import os
import pty
import socket
import subprocess
import termios
import time

import pytest
from guestlab import paths

from apps import receive

OUTBOARD = paths.BUILD / "root/bin/outboard"
PATIENCE_S = 30


def test_listening_at_a_port_that_is_taken_is_told_and_tried_again(lab):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        host, guest = lab.pair(["--trust-peer"], [f"-R{port}:hi", "-shi=exec:echo hello"])
        while "Address already in use" not in host.log() or "address already in use" not in guest.log():
            assert guest.ask("PING").startswith("PONG")
        (remote,) = guest.status()["remote"]
        assert (remote["address"], remote["service"], remote["listens"]) == (f"tcp:127.0.0.1:{port}", "hi", False)
        assert "address already in use" in remote["why"]
        assert b"not yet: another program listens there" in guest.outboard("status").stdout
    while not guest.status()["remote"][0]["listens"]:
        assert guest.ask("PING").startswith("PONG")
    assert receive(lab.connect(port)) == b"hello\n"
    assert guest.log().count("address already in use") == 1
    assert host.log().count("Address already in use") == 1


def test_listening_again_when_the_session_does(lab, free_port):
    port = free_port()
    host, guest = lab.pair(["--trust-peer"], [f"-R{port}:hi", "-shi=exec:echo hello"])
    while not guest.status()["remote"][0]["listens"]:
        assert guest.ask("PING").startswith("PONG")
    assert host.process.terminate() == 0
    while (why := guest.status()["remote"][0])["listens"]:
        pass
    assert why["why"] == "no session stands"
    lab.start("host", f"--channel=unix-listen:{lab.channel}", "--trust-peer")
    while not guest.status()["remote"][0]["listens"]:
        assert guest.ask("STATUS")
    assert receive(lab.connect(port)) == b"hello\n"


@pytest.mark.parametrize("options", [[], ["--keepalive=1"], ["--keepalive=100"]])
def test_an_idle_peer_that_lives_is_not_ended(lab, options):
    """It is asked for a sign of life after a third of the timeout, and the session stays for three times the timeout."""
    _, guest = lab.pair([], ["--idle-timeout=1", *options])
    before = guest.status()
    while (now := guest.status())["tag"] == before["tag"]:  # asking for it says nothing to the peer
        if now["frames_received"] >= before["frames_received"] + 9:
            break
    assert now["tag"] == before["tag"]


@pytest.mark.parametrize("channel", ["stdio,line", "serial:/dev/tty"])
def test_a_terminal_is_raw_while_it_is_a_channel_and_cooked_after(lab, channel):
    """As one types it in a shell on a serial console."""
    console, screen = (os.fdopen(fd, "r+b", buffering=0) for fd in pty.openpty())
    with console, screen:
        far = subprocess.Popen([OUTBOARD, "proxy", "-c", channel, "--trust-peer"], stdin=screen, stdout=screen,
                               stderr=subprocess.DEVNULL, start_new_session=True,
                               preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))  # fmt: skip
        try:
            end = time.monotonic() + PATIENCE_S
            while termios.tcgetattr(screen)[3] & termios.ICANON:  # its settings are those of the console, too
                assert time.monotonic() < end, "the terminal is not made raw"
            near = lab.start("near", f"--channel=fd:{console.fileno()},line", inherit=[console])
            near.wait_up()
            assert near.outboard("run", "echo", "hi").stdout == b"hi\n"
            assert not termios.tcgetattr(screen)[3] & termios.ICANON
            far.terminate()
            assert far.wait(PATIENCE_S) == 0
            assert termios.tcgetattr(screen)[3] & termios.ICANON
            assert os.get_blocking(screen.fileno())
            assert near.process.terminate() == 0
        finally:
            far.kill()
            far.wait()


def test_a_terminal_without_line_is_said(lab):
    ours, theirs = (os.fdopen(fd, "r+b", buffering=0) for fd in pty.openpty())
    with ours, theirs:
        number = theirs.fileno()  # which is closed here once it is inherited
        end = lab.start("near", f"--channel=fd:{number}", inherit=[theirs])
        assert f"fd:{number}: got a terminal or a serial line, expected a stream; append ,line here" in end.log()
        assert end.process.terminate() == 0


def socks_reply(lab, port, host, to):
    """What a SOCKS5 server says to a request by name."""
    sock = lab.connect(port)
    sock.sendall(b"\5\1\0" + b"\5\1\0\3" + bytes([len(host)]) + host.encode() + to.to_bytes(2, "big"))
    assert receive(sock, 2) == b"\5\0"
    return receive(sock, 10)[1]


def test_socks_tells_reasons_apart(lab, free_port):
    port = free_port()
    lab.pair(["--deny-connect=127.0.0.2:*", "--allow-connect=*:*"], [f"-D{port}"])
    with socket.create_server(("127.0.0.1", 0)) as app:
        assert socks_reply(lab, port, "127.0.0.1", app.getsockname()[1]) == 0
    assert socks_reply(lab, port, "127.0.0.2", 80) == 2
    assert socks_reply(lab, port, "nowhere.invalid", 80) == 4
    assert socks_reply(lab, port, "127.0.0.1", free_port()) == 5


def test_a_forward_to_no_service_is_told(lab, spawn):
    """Whose client only sees its connection break. Not with --verbose, which tells everything."""
    lab.start("far", f"--channel=unix-listen:{lab.channel}")
    path = lab.folder / "forward"
    near = spawn([OUTBOARD, "proxy", f"--channel=unix:{lab.channel}", f"-Lunix:{path}:nope"], name="near")
    while "stands" not in near.log.read_text():
        pass
    assert receive(lab.connect(path)) == b""
    while "the other end has no service 'nope'" not in near.log.read_text():
        assert near.running


def test_a_channel_that_can_not_be_opened_has_its_name_in_the_log(lab):
    for channel in (f"unix:{lab.folder}/none", f"serial:{lab.folder}/none", "tcp:127.0.0.1:1", "virtio:none.such"):
        end = lab.start("end", f"--channel={channel}")
        while f"can't open {channel}: " not in end.log():
            assert end.ask("PING") == "DOWN"
        assert end.ask("STATUS").startswith(f"down: can't open {channel}: ")
        assert end.process.terminate() == 0


def test_addresses_that_can_not_be_right_are_refused_with_what_is_expected():
    for words, expected in (
        (["-L", "80:tcp:host:65536"], "from 0 to 65535"),
        (["-L", "65536:web"], "from 0 to 65535"),
        (["-c", "tcp:[::1:80"], "an IPv6 HOST in brackets"),
        (["-c", "vsock:0:1"], "expected 2 for the host"),
        (["-c", "pigeon:1"], "virtio:NAME"),
        (["-c", "unix:" + "x" * 200], "1 to 107"),
        (["--control", "x" * 200], "1 to 107"),
        (["-s", "a=udp:host:1"], "tcp:HOST:PORT"),
        (["-s", "a=exce:true"], "exec:COMMAND"),
        (["-s", "=exec:true"], "NAME=TARGET"),
    ):
        done = subprocess.run([OUTBOARD, "proxy", *words], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert expected in done.stderr

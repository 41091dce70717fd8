# SPDX-License-Identifier: BSD-3-Clause
"""The control socket: ping, status, and what is no command."""
import contextlib
import json
import pathlib
import re
import socket
import stat
import subprocess

import pytest
from guestlab import paths

from apps import Transfer, pattern, receive


def test_status_of_a_stream(lab, free_port):
    app, port = lab.listen(), free_port()
    host, guest = lab.pair([f"-sapp=tcp:127.0.0.1:{app.getsockname()[1]}"], [f"-L{port}:app"])
    here, there = lab.joined(port, app)
    Transfer(here, there, pattern("status", 100_000)).check(30)
    Transfer(there, here, pattern("status", 7_000)).check(30)
    ours, theirs = guest.status(), host.status()
    assert ours["up"] and ours["tag"] == theirs["tag"] and ours["sessions"] == 1
    (stream,), (peer,) = ours["streams"], theirs["streams"]
    assert (stream["service"], stream["opened_by"], peer["opened_by"]) == ("app", "us", "peer")
    assert (stream["bytes_sent"], stream["bytes_received"]) == (100_000, 7_000)
    assert (peer["bytes_sent"], peer["bytes_received"]) == (7_000, 100_000)
    assert stream["credit"] > 0 and stream["window"] > 0 and stream["unread"] == 0
    text = guest.outboard("status").stdout.decode()
    assert re.search(r"us +7000 +100000 .* app$", text, re.MULTILINE)
    assert json.loads(guest.outboard("status", "--json").stdout)["streams"][0]["service"] == "app"


def test_status_without_a_session(lab):
    guest = lab.start("guest", f"--channel=unix:{lab.channel}")
    assert guest.status()["up"] is False
    expected = f"down: can't open unix:{lab.channel}: No such file or directory"
    assert guest.outboard("status").stdout.decode().splitlines()[0] == expected
    assert guest.status()["state"] == expected
    done = guest.outboard("run", "--timeout=0", "true")
    assert f"not answered within 0 s: {expected[6:]}".encode() in done.stderr
    assert guest.ask("PING") == "DOWN"


def test_status_says_first_what_is_the_case(lab):
    """Down: nobody came; no greeting; then up, and why it was down before is forgotten."""
    channel = f"unix-listen:{lab.channel}"
    host = lab.start("host", f"--channel={channel}")
    assert host.ask("STATUS") == f"down: no end has connected to {channel}"
    silent = lab.connect(lab.channel)
    while not (state := host.ask("STATUS")).startswith(f"down: {channel} is open"):
        assert state.startswith("down: no end has connected")
    silent.close()
    guest = lab.start("guest", f"--channel=unix:{lab.channel}")
    guest.wait_up()
    assert guest.ask("STATUS").startswith("up: session ")
    assert f"over unix:{lab.channel}, for " in guest.status()["state"]


@pytest.mark.parametrize("framings", [(",line", ""), ("", ",line")])
def test_two_framings_are_told_apart(lab, framings):
    host = lab.start("host", f"--channel=unix-listen:{lab.channel}{framings[0]}")
    guest = lab.start("guest", f"--channel=unix:{lab.channel}{framings[1]}")
    for end in (host, guest):
        while ",line" not in end.log():
            assert end.ask("PING") == "DOWN"


def test_the_client_that_is_too_many_is_told_so(lab):
    guest = lab.start("guest", f"--channel=unix:{lab.channel}")
    clients = [lab.connect(guest.control) for _ in range(64)]
    for client in clients:
        client.sendall(b"PING\n")
        assert client.recv(100) == b"DOWN\n"
    for words in (["status"], ["ping"], ["run", "true"]):
        done = guest.outboard(*words)
        assert done.returncode == 255
        assert b"64 clients are at this control socket already" in done.stderr
    clients.pop().close()
    while (answer := guest.ask("PING")) != "DOWN":
        assert answer.startswith("ERROR 64")


def test_ping(lab):
    guest = lab.pair()[1]
    done = guest.outboard("ping", "--count=3")
    assert done.returncode == 0
    assert len(re.findall(rb"^round trip \d+\.\d us$", done.stdout, re.MULTILINE)) == 3
    assert guest.status()["round_trip_ns"] > 0


def test_socket_is_for_its_owner_alone(lab):
    guest = lab.start("guest", f"--channel=unix:{lab.channel}")
    assert stat.S_IMODE(guest.control.stat().st_mode) == 0o600
    assert guest.process.terminate() == 0
    assert not guest.control.exists()


def test_open_is_a_stream_from_then_on(lab):
    """As a program without a listener would use it; what it sends ahead is not lost."""
    guest = lab.pair(["-scat=exec:cat"])[1]
    sock = lab.connect(guest.control)
    sock.sendall(b"PING\nOPEN cat\nahead")
    sock.shutdown(socket.SHUT_WR)
    assert re.fullmatch(rb"PONG \d+\nOK\nahead", receive(sock))


def test_lines_that_are_no_command(lab):
    guest = lab.start("guest", f"--channel=unix:{lab.channel}")
    assert guest.ask("HELP").startswith("ERROR")
    sock = lab.connect(guest.control)
    sock.sendall(b"x" * 4096)
    try:
        assert receive(sock) == b""
    except ConnectionResetError:
        pass
    guest.wait_down("can't open")


def test_line_that_comes_in_tiny_writes(lab):
    """Each is a buffer of its own in a socket, and a few hundred fill it."""
    guest = lab.start("guest", f"--channel=unix:{lab.channel}")
    sock = lab.connect(guest.control)
    for byte in b"OPEN " + b"x" * 500 + b"\n":
        sock.sendall(bytes([byte]))
    assert receive(sock).startswith(b"REFUSED ")


def test_client_that_reads_no_answers_gets_none_by_halves(lab):
    guest = lab.start("guest", f"--channel=unix:{lab.channel}")
    sock = lab.connect(guest.control)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        while True:
            sock.sendall(b"PING\n" * 1000)
    answers = b""
    with contextlib.suppress(ConnectionResetError):
        while some := sock.recv(65536):
            answers += some
    assert answers == b"DOWN\n" * (len(answers) // 5)
    assert guest.ask("PING") == "DOWN"


def test_channel_that_appears_is_taken_at_once(lab):
    """However rare the tries have become: its folder is watched. How rare, tells a unit test."""
    guest = lab.start("guest", f"--channel=unix:{lab.channel}")
    guest.wait_down("can't open")
    assert "check its name; trying again" in guest.log()
    folder = f"inotify wd:1 ino:{lab.channel.parent.stat().st_ino:x}"
    described = [path.read_text() for path in pathlib.Path(f"/proc/{guest.process.pid}/fdinfo").iterdir()]
    assert any(folder in text for text in described)
    lab.start("host", f"--channel=unix-listen:{lab.channel}")
    guest.wait_up()
    described = [path.read_text() for path in pathlib.Path(f"/proc/{guest.process.pid}/fdinfo").iterdir()]
    assert not any("inotify" in text for text in described)


def test_clients_that_wait_do_not_hold_others_up(lab):
    guest = lab.start("guest", f"--channel=unix:{lab.channel}")
    waiting = [lab.connect(guest.control) for _ in range(20)]
    for sock in waiting:
        sock.sendall(b"WAIT\n")
    assert guest.status()["up"] is False
    lab.start("host", f"--channel=unix-listen:{lab.channel}")
    for sock in waiting:
        assert sock.recv(100).startswith(b"UP ")


def test_help_and_version():
    for argv in (["outboard", "proxy", "--help"], ["outboard-proxy", "--help"], ["outboard", "proxy", "run", "--help"],
                 ["outboard", "--help"], ["outboard-proxy", "--version"]):  # fmt: skip
        done = subprocess.run([paths.BUILD / "root/bin" / argv[0], *argv[1:]], capture_output=True, check=True)
        assert done.stdout and not done.stderr


def test_mistakes_are_told():
    for words in (["--unknown"], ["-L", "x"], ["ping"], ["run", "--control=/none"], ["run", "--control=/none", "true"]):
        argv = [paths.BUILD / "root/bin/outboard", "proxy", *words]
        done = subprocess.run(argv, capture_output=True, check=False, timeout=30)
        assert done.returncode in (2, 255)
        assert done.stderr.startswith(b"outboard proxy")


@pytest.mark.parametrize(
    "words",
    [
        ["outboard", "proxy", "statsu", "--control=/none"],
        ["outboard", "proxy", "--trust-peer", "-cunix-listen:/none/x", "junk", "--key-file=/none"],
        ["outboard-proxy", "junk"],
        ["outboard", "proxy", "ping", "--control=/none", "junk"],
        ["outboard", "proxy", "status", "--control=/none", "junk"],
        ["outboard", "inspect", "/none", "junk"],
        ["outboard", "poke", "/none", "read", "cfg", "0", "4", "junk"],
        ["outboard", "junk"],
        ["outboard-backdoor", "--socket-path=/none/x", "junk"],
        ["outboard-nvme", "--socket-path=/none/x", "junk"],
        ["backdoor", "info", "junk"],
    ],
)
def test_a_stray_word_is_refused_by_every_program(words):
    program = next(path for folder in ("bin", "libexec/outboard") if (path := paths.BUILD / "root" / folder / words[0]).exists())
    done = subprocess.run([program, *words[1:]], capture_output=True, check=False, timeout=30)
    assert done.returncode == 2
    assert b"junk" in done.stderr or b"statsu" in done.stderr or b"usage" in done.stderr or b"access 1" in done.stderr


def test_guest_program_is_one_small_static_file():
    program = paths.BUILD / "root/bin/outboard-proxy"
    assert program.stat().st_size < 2 << 20
    headers = subprocess.run(["readelf", "-lW", program], capture_output=True, text=True, check=True).stdout
    assert "INTERP" not in headers


def modes(lab, *options):
    """Permissions of the channel's path, of a path that is listened at, and of the control socket."""
    path = lab.folder / f"forward-{len(options)}"
    lab.channel = lab.folder / f"channel-{len(options)}"
    end = lab.start(f"end-{len(options)}", f"--channel=unix-listen:{lab.channel}", f"-Lunix:{path}:app", *options)
    return [oct(stat.S_IMODE(where.stat().st_mode)) for where in (lab.channel, path, end.control)]


def test_who_may_connect_to_paths(lab):
    assert modes(lab) == ["0o600", "0o600", "0o600"]
    assert modes(lab, "--socket-mode=660") == ["0o660", "0o660", "0o600"]

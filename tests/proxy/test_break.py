# SPDX-License-Identifier: BSD-3-Clause
"""What breaks is seen to break, at both ends, and a new session stands soon."""
import os
import signal
import socket
import threading

import pytest

from apps import Transfer, is_reset, pattern, receive


class Relay:
    """A VMM that keeps a serial line: it joins two sockets, and outlives whoever connects to them."""

    def __init__(self, lab, cleanup):
        self.paths = [str(lab.folder / f"line-{side}") for side in (0, 1)]
        self.listeners = [socket.create_server(path, family=socket.AF_UNIX) for path in self.paths]
        self.ends = [None, None]
        self.noise = [b"", b""]  # what whoever connects next finds, from an earlier life
        cleanup.callback(self.close)
        for side in (0, 1):
            threading.Thread(target=self._serve, args=[side], daemon=True).start()

    def _serve(self, side):
        while True:
            try:
                self.ends[side] = sock = self.listeners[side].accept()[0]
            except OSError:
                return  # closed
            try:
                sock.sendall(self.noise[side])
                while data := sock.recv(4096):
                    self._forward(1 - side, data)
            except OSError:
                pass
            sock.close()

    def _forward(self, side, data):
        try:
            self.ends[side].sendall(data)
        except (AttributeError, OSError):
            pass  # nobody is there: a line loses it

    def close(self):
        for sock in [*self.listeners, *filter(None, self.ends)]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()


@pytest.fixture
def line(lab, cleanup):
    return Relay(lab, cleanup)


def restart(lab, end, *options):
    end.process.kill()
    return lab.start("again", *options)


@pytest.mark.parametrize("victim", ["host", "guest"])
def test_kill_either_end(lab, free_port, victim):
    app, port = lab.listen(), free_port()
    options = {
        "host": [f"--channel=unix-listen:{lab.channel}", f"-sapp=tcp:127.0.0.1:{app.getsockname()[1]}"],
        "guest": [f"--channel=unix:{lab.channel}", f"-L{port}:app"],
    }
    ends = {name: lab.start(name, *options[name]) for name in options}
    tag = ends["guest"].wait_up()
    here, there = lab.joined(port, app)
    here.sendall(b"before")
    assert receive(there, 6) == b"before"
    ends[victim] = restart(lab, ends[victim], *options[victim])
    # The killed end's socket is closed by the kernel, the survivor's is reset.
    survivor = there if victim == "guest" else here
    assert is_reset(survivor)
    assert wait_for_another(ends, tag)
    here, there = lab.joined(port, app)
    Transfer(here, there, pattern("after", 1_000_000)).check(30)


def wait_for_another(ends, tag):
    """Until both ends have the same new session."""
    while True:
        tags = {end.wait_up() for end in ends.values()}
        if len(tags) == 1 and tag not in tags:
            return tags.pop()


@pytest.mark.parametrize("victim", ["host", "guest"])
def test_kill_either_end_of_a_line(lab, line, free_port, victim):
    """Nobody tells the survivor that its peer has died; it has to see for itself."""
    app, port = lab.listen(), free_port()
    options = {
        "host": [f"--channel=unix:{line.paths[0]},line", f"-sapp=tcp:127.0.0.1:{app.getsockname()[1]}"],
        "guest": [f"--channel=unix:{line.paths[1]},line", f"-L{port}:app"],
    }
    ends = {name: lab.start(name, *options[name]) for name in options}
    tag = ends["guest"].wait_up()
    here, there = lab.joined(port, app)
    here.sendall(b"before")
    assert receive(there, 6) == b"before"
    ends[victim] = restart(lab, ends[victim], *options[victim])
    assert is_reset(there if victim == "guest" else here)
    wait_for_another(ends, tag)
    here, there = lab.joined(port, app)
    Transfer(here, there, pattern("after", 100_000)).check(30)


@pytest.mark.parametrize("noise", [b"\0" * 1000, os.urandom(3000), b"login: \r\n" * 50], ids=["zeros", "random", "text"])
def test_bytes_of_an_earlier_life(lab, line, free_port, noise):
    app, port = lab.listen(), free_port()
    line.noise = [noise, noise[::-1]]
    lab.start("host", f"--channel=unix:{line.paths[0]},line", f"-sapp=tcp:127.0.0.1:{app.getsockname()[1]}")
    guest = lab.start("guest", f"--channel=unix:{line.paths[1]},line", f"-L{port}:app")
    guest.wait_up()
    here, there = lab.joined(port, app)
    Transfer(here, there, pattern("clean", 100_000)).check(30)


def test_noise_in_the_midst_of_a_session(lab, line, free_port):
    """Damage ends the session; it never reaches an application."""
    app, port = lab.listen(), free_port()
    host = lab.start("host", f"--channel=unix:{line.paths[0]},line", f"-sapp=tcp:127.0.0.1:{app.getsockname()[1]}")
    guest = lab.start("guest", f"--channel=unix:{line.paths[1]},line", f"-L{port}:app")
    tag = guest.wait_up()
    here, there = lab.joined(port, app)
    here.sendall(b"before")
    assert receive(there, 6) == b"before"
    line.ends[0].sendall(b"\0noise\0" + os.urandom(100) + b"\0")
    with pytest.raises(ConnectionResetError):
        here.sendall(b"x" * 100_000)
        receive(here)
    assert is_reset(there)
    wait_for_another({"host": host, "guest": guest}, tag)


def test_line_that_is_replugged(lab, line, free_port):
    """The VMM closes its socket, as when it is restarted, and opens it again."""
    app, port = lab.listen(), free_port()
    host = lab.start("host", f"--channel=unix:{line.paths[0]},line", f"-sapp=tcp:127.0.0.1:{app.getsockname()[1]}")
    guest = lab.start("guest", f"--channel=unix:{line.paths[1]},line", f"-L{port}:app")
    tag = guest.wait_up()
    here, there = lab.joined(port, app)
    for end in line.ends:
        end.shutdown(socket.SHUT_RDWR)
    assert is_reset(here)
    assert is_reset(there)
    wait_for_another({"host": host, "guest": guest}, tag)
    Transfer(*lab.joined(port, app), b"again").check(30)


def test_orderly_end_is_told(lab, free_port):
    app, port = lab.listen(), free_port()
    host, guest = lab.pair([f"-sapp=tcp:127.0.0.1:{app.getsockname()[1]}"], [f"-L{port}:app"])
    here, there = lab.joined(port, app)
    assert guest.process.terminate() == 0
    assert is_reset(there)
    assert is_reset(here)
    host.ask("STATUS")
    assert "going away" in host.log()


def test_stopped_process_breaks_nothing(lab, free_port):
    """A paused VM is silent, and silence alone is no reason to end."""
    app, port = lab.listen(), free_port()
    host, guest = lab.pair([f"-sapp=tcp:127.0.0.1:{app.getsockname()[1]}"], [f"-L{port}:app"], ",line")
    tag = guest.wait_up()
    here, there = lab.joined(port, app)
    host.process.signal(signal.SIGSTOP)
    transfer = Transfer(here, there, pattern("pause", 3_000_000))
    transfer.join(1)
    assert transfer.is_alive()
    host.process.signal(signal.SIGCONT)
    transfer.check(60)
    assert guest.wait_up() == tag


def test_idle_timeout_ends_a_silent_session(lab, free_port):
    app, port = lab.listen(), free_port()
    host, guest = lab.pair(
        [f"-sapp=tcp:127.0.0.1:{app.getsockname()[1]}"], [f"-L{port}:app", "--keepalive=1", "--idle-timeout=2"]
    )
    here, _ = lab.joined(port, app)
    host.process.signal(signal.SIGSTOP)
    assert is_reset(here)
    host.process.signal(signal.SIGCONT)
    assert "timed out" in guest.log() or "timeout" in guest.log()


def test_new_connection_takes_the_place_of_a_dead_one(lab, free_port):
    app, port = lab.listen(), free_port()
    host, guest = lab.pair([f"-sapp=tcp:127.0.0.1:{app.getsockname()[1]}"], [f"-L{port}:app"])
    first, there = lab.joined(port, app)
    guest.process.signal(signal.SIGSTOP)  # dead, but nobody says so
    other_port = free_port()
    second = lab.start("second", f"--channel=unix:{lab.channel}", f"-L{other_port}:app")
    tag = second.wait_up()
    assert is_reset(there)  # once the first has not shown for a while that it lives
    while host.wait_up() != tag:
        pass
    Transfer(*lab.joined(other_port, app), b"second").check(30)
    assert second.process.terminate() == 0
    guest.process.signal(signal.SIGCONT)
    assert is_reset(first)


def test_a_peer_that_lives_keeps_the_channel(lab, free_port):
    """Two ends of one side do not unseat each other: the second is told why, and waits."""
    app, port = lab.listen(), free_port()
    host, guest = lab.pair([f"-sapp=tcp:127.0.0.1:{app.getsockname()[1]}"], [f"-L{port}:app"])
    first, there = lab.joined(port, app)
    tag = host.wait_up()
    second = lab.start("second", f"--channel=unix:{lab.channel}")
    while "another end has the channel" not in second.log():
        pass
    Transfer(first, there, b"still here").check(30)
    assert host.wait_up() == tag == guest.wait_up()
    assert guest.status()["sessions"] == host.status()["sessions"] == 1
    assert second.status()["sessions"] == 1  # it does not try again at once


@pytest.mark.parametrize("stranger", [b"", b"GET / HTTP/1.0\r\n\r\n", bytes(100), "without the key"],
                         ids=["silent", "HTTP", "zeroes", "without the key"])  # fmt: skip
def test_a_stranger_unseats_nobody(lab, free_port, stranger):
    app, port = lab.listen(), free_port()
    host, guest = lab.pair(
        [f"-sapp=tcp:127.0.0.1:{app.getsockname()[1]}", *key_options(lab, "host", "password a")],
        [f"-L{port}:app", *key_options(lab, "guest", "password a")],
    )
    first, there = lab.joined(port, app)
    tag = host.wait_up()
    if stranger == "without the key":
        other = lab.start("other", f"--channel=unix:{lab.channel}")
        while "key" not in other.log():
            pass
    else:
        clients = [lab.connect(lab.channel) for _ in range(40)]  # more than may wait
        for client in clients:
            try:
                client.sendall(stranger)
            except BrokenPipeError:
                pass  # it has given way
        is_reset(clients[0])  # it is sent away, either way
    Transfer(first, there, b"still here").check(30)
    assert host.wait_up() == tag == guest.wait_up()


def test_a_peer_with_the_key_comes_in_beside_strangers(lab):
    host = lab.start("host", f"--channel=unix-listen:{lab.channel}", *key_options(lab, "host", "password a"))
    strangers = [lab.connect(lab.channel) for _ in range(40)]
    guest = lab.start("guest", f"--channel=unix:{lab.channel}", *key_options(lab, "guest", "password a"))
    assert guest.wait_up() == host.wait_up()
    assert len(strangers) == 40


@pytest.mark.parametrize("keys", [("password a", "password b"), ("password a", None), (None, "password b")])
def test_keys_that_differ(lab, free_port, keys):
    options = [key_options(lab, name, key) for name, key in zip(("host", "guest"), keys)]
    host = lab.start("host", f"--channel=unix-listen:{lab.channel}", *options[0])
    guest = lab.start("guest", f"--channel=unix:{lab.channel}", "-L", f"{free_port()}:app", *options[1])
    for end in (host, guest):
        while "key" not in end.log():
            assert end.ask("PING") == "DOWN"


def test_keys_that_are_the_same(lab):
    host, _ = lab.pair(key_options(lab, "host", "password a"), key_options(lab, "guest", "password a\n"))
    assert host.ask("PING").startswith("PONG")


def key_options(lab, name, key):
    if key is None:
        return []
    path = lab.folder / f"{name}.key"
    path.write_text(key)
    path.chmod(0o600)
    return [f"--key-file={path}"]

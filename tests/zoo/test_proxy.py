# SPDX-License-Identifier: BSD-3-Clause
"""Every Unix socket of `outboard proxy`, none of which wants descriptors, with each animal of the zoo on what is sent
there: on a kernel that refuses descriptors for the program (Linux 6.16), and on one that does not."""
import contextlib
import functools
import itertools
import os
import signal
import socket
import sys

import proxylab
import pytest
import zoo
from guestlab import count_descriptors

@pytest.fixture(params=["as it is", "before 6.16"])
def lab(spawn, cleanup, request, old_kernel):
    env = {} if request.param == "as it is" else {"LD_PRELOAD": str(old_kernel)}

    def spawn_there(argv, **options):
        return spawn(argv, **options | {"env": options.get("env", {}) | env})

    return proxylab.Lab(spawn_there, cleanup)


@pytest.fixture
def offer(offering):
    """offer(end, sock, data): sends bytes with an animal that the proxy alone has then, if the kernel lets us. The proxy goes
    on; what is no proxy does once the test says offer.answered(). offer.waited_s: how long that took at most."""

    def send(end, sock, data, is_proxy=True):
        watch = offering(end.process)(sock, data)

        def answered():
            send.waited_s = max(send.waited_s, watch.waited_s())

        send.answered = answered
        if is_proxy:
            assert end.status()
            answered()

    send.waited_s = 0
    return send


def in_time(test):
    """A test in which everybody answers at once, or would if there were no disk to wait for: it is repeated then."""

    @functools.wraps(test)
    def run(offer, **fixtures):
        def attempt():
            offer.waited_s = 0
            test(offer=offer, **fixtures)
            return offer.waited_s

        zoo.at_once(attempt)

    return run


def check(end, animals, kind):
    """It answers, and ends when it is asked to."""
    assert end.status()
    if kind is not zoo.fuse:
        end.process.terminate(proxylab.PATIENCE_S)
        return
    os.kill(end.process.pid, signal.SIGTERM)
    for animal in animals.made:
        animal.close()
    end.process.wait(proxylab.PATIENCE_S)


@in_time
def test_the_control_socket(lab, offer, animals, kind):
    end = lab.start("host", f"--channel=unix-listen:{lab.channel}")
    end.status()
    before = count_descriptors(end.process.pid)
    for data in (b"", b"WAIT\n", b"STATUS", b"OPEN nothing\n", b"nonsense\n"):
        sock = lab.connect(end.control)
        offer(end, sock, data or b"\n")
        sock.close()
    end.status()
    if kind is not zoo.fuse:
        wait_for_count(end, before)
    check(end, animals, kind)


def wait_for_count(end, before):
    for _ in range(1000):
        if count_descriptors(end.process.pid) <= before + 1:  # one of them may be that of a client that has just gone
            return
        end.status()
    raise AssertionError(f"descriptors are kept: {count_descriptors(end.process.pid)}, before {before}")


@in_time
def test_forwards_and_what_they_lead_to(lab, offer, animals, kind):
    """A client of a forward, one of SOCKS, and at the other end the application of a service."""
    where, socks = lab.folder / "forward", lab.folder / "socks"
    application = lab.listen(socket.AF_UNIX)
    host, guest = lab.pair(
        [f"--service=app=unix:{application.getsockname()}"], [f"-Lunix:{where}:app", f"-Dunix:{socks}"]
    )
    here, there = lab.joined(where, application)
    offer(guest, here, b"hello")
    assert there.recv(5) == b"hello"
    offer(host, there, b"world")
    assert here.recv(5) == b"world"
    client = lab.connect(socks)
    offer(guest, client, b"\5\1\0")
    assert client.recv(2) == b"\5\0"
    unheard = lab.connect(where)
    offer(guest, unheard, b"x")
    unheard.close()
    assert host.status() and guest.status()
    if kind is zoo.fuse:
        for end in (host, guest):
            os.kill(end.process.pid, signal.SIGTERM)
        for animal in animals.made:
            animal.close()
    for end in (host, guest):
        end.process.terminate(proxylab.PATIENCE_S)


# The command of an `exec:` service that lends its socket to a test, until that hangs up.
LEND = """
import socket, sys
with socket.socket(socket.AF_UNIX) as to:
    to.connect(sys.argv[1])
    socket.send_fds(to, [b"x"], [1])
    to.recv(1)
"""


@in_time
def test_the_command_of_a_service(lab, offer, animals, kind, cleanup):
    script, where, lent = lab.folder / "lend.py", lab.folder / "forward", lab.listen(socket.AF_UNIX)
    script.write_text(LEND)
    command = f"{sys.executable} {script} {lent.getsockname()}"
    host, guest = lab.pair([f"--service=app=exec:{command}"], [f"-Lunix:{where}:app"])
    joined = []
    for _ in range(2):  # before a file hangs: a command that is started then would have a copy of it
        here = lab.connect(where)
        lender = lab.accept(lent)
        there = cleanup.enter_context(socket.socket(fileno=socket.recv_fds(lender, 1, 1)[1][0]))
        joined.append((here, there, lender))
    offer(host, joined[0][1], b"world")
    assert joined[0][0].recv(5) == b"world"
    offer(host, joined[1][1], b"unheard")
    for sock in itertools.chain(*joined):
        sock.close()
    assert host.status() and guest.status()
    check(host, animals, kind)
    guest.process.terminate(proxylab.PATIENCE_S)


@in_time
def test_the_channel(lab, offer, animals, kind):
    host = lab.start("host", f"--channel=unix-listen:{lab.channel}")
    channel = lab.connect(lab.channel)
    offer(host, channel, bytes(64))
    assert host.status()
    channel.close()
    check(host, animals, kind)


def listen_at(path):
    path.unlink(missing_ok=True)
    listener = socket.create_server(str(path), family=socket.AF_UNIX)
    listener.settimeout(proxylab.PATIENCE_S)
    return listener


@in_time
def test_a_channel_to_a_hostile_listener(lab, offer, animals, kind):
    with listen_at(lab.channel) as listener:
        end = lab.start("guest", f"--channel=unix:{lab.channel}")
        with contextlib.closing(listener.accept()[0]) as sock:
            offer(end, sock, b"\0" * 64)
            assert end.status()
        check(end, animals, kind)


@in_time
def test_a_command_at_a_hostile_control_socket(lab, offer, animals, kind):
    path = lab.folder / "hostile"
    with listen_at(path) as listener:
        end = proxylab.End(lab._spawn([proxylab.PROGRAM, "proxy", "status", f"--control={path}"], name="status"), path)
        with contextlib.closing(listener.accept()[0]) as sock:
            sock.recv(100)
            offer(end, sock, b"up for long\n", is_proxy=False)
            sock.shutdown(socket.SHUT_RDWR)
        if kind is zoo.fuse:
            for animal in animals.made:
                animal.close()
        assert end.process.wait(proxylab.PATIENCE_S) == 0
        assert "up for long" in end.log()


@pytest.mark.parametrize(
    ("verb", "words"), [(b"RUN", ("run", "--", "true")), (b"OPEN", ("connect", "app"))], ids=["run", "connect"]
)
@in_time
def test_a_stream_at_a_hostile_control_socket(lab, offer, animals, kind, verb, words):
    """The proxy offers with each answer, and with what then should be the stream."""
    path = lab.folder / "hostile"
    with listen_at(path) as listener:
        argv = [proxylab.PROGRAM, "proxy", words[0], f"--control={path}", *words[1:]]
        end = proxylab.End(lab._spawn(argv, name=words[0]), path)
        with contextlib.closing(listener.accept()[0]) as sock:
            sock.settimeout(proxylab.PATIENCE_S)
            assert sock.recv(4096).startswith(b"WAIT")
            offer(end, sock, b"UP 1\n", is_proxy=False)
            assert sock.recv(4096).startswith(verb)
            offer.answered()
            offer(end, sock, b"OK\n", is_proxy=False)
            offer(end, sock, b"\n" * 64, is_proxy=False)
            sock.shutdown(socket.SHUT_RDWR)
        if kind is zoo.fuse:
            for animal in animals.made:
                animal.close()
        end.process.wait(proxylab.PATIENCE_S)

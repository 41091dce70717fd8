# SPDX-License-Identifier: BSD-3-Clause
"""Connections through a channel: bytes, ends, many at once, every kind of address."""
import socket

import pytest

from apps import Transfer, is_reset, pattern, receive

SIZE = 3_000_000


@pytest.mark.parametrize("framing", ["", ",line"])
def test_bytes_go_both_ways_at_once(lab, free_port, framing):
    app, port = lab.listen(), free_port()
    lab.pair([f"--service=app=tcp:127.0.0.1:{app.getsockname()[1]}"], [f"-L{port}:app"], framing)
    here, there = lab.joined(port, app)
    transfers = [Transfer(here, there, pattern("up", SIZE)), Transfer(there, here, pattern("down", SIZE))]
    for transfer in transfers:
        transfer.check(60)


def test_channel_over_tcp(lab, free_port):
    app, port, channel = lab.listen(), free_port(), free_port()
    lab.start("host", f"--channel=tcp-listen:{channel}", f"-sapp=tcp:localhost:{app.getsockname()[1]}")
    lab.start("guest", f"--channel=tcp:localhost:{channel}", f"-L{port}:app").wait_up()
    here, there = lab.joined(port, app)
    Transfer(here, there, pattern("tcp", SIZE)).check(60)


def test_channel_is_a_descriptor(lab, free_port):
    app, port = lab.listen(), free_port()
    host_end, guest_end = socket.socketpair()
    lab.start("host", f"--channel=fd:{host_end.fileno()}", f"-sapp=tcp:127.0.0.1:{app.getsockname()[1]}",
              inherit=[host_end])  # fmt: skip
    guest = lab.start("guest", f"--channel=fd:{guest_end.fileno()}", f"-L{port}:app", inherit=[guest_end])
    guest.wait_up()
    here, there = lab.joined(port, app)
    Transfer(here, there, pattern("fd", SIZE)).check(60)


def test_proxy_ends_with_a_channel_that_cannot_come_back(lab):
    host_end, guest_end = socket.socketpair()
    host = lab.start("host", f"--channel=fd:{host_end.fileno()}", inherit=[host_end])
    guest = lab.start("guest", f"--channel=fd:{guest_end.fileno()}", inherit=[guest_end])
    guest.wait_up()
    assert host.process.terminate() == 0
    assert guest.process.wait() == 1
    assert "going away" in guest.log()


def test_unix_sockets_at_both_ends(lab):
    app, path = lab.listen(socket.AF_UNIX), lab.folder / "forward"
    lab.pair([f"--service=app=unix:{app.getsockname()}"], [f"-Lunix:{path}:app"])
    here, there = lab.joined(path, app)
    Transfer(there, here, pattern("unix", SIZE)).check(60)


def test_remote_forward(lab, free_port):
    app, port = lab.listen(), free_port()
    host, guest = lab.pair(
        [f"-R{port}:app", f"--service=app=tcp:127.0.0.1:{app.getsockname()[1]}"], ["--trust-peer"]
    )
    wait_for_listener(host)
    here, there = lab.joined(port, app)
    Transfer(here, there, pattern("remote", SIZE)).check(60)
    assert host.process.terminate() == 0  # the listener goes with who asked for it
    guest.ask("STATUS")
    with pytest.raises(ConnectionRefusedError):
        while True:
            lab.connect(port)


def wait_for_listener(end):
    """Until the stream that asked for a listener has been answered."""
    while not any(stream["service"] == "@listen" and stream["bytes_received"] for stream in end.status()["streams"]):
        assert end.ask("PING").startswith("PONG")


def test_each_direction_has_its_own_end(lab, free_port):
    app, port = lab.listen(), free_port()
    _, guest = lab.pair([f"--service=app=tcp:127.0.0.1:{app.getsockname()[1]}"], [f"-L{port}:app"])
    here, there = lab.joined(port, app)
    here.sendall(b"question")
    here.shutdown(socket.SHUT_WR)
    assert receive(there) == b"question"
    answer = pattern("answer", SIZE)
    Transfer(there, here, answer).check(60)
    there.shutdown(socket.SHUT_WR)
    assert receive(here) == b""
    while guest.status()["streams"]:  # and then nothing is left of it
        pass


def test_break_is_not_an_end(lab, free_port):
    app, port = lab.listen(), free_port()
    lab.pair([f"--service=app=tcp:127.0.0.1:{app.getsockname()[1]}"], [f"-L{port}:app"])
    here, there = lab.joined(port, app)
    here.sendall(b"x")
    assert receive(there, 1) == b"x"
    there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    there.close()
    assert is_reset(here)


@pytest.mark.parametrize("service", ["absent", "deaf"])
def test_service_that_does_not_answer(lab, free_port, service):
    port = free_port()
    _, guest = lab.pair([f"--service=deaf=tcp:127.0.0.1:{free_port()}"], [f"-L{port}:{service}"])
    with pytest.raises(ConnectionResetError):
        receive(lab.connect(port))
    assert f"{service}: refused" in guest.log()


def test_two_hundred_at_once(lab, free_port):
    app, port = lab.listen(), free_port()
    host, guest = lab.pair([f"--service=app=tcp:127.0.0.1:{app.getsockname()[1]}"], [f"-L{port}:app"])
    pairs = []
    for number in range(200):
        here, there = lab.joined(port, app)
        data = pattern(number, 200_000)
        pairs += [Transfer(here, there, data), Transfer(there, here, data[::-1])]
    for transfer in pairs:
        transfer.check(120)
    assert host.status()["streams_blocked"] == guest.status()["streams_blocked"] == 0


def test_forward_survives_a_connection_that_comes_before_the_channel(lab, free_port):
    app, port = lab.listen(), free_port()
    guest = lab.start("guest", f"--channel=unix:{lab.channel}", f"-L{port}:app")
    with pytest.raises(ConnectionResetError):
        receive(lab.connect(port))
    lab.start("host", f"--channel=unix-listen:{lab.channel}", f"-sapp=tcp:127.0.0.1:{app.getsockname()[1]}")
    guest.wait_up()
    here, there = lab.joined(port, app)
    Transfer(here, there, b"late").check(30)

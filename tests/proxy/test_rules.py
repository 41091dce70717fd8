# SPDX-License-Identifier: BSD-3-Clause
"""SOCKS5, and what a peer may reach: nothing but what is allowed."""
import contextlib
import http.server
import socket
import subprocess
import threading

import pytest

from apps import receive


@pytest.fixture
def web():
    """A web server on loopback: its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def curl(*words):
    done = subprocess.run(["curl", "-sS", "--max-time", "30", *words], capture_output=True, text=True, check=False)
    return done.stdout or done.stderr


@pytest.fixture
def dynamic(lab, free_port):
    """dynamic(host options): the port of a SOCKS5 listener whose destinations the host serves."""

    def start(*host):
        port = free_port()
        lab.pair(host, [f"-D{port}"])
        return port

    return start


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_curl_through_socks(dynamic, web, host):
    port = dynamic(f"--allow-connect=127.0.0.0/8:{web}")
    assert curl("--socks5-hostname", f"127.0.0.1:{port}", f"http://{host}:{web}/") == "hello"


@pytest.mark.parametrize(
    "rules",
    [
        [],
        ["--allow-connect=127.0.0.1:1"],
        ["--allow-connect=10.0.0.0/8:*"],
        ["--deny-connect=127.0.0.0/8:*", "--allow-connect=*:*"],
        ["--allow-connect=elsewhere.example:*"],
        ["--allow-listen=*:*", "--allow-run"],
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost.", "0.0.0.0"])
def test_destination_that_is_not_allowed(dynamic, web, rules, host):
    port = dynamic(*rules)
    answer = curl("--socks5-hostname", f"127.0.0.1:{port}", f"http://{host}:{web}/")
    assert "hello" not in answer
    replies = {"(2)", "(4)"}  # not allowed; or the name, which has no address, is unreachable
    if host.startswith("localhost") and rules and rules[0].startswith("--deny"):
        replies = {"(5)"}  # ::1 is allowed, and nobody listens there
    assert any(reply in answer for reply in replies)


def test_trusted_peer_reaches_everything(dynamic, web):
    port = dynamic("--trust-peer")
    assert curl("--socks5", f"127.0.0.1:{port}", f"http://127.0.0.1:{web}/") == "hello"


def test_socks_at_the_other_end(lab, free_port, web):
    """The guest has a SOCKS5 server and needs to know nothing: the host asks for it."""
    port = free_port()
    host, _ = lab.pair([f"--remote-dynamic={port}", f"--allow-connect=*:{web}"], ["--trust-peer"])
    while not any(stream["bytes_received"] for stream in host.status()["streams"]):
        pass
    assert curl("--socks5-hostname", f"127.0.0.1:{port}", f"http://localhost:{web}/") == "hello"


def test_bytes_that_are_sent_ahead(lab, dynamic, web):
    """A client that does not wait for answers, and one that sends byte by byte."""
    port = dynamic("--allow-connect=*:*")
    request = b"\5\1\0" + b"\5\1\0\1\x7f\0\0\1" + web.to_bytes(2, "big")
    get = b"GET / HTTP/1.0\r\n\r\n"
    client = lab.connect(port)
    client.sendall(request + get)
    assert receive(client).endswith(b"hello")
    client = lab.connect(port)
    for byte in request + get:
        client.sendall(bytes([byte]))
    assert receive(client).endswith(b"hello")


@pytest.mark.parametrize("bytes_", [b"GET / HTTP/1.0\r\n\r\n", b"\4\1\0\x50", b"\5\1\0\5\2\0\1\x7f\0\0\1\0\x50"])
def test_clients_that_speak_something_else(lab, dynamic, bytes_):
    port = dynamic("--allow-connect=*:*")
    client = lab.connect(port)
    client.sendall(bytes_)
    with contextlib.suppress(ConnectionResetError):
        assert len(receive(client)) <= 12  # what SOCKS says, then the end


def test_declared_services_are_all_that_a_peer_may_open(lab, free_port):
    app, port = lab.listen(), free_port()
    _, guest = lab.pair([f"-sapp=tcp:127.0.0.1:{app.getsockname()[1]}"], [f"-L{port}:tcp:127.0.0.1:{app.getsockname()[1]}"])
    with pytest.raises(ConnectionResetError):
        receive(lab.connect(port))
    assert "not allowed" in guest.log()
    for service in ("@run", "@listen", "@other", "unix:/run/x", "vsock:2:1", "App", "app2"):
        assert guest.ask(f"OPEN {service}").startswith("REFUSED")
    assert guest.ask("OPEN app") == "OK"


@pytest.mark.parametrize("allowed", [[], ["--allow-listen=127.0.0.1:1"], ["--allow-connect=*:*", "--allow-run"]])
def test_listening_that_is_not_allowed(lab, free_port, allowed):
    port = free_port()
    host, guest = lab.pair(allowed, [f"-R{port}:app"])
    while "not allowed" not in guest.log():
        assert guest.ask("PING").startswith("PONG")
    with pytest.raises(ConnectionRefusedError):
        lab.connect(port)
    assert host.status()["streams"] == []


def test_listening_that_is_allowed(lab, free_port):
    app, port = lab.listen(), free_port()
    host, guest = lab.pair([f"--allow-listen=127.0.0.1:{port}"], [f"-R{port}:app", f"-sapp=unix:@{socket_name(lab)}"])
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{socket_name(lab)}")
        listener.listen()
        listener.settimeout(30)
        while not any(stream["bytes_received"] for stream in guest.status()["streams"]):
            assert host.ask("PING").startswith("PONG")
        here = lab.connect(port)
        there = lab.accept(listener)
        here.sendall(b"x")
        assert receive(there, 1) == b"x"


def socket_name(lab):
    return f"outboard-test-{lab.folder.name}"

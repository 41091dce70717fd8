# SPDX-License-Identifier: BSD-3-Clause
"""Which requests the host's end lets through, to an agent that would carry out all."""
import json
import os
import socket
import subprocess

import pytest
from agentlab import PATIENCE_S, PROGRAM, RESET, AgentError, Caller, Client, decode, wait_listening


@pytest.fixture
def gated(lab, connect):
    """gated(option...): (a client of the host's qga socket, the host's end, the guest's end)."""

    def start(*options):
        path = lab.folder / "qga"
        host, guest = lab.pair(host=[f"--qga-socket={path}", *options], guest=["--allow-agent"])
        return connect(path), host, guest

    return start


def expect_refusal(client, command, why, **arguments):
    with pytest.raises(AgentError, match=f"disabled at the host: .*{why}") as error:
        client.ask(command, **arguments)
    assert error.value.kind == "CommandNotFound"


@pytest.mark.parametrize("option, refused, why, allowed", [
    ("--request-allow=guest-ping,guest-sync", "get-time", "not allowed", "ping"),
    ("--request-block=guest-exec,guest-file-open", "exec", "blocked", "get-time"),
    ("--request-read-only", "exec", "read-only", "get-osinfo"),
    ("--request-read-only", "of-tomorrow", "read-only", "hello"),
])  # fmt: skip
def test_rules(gated, option, refused, why, allowed):
    client, host, guest = gated(option)
    expect_refusal(client, refused, why)
    client.ask(allowed)
    with Caller(host.control, "@agent") as other:
        expect_refusal(other, refused, why)
        other.ask(allowed)
    assert f"guest-{refused} by" not in guest.log()


def test_a_file(gated, tmp_path):
    path = tmp_path / "policy"
    path.write_text("# clients of the backup\n[general]\nallow-rpcs = guest-ping;guest-fsfreeze-status;guest-exec;\nread-only=true\n")
    client = gated(f"--request-policy={path}")[0]
    assert client.ask("ping") == {}
    assert client.ask("fsfreeze-status") == "thawed"
    expect_refusal(client, "get-osinfo", "not allowed")
    expect_refusal(client, "exec", "read-only")


@pytest.mark.parametrize("text, message", [
    ("allow-rpcs=guest-pnig\n", "expected a command"), ("allow=x\n", "expected a setting"), ("nonsense\n", "expected KEY=VALUE"),
])  # fmt: skip
def test_a_file_that_is_wrong(tmp_path, text, message):
    (tmp_path / "policy").write_text(text)
    done = subprocess.run([PROGRAM, "proxy", "--channel=stdio", f"--request-policy={tmp_path}/policy"], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S, check=False)  # fmt: skip
    assert done.returncode == 2 and message in done.stderr


def test_a_list_that_is_wrong():
    for option in ("--request-allow=guest-ping,", "--request-block=exec"):
        done = subprocess.run([PROGRAM, "proxy", "--channel=stdio", option], text=True, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=PATIENCE_S, check=False)  # fmt: skip
        assert done.returncode == 2 and "expected a command" in done.stderr


def test_no_spelling_gets_through(gated):
    client, _, guest = gated("--request-block=guest-exec")
    run = {"path": "true"}
    spellings = [
        b'{"execute": "guest-ping", "execute": "guest-exec", "arguments": {"path": "true"}}\n',
        b'{"execute": "guest-exec", "execute": "guest-ping", "arguments": {"path": "true"}}\n',
        b'{"execute": "guest-\\u0065xec", "arguments": {"path": "true"}}\n',
        b"{'execute': 'guest-exec', 'arguments': {'path': 'true'}}\n",
        b'{"exec-oob": "guest-exec", "arguments": {"path": "true"}}\n',
        b'{"execute": "guest-exec\\u0000", "arguments": {"path": "true"}}\n',
        b'{"execute": "guest-ping", "x": {"execute": "guest-exec"}}\n',
        b'[{"execute": "guest-exec", "arguments": {"path": "true"}}]\n',
        b'{"execute": "guest-pi\xff{"execute": "guest-exec", "arguments": {"path": "true"}}\n',
        b'noise {"execute": "guest-exec", "arguments": {"path": "true"}}\n',
    ]
    for spelling in spellings:
        client.sock.sendall(spelling)
        client.sock.sendall(json.dumps({"execute": "guest-sync", "arguments": {"id": 17}}).encode())
        while (answer := client.receive()) != {"return": 17}:
            assert "error" in answer, answer
    with pytest.raises(AgentError):
        client.ask("exec", **run)
    assert "guest-exec by" not in guest.log()


def test_the_other_word_of_the_control_socket_is_gated_too(gated):
    _, host, guest = gated("--request-allow=guest-ping")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect(str(host.control))
        sock.sendall(b'RUN @agent\n{"execute": "guest-exec", "arguments": {"path": "true"}}\n')
        lines = sock.makefile("r")
        assert lines.readline() == "OK\n"
        assert "disabled at the host" in lines.readline()
    assert "guest-exec by" not in guest.log()


def test_answers_have_the_order_of_the_requests(gated):
    client = gated("--request-block=guest-get-time")[0]
    for number in range(50):
        client.send("guest-sync", {"id": number}, id=number)
        client.send("guest-get-time", id=-number - 1)
        client.sock.sendall(b"{'execute': nonsense}\n")
    for number in range(50):
        assert client.receive() == {"return": number, "id": number}
        answer = client.receive()
        assert (answer["error"]["class"], answer["id"]) == ("CommandNotFound", -number - 1)
        assert "JSON parse error" in client.receive()["error"]["desc"]


def test_delimiters_silent_commands_and_half_closed_clients(gated, lab):
    client, host, _ = gated("--request-block=guest-get-time")
    client.sock.sendall(RESET + b'{"execute": "guest-sync-delimited", "arguments": {"id": 8}}\n')
    assert client.receive_line() == RESET + b'{"return": 8}\n'
    with Client(lab.folder / "qga") as other:
        other.send("guest-get-host-name")
        other.send("guest-get-time")
        other.sock.shutdown(socket.SHUT_WR)
        assert "return" in other.receive() and "error" in other.receive()
        assert other.receive_line() == b""


def test_large_answer_to_a_client_that_does_not_read(gated, connect, lab, tmp_path):
    """The proxy keeps little of it, and other clients go on."""
    client, host, _ = gated("--request-block=guest-get-time")
    data = os.urandom(24 << 20)
    (tmp_path / "file").write_bytes(data)
    before = host.rss_kib()
    client.send("guest-get-file", {"path": str(tmp_path / "file")})
    other = connect(lab.folder / "qga")
    for number in range(50):
        assert other.ask("sync", id=number) == number
    assert host.rss_kib() - before < 8 << 10
    assert decode(client.answer()["buf-b64"]) == data
    assert client.ask("ping") == {}


def test_guest_that_goes_ends_the_clients(gated, connect, lab):
    client, _, guest = gated("--request-block=guest-get-time")
    guest.process.kill()
    with pytest.raises(ConnectionError):
        client.ask("ping")
    with Client(lab.folder / "qga") as other:
        assert other.sock.recv(1) == b""


def test_no_agent_there(lab):
    host, _ = lab.pair(host=["--request-read-only"], guest=["--allow-run"])
    with pytest.raises(ConnectionError, match="REFUSED"):
        Caller(host.control, "@agent")


def test_rules_hold_for_a_stock_agent(lab, spawn, connect, folder):
    path = lab.folder / "qga"
    lab.pair(host=[f"--stock-qga-socket={path}", "--request-read-only"], guest=[f"--service=qga=unix:{folder}/stock"])
    stock = spawn(["/usr/sbin/qemu-ga", "-m", "unix-listen", "-p", folder / "stock", "-t", folder])
    wait_listening(folder / "stock", stock)
    client = connect(path)
    assert "kernel-release" in client.ask("get-osinfo")
    expect_refusal(client, "exec", "read-only", path="true")

# SPDX-License-Identifier: BSD-3-Clause
"""qemu-ga's wire, as any client may speak it."""
import json
import re
import socket

import pytest
from agentlab import RESET, AgentError
from guestlab import paths

PING = b'{"execute": "guest-ping"}\n'


def test_sync_delimited(client):
    """The handshake of libvirt and its like: FF stands before this one answer, and no error before it."""
    client.sock.sendall(RESET + b'{"execute": "guest-sync-delimited", "arguments": {"id": 4711}}\n')
    assert client.sock.recv(1) == RESET
    assert client.answer() == 4711


def test_reset_in_the_midst_of_a_request(client):
    client.sock.sendall(b'{"execute": "guest-set-user-password", "arguments": {"password": "c2Vj' + RESET)
    with pytest.raises(AgentError) as caught:
        client.answer()
    assert "c2Vj" not in caught.value.desc
    assert client.ask("sync", id=1) == 1


def test_bytes_in_any_pieces(client):
    for byte in PING * 3:
        client.sock.sendall(bytes([byte]))
    assert [client.answer() for _ in range(3)] == [{}, {}, {}]


def test_requests_are_answered_in_order(client):
    requests = b"".join(
        b'{"execute": "guest-sync", "arguments": {"id": %d}}\n{"execute": "guest-get-timezone"}' % n for n in range(50)
    )
    client.sock.sendall(requests)
    answers = [client.answer() for _ in range(100)]
    assert answers[::2] == list(range(50)) and all("offset" in answer for answer in answers[1::2])


@pytest.mark.parametrize("number", [0, -1, 2**64 - 1, "text", None, [1, {"a": 2.5}], {"x": "\0\u00fc"}])
def test_id_is_echoed(client, number):
    client.send("guest-ping", id=number)
    assert client.receive() == {"return": {}, "id": number}
    client.send("guest-nope", id=number)
    assert client.receive()["id"] == number


def test_json_as_qmp_has_it(client):
    client.sock.sendall(b"{'execute': 'guest-ping', 'id': '\\u0000\"'}")
    assert client.receive() == {"return": {}, "id": '\0"'}


def test_client_that_has_no_more_to_say(client):
    """echo ... | socat - UNIX:..."""
    client.sock.sendall(b'{"execute": "guest-get-osinfo"}')
    client.sock.shutdown(socket.SHUT_WR)
    assert "kernel-release" in client.answer()
    assert client.sock.recv(1) == b""


@pytest.mark.parametrize(
    "request_bytes, kind, words",
    [
        (b'{"execute": "guest-nope"}\n', "CommandNotFound", "guest-nope has not been found"),
        (b'{"exec-oob": "guest-ping"}\n', "GenericError", "'exec-oob' is unexpected"),
        (b"{}\n", "GenericError", "lacks member 'execute'"),
        (b"[1]\n", "GenericError", "must be a JSON object"),
        (b'{"execute": 1}\n', "GenericError", "must be a string"),
        (b'{"execute": "guest-ping", "arguments": []}\n', "GenericError", "must be an object"),
        (b'{"execute": "guest-ping", "arguments": {"a": 1}}\n', "GenericError", "'a' is unexpected"),
        (b'{"execute": "guest-sync"}\n', "GenericError", "'id' is missing"),
        (b'{"execute": "guest-sync", "arguments": {"id": "1"}}\n', "GenericError", "expected: integer"),
        (b'{"execute": "guest-exec", "arguments": {"path": "x", "arg": [1]}}\n', "GenericError", "array of strings"),
        (b'{"execute": "guest-ping", "execute": "guest-info"}\n', "GenericError", "a member twice"),
        (b'{"execute": "guest-sync", "arguments": {"id": 1, "id": 2}}\n', "GenericError", "'id' is given twice"),
        (b'{"execute": nonsense}\n', "GenericError", "byte 12"),
        (b'{"execute": "guest-ping",}\n', "GenericError", "byte 25"),
        (b"noise\n", "GenericError", "byte 0"),
        (b"[" * 1025 + b"\n", "GenericError", "byte 1024: too many nested values"),
        (b"{" + b" " * (16 << 20) + b"\n", "GenericError", "too long"),
    ],
    ids=[str(number) for number in range(17)],
)
def test_what_is_wrong_is_told_and_the_next_request_answered(client, request_bytes, kind, words):
    client.sock.sendall(request_bytes)
    with pytest.raises(AgentError) as caught:
        client.answer()
    assert caught.value.kind == kind and words in caught.value.desc
    assert client.ask("ping") == {}


def test_what_is_wrong_in_a_whole_value_costs_that_value(client):
    """Bytes behind its last bracket are the next request, on the same line too."""
    client.sock.sendall(b'{"execute": ?}{"execute": "guest-sync", "arguments": {"id": 3}}')
    with pytest.raises(AgentError, match="byte 12"):
        client.answer()
    assert client.answer() == 3


def test_answer_that_nobody_reads_holds_up_nobody_else(start_agent, connect):
    """Its client has one answer in memory, and the agent reads no further request of it."""
    path = start_agent()[1]
    silent, other = connect(path), connect(path)
    silent.sock.setblocking(False)
    request = json.dumps({"execute": "guest-info"}).encode() * 100
    with pytest.raises(BlockingIOError):
        while True:
            silent.sock.send(request)
    assert other.ask("ping") == {}


def test_conversation_of_the_specification(client):
    """The bytes in docs/agent.md, one by one."""
    lines = re.findall(r"^(C → A|A → C)  (ff )?(.*)$", (paths.TREE / "docs/agent.md").read_text(), re.MULTILINE)
    assert len(lines) == 6
    for direction, reset, text in lines:
        expected = (RESET if reset else b"") + text.encode() + b"\n"
        if direction == "C → A":
            client.sock.sendall(expected)
        else:
            assert client.receive_line() == expected

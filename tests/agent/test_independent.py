# SPDX-License-Identifier: BSD-3-Clause
"""outboard-agent with a host that was written from docs/agent.md alone: each sentence there about the wire."""
import json
import re
import socket

import pytest
from agentlab import AGENT, PATIENCE_S
from guestlab import paths
from independent_host import FF, Host, Refused, decode

BUSY, NO_SERVICE = 6, 2
PAGE = (paths.TREE / "docs/agent.md").read_text()


@pytest.fixture
def start(spawn, lab, cleanup):
    """start(option...): a Host with an agent at the other end."""

    def start(*options, offers_host=True):
        listener = cleanup.enter_context(lab.listen(socket.AF_UNIX))
        start.agent = spawn([AGENT, f"--channel=unix:{listener.getsockname()}", *options])
        listener.settimeout(PATIENCE_S)
        sock = lab.accept(listener)
        sock.settimeout(PATIENCE_S)
        return Host(sock, offers_host)

    return start


@pytest.fixture
def stream(start):
    return start().open()


def error_of(answer):
    assert set(answer["error"]) == {"class", "desc"}
    return answer["error"]["class"], answer["error"]["desc"]


def test_agent_calls_its_host(start):
    host = start()
    hello = host.wait_call("host-hello")
    assert set(hello) == {"boot-id", "version", "capabilities"} and "guest-exec" in hello["capabilities"]
    host.wait_call("host-event", event="ready")
    start.agent.signal(15)
    host.wait_call("host-event", event="shutting-down")


def test_host_without_that_service(start):
    host = start(offers_host=False)
    assert host.open().ask("guest-ping") == {"return": {}}


def test_the_example_of_the_page(stream):
    """The lines under "The wire", byte by byte."""
    example = re.search(r"```\n(C → A.*?)```", PAGE, re.DOTALL)[1]
    for line in example.splitlines():
        arrow, text = line[:5], line[7:]
        data = (FF if text.startswith("ff ") else b"") + text.removeprefix("ff ").encode()
        if arrow == "C → A":
            stream.say(data + b"\n")
        else:
            assert stream.line() == data


def test_json(stream):
    stream.say(b"{'execute': 'guest-sync', 'arguments': {'id': 5}, 'id': 18446744073709551615}")
    stream.say(b' \t\r\n{"execute": "guest-ping", "id": {"a": [null, true, -1.5e3, "\\u0000\\\'\xc3\xa4"]}}')
    assert stream.answer() == {"return": 5, "id": 18446744073709551615}
    line = stream.line()
    assert json.loads(line) == {"return": {}, "id": {"a": [None, True, -1500.0, "\0'ä"]}} and line.isascii()


def test_answers_have_the_order_of_the_requests(stream):
    names = ["guest-get-osinfo", "guest-ping", "guest-get-fsinfo", "guest-sync", "guest-get-disks"]
    for number, name in enumerate(names):
        stream.say(json.dumps({"execute": name, "id": number}).encode())
    assert [stream.answer()["id"] for _ in names] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("text", [b'{"execute": "guest-none"}', b'{"execute": "guest-get-devices"}'])
def test_command_that_is_not_there(stream, text):
    stream.say(text)
    assert error_of(stream.answer())[0] == "CommandNotFound"


@pytest.mark.parametrize("text", [b'{"execute": 5}', b"{}", b'{"execute": "guest-ping", "arguments": 1}', b"[]",
                                  b'{"execute": "guest-ping", "arguments": {"x": 1}}', b'{"execute": "guest-sync"}',
                                  b"[" * 1025 + b"]" * 1025, b"[" + b"0," * 65536 + b"0]"], ids=range(8))  # fmt: skip
def test_request_that_is_wrong(stream, text):
    stream.say(text + b"\n")
    assert error_of(stream.answer())[0] == "GenericError"
    while stream.ask("guest-ping") != {"return": {}}:  # the rest may be more requests, each wrong too
        pass


def test_offset_of_what_is_wrong(stream):
    stream.say(b'{"execute": "guest-ping"}\n')
    stream.answer()
    stream.say(b'{"execute": ?, "more": {"execute": "guest-ping"}}\n{"execute": "guest-sync", "arguments": {"id": 1}}')
    assert "byte 38" in error_of(stream.answer())[1]
    assert stream.answer() == {"return": 1}  # from the next newline on


def test_reset(stream):
    stream.say(FF + b'{"execute": "guest-pi' + FF + b'{"execute": "guest-sync", "arguments": {"id": 2}}')
    assert error_of(stream.answer())[0] == "GenericError"
    assert stream.answer() == {"return": 2}
    stream.say(FF + FF + b'{"execute": "guest-sync-delimited", "arguments": {"id": 3}}')
    assert stream.line() == FF + b'{"return": 3}'


def test_each_stream_has_a_parser_of_its_own(start):
    host = start()
    half, other = host.open(), host.open()
    half.say(b'{"execute": "guest-sync", "argum')
    for number in range(50):
        assert other.ask("guest-sync", {"id": number}) == {"return": number}
    gone = host.open()
    gone.say(b'{"execute": "guest-get-osinfo"}{"exec')
    gone.close()
    half.say(b'ents": {"id": 99}}')
    assert half.answer() == {"return": 99}


def test_number_of_clients(start):
    host = start()
    streams = [host.open() for _ in range(256)]
    with pytest.raises(Refused, match=str(BUSY)):
        host.open().ask("guest-ping")
    assert streams[0].ask("guest-ping") == streams[-1].ask("guest-ping") == {"return": {}}
    streams.pop().close()
    assert streams[0].ask("guest-ping") == {"return": {}}  # by now the agent has seen the end
    assert host.open().ask("guest-ping") == {"return": {}}


def test_other_service(start):
    with pytest.raises(Refused, match=str(NO_SERVICE)):
        start().open(b"@none")


def test_caller_is_in_the_log(start):
    host = start()
    host.open(caller=b"x" * 99).ask("guest-exec", {"path": "true"})
    assert f"guest-exec by the other end, {'x' * 99}\n" in start.agent.log.read_text()


def commands_of_the_page():
    """The names in the tables under "Commands", whose short forms are written out."""
    section = PAGE[PAGE.index("## Commands") : PAGE.index("### Freeze")]
    names = set()
    for row in re.findall(r"^\| (guest-.*?) \|", section, re.MULTILINE):
        stem = ""
        for word in row.split(", "):
            if word.startswith("guest-"):
                stem = word
                names.add(word)
            else:  # -close after guest-file-open
                parts = stem.split("-")
                names |= {"-".join(parts[:keep]) + word.rstrip("-") for keep in range(2, len(parts))}
    return names


def test_each_command_is_in_the_page(stream):
    """And each name in the page is a command, but for the ways in which a short form could not be read."""
    told = {command["name"] for command in stream.ask("guest-info")["return"]["supported_commands"]}
    shortened = {"guest-ssh-add-authorized-keys", "guest-ssh-remove-authorized-keys"}
    assert told - shortened <= commands_of_the_page()
    hello = stream.ask("guest-hello")["return"]
    assert set(hello["capabilities"]) == told and set(hello) == {"boot-id", "version", "capabilities"}


def test_commands_of_its_own(stream, tmp_path):
    (tmp_path / "file").write_bytes(bytes(range(256)))
    whole = stream.ask("guest-get-file", {"path": f"{tmp_path}/file"})["return"]
    assert (decode(whole["buf-b64"]), whole["count"], whole["eof"]) == (bytes(range(256)), 256, True)
    part = stream.ask("guest-get-file", {"path": f"{tmp_path}/file", "offset": 3, "count": 4})["return"]
    assert decode(part["buf-b64"]) == bytes([3, 4, 5, 6])
    assert list(stream.ask("guest-get-dmesg").get("return", {"messages": ""})) == ["messages"]


@pytest.mark.parametrize("seconds", [-1, 86401])
def test_time_of_a_freeze(stream, seconds):
    answer = stream.ask("guest-fsfreeze-freeze-list", {"mountpoints": ["/nonexistent"], "timeout": seconds})
    assert error_of(answer)[0] == "GenericError"
    assert stream.ask("guest-fsfreeze-thaw") == {"return": 0}


def test_handles_belong_to_the_agent(start, tmp_path):
    host = start()
    first, second = host.open(), host.open()
    handles = [first.ask("guest-file-open", {"path": f"{tmp_path}/{n}", "mode": "w"})["return"] for n in range(64)]
    assert second.ask("guest-file-flush", {"handle": handles[0]}) == {"return": {}}
    second.ask("guest-file-open", {"path": f"{tmp_path}/64", "mode": "w"})
    assert "error" in second.ask("guest-file-flush", {"handle": handles[1]})  # not used for the longest time
    assert second.ask("guest-file-flush", {"handle": handles[0]}) == {"return": {}}


def test_read_only(start):
    stream = start("--read-only").open()
    assert error_of(stream.ask("guest-exec", {"path": "true"}))[0] == "CommandNotFound"
    enabled = {command["name"]: command["enabled"] for command in stream.ask("guest-info")["return"]["supported_commands"]}
    assert enabled["guest-get-osinfo"] and not enabled["guest-exec"]

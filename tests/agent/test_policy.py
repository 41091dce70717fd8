# SPDX-License-Identifier: BSD-3-Clause
"""Which commands an agent carries out."""
import subprocess

import pytest
from agentlab import AGENT, AgentError


def enabled(client):
    return {command["name"] for command in client.ask("info")["supported_commands"] if command["enabled"]}


def refused(client, command, why, **arguments):
    with pytest.raises(AgentError) as caught:
        client.ask(command, **arguments)
    assert caught.value.desc == f"Command guest-{command} has been disabled: {why}"
    assert caught.value.kind == "CommandNotFound"


def test_block(start_agent, connect):
    client = connect(start_agent("--block-rpcs=guest-exec,guest-get-time")[1])
    refused(client, "get-time", "the command is blocked")
    assert not {"guest-exec", "guest-get-time"} & enabled(client)
    assert client.ask("ping") == {}


def test_allow(start_agent, connect):
    client = connect(start_agent("--allow-rpcs=guest-info,guest-ping")[1])
    assert enabled(client) == {"guest-info", "guest-ping"}
    refused(client, "get-time", "the command is not allowed")


def test_read_only(start_agent, connect, tmp_path):
    client = connect(start_agent("--read-only")[1])
    refused(client, "file-open", "the agent is read-only", path=str(tmp_path / "file"), mode="w")
    refused(client, "exec", "the agent is read-only", path="true")
    assert {"guest-get-osinfo", "guest-get-file", "guest-fsfreeze-status"} <= enabled(client)
    assert not {"guest-shutdown", "guest-fsfreeze-freeze", "guest-set-time"} & enabled(client)


def test_file_of_settings(start_agent, connect, tmp_path):
    path = tmp_path / "agent.conf"
    path.write_text("# who may do what\n[general]\nblock-rpcs = guest-exec;guest-get-time;\nread-only=true\n")
    client = connect(start_agent(f"--config={path}")[1])
    refused(client, "get-time", "the command is blocked")
    refused(client, "set-time", "the agent is read-only")
    done = subprocess.run([AGENT, f"--config={path}", "--dump-conf"], capture_output=True, text=True, check=True)
    assert "block-rpcs=guest-exec;guest-get-time;\n" in done.stdout and "read-only=true\n" in done.stdout


@pytest.mark.parametrize(
    "options, words",
    [
        (["--block-rpcs=guest-nope"], "got 'guest-nope', expected a command of the agent"),
        (["--allow-rpcs=guest-ping,"], "got '', expected a command"),
        (["--method=unix-listen"], "give --method and --path together"),
        (["--method=isa-serial", "--path=/dev/ttyS0"], "expected unix-listen"),
        (["--nonsense"], "got '--nonsense', expected an option"),
        (["word"], "got 'word', expected an option"),
        (["--config=/nonexistent"], "can't read /nonexistent"),
    ],
)
def test_options_that_are_wrong(options, words):
    done = subprocess.run([AGENT, *options], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and words in done.stderr


@pytest.mark.parametrize("line, words", [("nonsense", "expected KEY=VALUE"), ("a=b", "got 'a', expected a setting"),
                                         ("block-rpcs=x", "got 'x', expected a command")])  # fmt: skip
def test_settings_that_are_wrong(tmp_path, line, words):
    path = tmp_path / "agent.conf"
    path.write_text(f"[general]\n{line}\n")
    done = subprocess.run([AGENT, f"--config={path}"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and words in done.stderr


def test_what_changes_the_guest_is_logged(start_agent, connect):
    process, path = start_agent()
    client = connect(path)
    client.run("true")
    client.ask("get-osinfo")
    lines = process.log.read_text().splitlines()
    assert any("guest-exec by uid" in line for line in lines)
    assert not any("osinfo" in line or "exec-status" in line for line in lines)

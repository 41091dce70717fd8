# SPDX-License-Identifier: BSD-3-Clause
"""The agent as a service over a channel: many clients, and the command line of the host."""
import json
import os
import signal
import subprocess

import pytest
from agentlab import AGENT, PATIENCE_S, PROGRAM, AgentError, ask_as_many
from proxylab import End


@pytest.fixture
def qga(lab):
    """qga(option...): (the host's end, the path of its qga socket), with an agent at the other end."""

    def start(*options):
        path = lab.folder / "qga"
        host, _ = lab.pair(host=[f"--qga-socket={path}"], guest=options or ["--allow-agent"])
        return host, path

    return start


def test_agent_over_a_channel(qga, connect):
    path = qga()[1]
    client = connect(path)
    assert client.ask("ping") == {}
    assert client.run("sh", "-c", "exit 4")["exitcode"] == 4


def test_agent_is_offered_only_where_it_is_allowed(qga, connect, lab):
    path = lab.folder / "qga"
    lab.pair(host=[f"--qga-socket={path}"], guest=["--allow-run"])
    client = connect(path)
    assert client.sock.recv(1) == b""


@pytest.mark.parametrize(
    "option, name, allowed",
    [("--agent-allow=guest-ping", "get-time", False), ("--agent-read-only", "exec", False),
     ("--agent-read-only", "get-time", True)],
)  # fmt: skip
def test_policy_of_the_end(qga, connect, option, name, allowed):
    client = connect(qga(option)[1])
    if allowed:
        client.ask(name)
    else:
        with pytest.raises(AgentError, match="has been disabled"):
            client.ask(name, **({"path": "true"} if name == "exec" else {}))


@pytest.mark.parametrize("cell", ["default", "none"])
def test_callers_name_is_logged(lab, connect, cell):
    """A user whom the cell's user namespace does not have is known outside of it."""
    path = lab.folder / "qga"
    _, guest = lab.pair(host=[f"--qga-socket={path}", f"--cell={cell}"], guest=["--allow-agent"])
    connect(path).run("true")
    assert f"guest-exec by the other end, uid {os.getuid()}, pid {os.getpid()}\n" in guest.log()


def test_each_answer_is_the_askers(qga):
    """100 clients of three kinds, of which half vanish at times; 10,000 requests."""
    assert ask_as_many(qga()[1], 10_000).requests == 10_000


def test_slow_command_holds_up_nobody(qga, connect, tmp_path):
    path = qga()[1]
    slow, other = connect(path), connect(path)
    pid = slow.ask("exec", path="sh", arg=["-c", "read line; exit 9"], input_data="", capture_output=True)["pid"]
    assert other.ask("ping") == {}
    while not (status := slow.ask("exec-status", pid=pid))["exited"]:
        pass
    assert status["exitcode"] == 9


def test_clients_of_three_programs_side_by_side(qga, connect, cleanup):
    """libvirt keeps its connection and syncs plainly, Proxmox connects for each command, and scripts have socat."""
    path = qga()[1]
    kept = connect(path)
    for number in range(10):
        assert kept.ask("sync", id=number) == number
        script = cleanup.enter_context(subprocess.Popen(["socat", "-t", str(PATIENCE_S), "-", f"UNIX-CONNECT:{path}"],
                                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE))  # fmt: skip
        with connect(path) as once:
            sync = {"execute": "guest-sync-delimited", "arguments": {"id": 1000 + number}}
            once.sock.sendall(b"\xff" + json.dumps(sync).encode() + b'\n{"execute": "guest-get-host-name"}')
            assert once.answer() == 1000 + number
            assert "host-name" in once.answer()
        assert "kernel-release" in kept.ask("get-osinfo")
        out, _ = script.communicate(b'{"execute": "guest-sync", "arguments": {"id": %d}}\n' % number, PATIENCE_S)
        assert json.loads(out) == {"return": number} and script.returncode == 0


def test_large_answer_on_the_command_line(qga, tmp_path):
    with open(tmp_path / "file", "wb") as file:
        file.truncate(13 << 20)  # more than a request may have, in Base64
    done = outboard_agent(qga()[0], "--json", "get-file", f"path={tmp_path}/file")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["count"] == 13 << 20


def outboard_agent(end, *words, **options):
    argv = [PROGRAM, "agent", f"--control={end.control}", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False, **options)


def test_command_line(qga, tmp_path):
    end = qga()[0]
    assert outboard_agent(end, "ping").stdout == ""
    assert outboard_agent(end, "guest-sync", "id=5").stdout == "5\n"
    done = outboard_agent(end, "--json", "get-osinfo")
    assert "kernel-release" in json.loads(done.stdout)
    done = outboard_agent(end, "get-osinfo")
    assert any(line.startswith("kernel-release: ") for line in done.stdout.splitlines())
    done = outboard_agent(end, "get-vcpus")
    assert done.stdout.startswith("- can-offline: ") and "\n  online: yes\n" in done.stdout
    done = outboard_agent(end, "get-file", f"path={tmp_path}/none")
    assert (done.returncode, done.stdout) == (1, "") and "No such file" in done.stderr


@pytest.mark.parametrize(
    "words", [[], ["freeze"], ["freeze", "--for=3"], ["freeze", "--for=0", "true"], ["freeze", "--", "true"],
              ["ping", "nonsense"]]
)  # fmt: skip
def test_command_line_that_is_wrong(qga, words):
    done = outboard_agent(qga()[0], *words)
    assert done.returncode == 2 and done.stderr.startswith("outboard agent: ")


def test_no_agent_there(lab):
    host, _ = lab.pair(guest=["--allow-run"])
    done = outboard_agent(host, "ping")
    assert done.returncode == 255 and "the other end has no agent" in done.stderr


def test_program_for_guests(lab, spawn):
    """outboard-agent is an end of a channel that offers its agent and nothing else."""
    spawn([AGENT, f"--channel=unix-listen:{lab.channel}"])
    host = lab.start("host", f"--channel=unix:{lab.channel}")
    host.wait_up()
    assert isinstance(host, End)
    assert outboard_agent(host, "sync", "id=1").stdout == "1\n"
    assert host.outboard("run", "--", "true").returncode == 255


def test_channel_that_breaks_is_no_answer(lab, spawn, connect):
    """A client whose request was under way is told, by the end of its connection."""
    agent = spawn([AGENT, f"--channel=unix-listen:{lab.channel}"])
    path = lab.folder / "qga"
    host = lab.start("host", f"--channel=unix:{lab.channel}", f"--qga-socket={path}")
    host.wait_up()
    client = connect(path)
    assert client.ask("ping") == {}
    agent.signal(signal.SIGSTOP)
    client.send("guest-ping")
    agent.kill()
    with pytest.raises(ConnectionError):
        client.receive()

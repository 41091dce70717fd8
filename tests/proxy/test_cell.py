# SPDX-License-Identifier: BSD-3-Clause
"""The cell of a proxy: what it is, and that all services go on working from it."""
import os
import select
import signal
import socket
import subprocess

import pytest

from agentlab import AGENT
from apps import heed_hangups, receive
from celllab import check_print_cell, children_of, status_of
from proxylab import PATIENCE_S, PROGRAM, STATIC


def connector_of(end):
    """The process that connects and listens for a proxy in a cell."""
    (child,) = children_of(end.process.pid)
    return child


@pytest.mark.parametrize("program", [[PROGRAM, "proxy"], [STATIC], [AGENT], [AGENT, "event"], [PROGRAM, "agent"],
                                     *([PROGRAM, "proxy", verb] for verb in ("run", "connect", "ping", "status"))],
                         ids=lambda words: "-".join([os.path.basename(words[0]), *words[1:]]))  # fmt: skip
def test_print_cell_says_what_a_proxy_could_do(program):
    check_print_cell(*program)


def test_a_cell_is_the_default_and_its_connector_stays_outside(lab):
    host = lab.start("host", f"--channel=unix-listen:{lab.channel}")
    fields, outside = status_of(host.process.pid), status_of(connector_of(host))
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert os.readlink(f"/proc/{connector_of(host)}/root") == "/"
    assert int(outside["Uid"].split()[0]) == os.geteuid()
    assert (fields["Uid"] == outside["Uid"]) == (os.geteuid() != 0)
    without = lab.start("without", f"--channel=unix-listen:{lab.channel}2", "--cell=none")
    assert status_of(without.process.pid)["Seccomp"] == "0"
    assert children_of(without.process.pid) == []


def test_a_connector_that_starts_no_commands_gains_no_privileges(lab):
    plain = lab.start("plain", f"--channel=unix-listen:{lab.channel}1", "-sapp=tcp:127.0.0.1:1")
    runs = lab.start("runs", f"--channel=unix-listen:{lab.channel}2", "--allow-run")
    serves = lab.start("serves", f"--channel=unix-listen:{lab.channel}3", "-sapp=exec:true")
    found = [status_of(connector_of(end)) for end in (plain, runs, serves)]
    assert [(fields["NoNewPrivs"], fields["Seccomp"]) for fields in found] == [("1", "2"), ("0", "0"), ("0", "0")]


def test_paths_are_removed_when_it_ends(lab):
    host = lab.start("host", f"--channel=unix-listen:{lab.channel}", f"-Lunix:{lab.folder}/forward:app")
    assert lab.channel.exists() and (lab.folder / "forward").exists() and host.control.exists()
    host.process.signal(signal.SIGTERM)
    assert host.process.wait(PATIENCE_S) == 0
    assert not lab.channel.exists() and not (lab.folder / "forward").exists() and not host.control.exists()


def test_a_proxy_without_its_connector_ends(lab):
    host = lab.start("host", f"--channel=unix-listen:{lab.channel}")
    os.kill(connector_of(host), signal.SIGKILL)
    assert host.process.wait(PATIENCE_S) == 1
    assert "the connector has gone" in host.log()


def test_few_descriptors_are_no_end(lab):
    """Connections that find no room are refused, and there is room again once others have ended."""
    app = lab.listen()
    where = lab.folder / "forward"
    host = lab.start(
        "host",
        f"--channel=unix-listen:{lab.channel}",
        f"-sapp=tcp:127.0.0.1:{app.getsockname()[1]}",
        before=["prlimit", "--nofile=64:64"],
    )
    guest = lab.start("guest", f"--channel=unix:{lab.channel}", f"-Lunix:{where}:app")
    assert guest.wait_up() == host.wait_up()
    clients = [lab.connect(where) for _ in range(80)]
    assert receive(clients[-1]) == b""
    assert host.status()["up"] is True
    for client in clients:
        client.close()
    while host.status()["streams"]:
        while select.select([app], [], [], 0)[0]:
            app.accept()[0].close()
    here, there = lab.joined(where, app)
    here.sendall(b"still here")
    assert receive(there, 10) == b"still here"


def test_user_is_for_root(lab):
    done = subprocess.run([PROGRAM, "proxy", "--user=1234", "--print-cell"], capture_output=True, text=True, timeout=PATIENCE_S)
    if os.geteuid() == 0:
        assert done.returncode == 0 and done.stdout.splitlines()[0].endswith(" yes")
    else:
        assert done.returncode == 2 and "only root can become another user" in done.stderr


def test_a_policy_that_is_none_is_named(tmp_path):
    policy = tmp_path / "my.policy"
    policy.write_text("opnat\n")
    done = subprocess.run(
        [PROGRAM, "proxy", f"--cell-policy={policy}", "--channel=stdio"], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 1 and f"{policy}:1: got 'opnat'" in done.stderr


def cell_of(pid):
    fields = status_of(pid)
    return fields["NoNewPrivs"], fields["Seccomp"]


@pytest.mark.parametrize(
    ("options", "agents"),
    [
        (["--allow-agent"], ("0", "0")),
        (["--trust-peer"], ("0", "0")),
        (["--agent-read-only"], ("1", "2")),
        (["--allow-agent", "--agent-block=guest-exec"], ("1", "2")),
        (["--agent-allow=guest-ping,guest-exec"], ("0", "0")),
        (["--agent-read-only", "--agent-freeze-hook=/bin/true"], ("0", "0")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_agent_is_outside_of_the_cell_of_its_proxy(lab, options, agents):
    """What starts programs of a client's choice leaves them their privileges; another agent gains none."""
    host = lab.start("host", f"--channel=unix-listen:{lab.channel}", *options)
    assert cell_of(host.process.pid) == ("1", "2")
    agent, connector = children_of(host.process.pid)  # in the order in which they were started
    assert cell_of(agent) == agents
    assert os.geteuid() != 0 or len(os.listdir(f"/proc/{connector}/fd")) > 3
    assert int(status_of(agent)["Uid"].split()[0]) == os.geteuid()
    assert "cell" not in host.log()


def test_without_a_cell_the_agent_is_a_process_too(lab):
    host = lab.start("host", f"--channel=unix-listen:{lab.channel}", "--agent-read-only", "--cell=none")
    (agent,) = children_of(host.process.pid)
    assert cell_of(host.process.pid) == cell_of(agent) == ("0", "0")


@pytest.fixture
def agent_pair(lab):
    """Both ends; the host's has an agent."""
    host = lab.start("host", f"--channel=unix-listen:{lab.channel}", "--allow-agent", "--agent-block=guest-exec")
    guest = lab.start("guest", f"--channel=unix:{lab.channel}")
    assert guest.wait_up() == host.wait_up()
    return host, guest


def test_an_agent_answers_from_its_own_process(agent_pair):
    host, guest = agent_pair
    command = [PROGRAM, "agent", f"--control={guest.control}", "--json"]
    for words, printed in (["ping"], "{}\n"), (["get-host-name"], f'{{"host-name": "{os.uname().nodename}"}}\n'):
        done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=PATIENCE_S)
        assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")
    done = subprocess.run([*command, "exec", "path=/bin/true"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1 and "the command is blocked" in done.stderr


def test_agent_and_connector_end_with_a_proxy_that_is_killed(agent_pair):
    host, _ = agent_pair
    ended = [os.pidfd_open(child) for child in children_of(host.process.pid)]
    os.kill(host.process.pid, signal.SIGKILL)
    for pidfd in ended:
        assert select.select([pidfd], [], [], PATIENCE_S)[0]
        os.close(pidfd)


def test_a_proxy_without_its_agent_ends(agent_pair):
    host, _ = agent_pair
    os.kill(children_of(host.process.pid)[0], signal.SIGKILL)
    assert host.process.wait(PATIENCE_S) == 1
    assert "the agent's process has gone" in host.log()


def test_a_command_that_the_agent_does_not_have_is_named_at_the_start():
    done = subprocess.run([PROGRAM, "proxy", "--agent-allow=guest-nothing", "--channel=stdio"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1 and "got 'guest-nothing', expected a command of the agent" in done.stderr


def test_the_program_of_a_guest_has_a_cell(lab):
    """Without options it trusts the host, which may use all that its user may, by the processes outside."""
    host = lab.start("host", f"--channel=unix-listen:{lab.channel}", "--trust-peer", program=[STATIC])
    assert cell_of(host.process.pid) == ("1", "2") and len(children_of(host.process.pid)) == 2


def kernels_view(pid):
    """What the kernel tells of a cell, but for the numbers of user and group."""
    told = subprocess.run([PROGRAM, "cells", str(pid)], capture_output=True, text=True, check=True).stdout
    return [line for line in told.splitlines()[1:] if not line.startswith(("  user ", "  group ", "  open files "))]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can read the filters of a process")
def test_the_program_of_a_guest_has_the_cell_of_the_command(lab):
    """It is linked statically, so tests/escape, which preloads a library, takes over the command alone."""
    options = ["--service=app=tcp:127.0.0.1:1", f"-Lunix:{lab.folder}/forward:app"]
    cells = []
    for program in ([STATIC], [PROGRAM, "proxy"]):
        end = lab.start("host", f"--channel=unix-listen:{lab.channel}", *options, program=program)
        cells.append(kernels_view(end.process.pid))
        end.process.terminate()
        assert end.process.wait(PATIENCE_S) == 0
    assert cells[0] == cells[1]
    assert any(line.startswith("  system calls        read") for line in cells[0])


COMMANDS = {
    "run": ["proxy", "run", "--", "cat"],
    "run with a terminal": ["proxy", "run", "--terminal", "--", "cat"],
    "connect": ["proxy", "connect", "echo"],
}


@pytest.fixture
def serving(lab):
    """The other end of a channel, which has all services."""
    host = lab.start("host", f"--channel=unix-listen:{lab.channel}", "--allow-run", "--allow-agent", "-secho=exec:cat")
    return host


def start_command(cleanup, *words):
    process = subprocess.Popen([PROGRAM, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    cleanup.callback(process.wait, PATIENCE_S)
    cleanup.callback(process.stdout.close)
    cleanup.callback(process.stdin.close)
    return process


def with_options(words, *options):
    at = 2 if words[0] == "proxy" else 1
    return [*words[:at], *options, *words[at:]]


@pytest.mark.parametrize("by", ["control", "channel"])
@pytest.mark.parametrize("command", ["run", "run with a terminal", "connect"])
def test_a_command_that_uses_a_proxy_has_a_cell(serving, lab, cleanup, command, by):
    """It does its work there, and the process outside has the rights of its user."""
    if by == "control":
        guest = lab.start("guest", f"--channel=unix:{lab.channel}")
        option = f"--control={guest.control}"
    else:
        option = f"--channel=unix:{lab.channel}"
    process = start_command(cleanup, *with_options(COMMANDS[command], option))
    process.stdin.write(b"question\n")
    process.stdin.flush()
    assert process.stdout.readline().strip() == b"question"
    assert cell_of(process.pid) == ("1", "2")
    (outside,) = children_of(process.pid)
    assert cell_of(outside) == (("1", "2") if by == "control" else ("0", "0"))
    assert int(status_of(outside)["Uid"].split()[0]) == os.geteuid()
    process.stdin.close()
    ended = os.pidfd_open(outside)
    cleanup.callback(os.close, ended)
    if "terminal" not in command:
        assert process.wait(PATIENCE_S) == 0
        assert select.select([ended], [], [], PATIENCE_S)[0]
    else:
        process.kill()
        assert select.select([ended], [], [], PATIENCE_S)[0]


def test_a_command_without_a_cell(serving, lab, cleanup):
    process = start_command(cleanup, "proxy", "run", "--cell=none", f"--channel=unix:{lab.channel}", "--", "cat")
    process.stdin.write(b"question\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"question\n"
    assert cell_of(process.pid) == ("0", "0")


@pytest.fixture
def freeze(lab, cleanup):
    """freeze(word...): outboard agent freeze, and the agent's end of its stream, which has frozen."""

    def start(*words):
        path = lab.folder / "agent"
        with socket.create_server(str(path), family=socket.AF_UNIX) as listener:
            listener.settimeout(PATIENCE_S)
            process = cleanup.enter_context(
                subprocess.Popen([PROGRAM, "agent", f"--control={path}", "freeze", "--for=60", "--", *words],
                                 preexec_fn=heed_hangups, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True))  # fmt: skip
            cleanup.callback(process.kill)
            sock = cleanup.enter_context(listener.accept()[0])
            sock.settimeout(PATIENCE_S)
            agent = cleanup.enter_context(sock.makefile("rw"))
        for question, answer in ("WAIT", "UP 1"), ("OPEN @agent", "OK"), ("fsfreeze-freeze", '{"return": 1}'):
            assert question in agent.readline()
            print(answer, file=agent, flush=True)
        return process, agent

    return start


def end_of_freeze(process, agent):
    assert "fsfreeze-thaw" in agent.readline()
    print('{"return": 1}', file=agent, flush=True)
    return process.wait(PATIENCE_S)


def test_a_program_that_runs_during_a_freeze_has_the_rights_of_its_user(freeze):
    """The process that starts it reads no byte of an agent; the command that does has a cell."""
    process, agent = freeze("sh", "-c", "cat /proc/self/status; echo end; read line; exit 7")
    found = {name: value.strip() for name, _, value in (line.partition(":") for line in iter(process.stdout.readline, "end\n"))}
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("0", "0")
    assert cell_of(process.pid) == ("1", "2")
    starter = children_of(process.pid)[0]
    assert cell_of(starter) == ("0", "0") and children_of(starter)
    process.stdin.write("\n")
    process.stdin.flush()
    assert end_of_freeze(process, agent) == 7


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_reach_the_program_that_runs_during_a_freeze(freeze, number):
    process, agent = freeze("sh", "-c", "echo there; exec cat")
    assert process.stdout.readline() == "there\n"
    process.send_signal(number)
    assert end_of_freeze(process, agent) == 128 + number


def test_a_program_that_can_not_run_during_a_freeze_is_named(freeze):
    process, agent = freeze("/nonexistent")
    assert end_of_freeze(process, agent) == 127
    assert process.stderr.read() == "outboard agent: can't run /nonexistent: No such file or directory\n"


def test_the_process_outside_ends_with_a_freeze_that_is_killed(freeze):
    process, agent = freeze("cat")
    starter = children_of(process.pid)[0]
    process.kill()
    ended = os.pidfd_open(starter)
    assert select.select([ended], [], [], PATIENCE_S)[0]
    os.close(ended)


def test_a_freeze_that_is_refused_starts_nothing(lab):
    lab.start("host", f"--channel=unix-listen:{lab.channel}", "--allow-agent", "--agent-read-only")
    done = subprocess.run([PROGRAM, "agent", f"--channel=unix:{lab.channel}", "freeze", "--for=1", "--", "true"],
                          capture_output=True, text=True, timeout=PATIENCE_S)  # fmt: skip
    assert (done.returncode, done.stderr) == (255, "outboard agent: Command guest-fsfreeze-freeze has been disabled: the agent is read-only\n")


@pytest.mark.parametrize("words", [["proxy", "ping"], ["proxy", "run", "true"], ["proxy", "status"], ["agent", "ping"]], ids=" ".join)
def test_cell_of_a_command_is_one_of_three_words(words, tmp_path):
    done = subprocess.run([PROGRAM, *with_options(words, "--cell=maybe", f"--control={tmp_path}/none")],
                          capture_output=True, text=True, timeout=PATIENCE_S)  # fmt: skip
    assert done.returncode == 2 and "got '--cell=maybe', expected an option with its value" in done.stderr


def test_input_that_the_command_closed_is_given_back_in_a_cell(serving, lab):
    """/dev/null is opened before the cell."""
    done = subprocess.run([PROGRAM, "proxy", "run", f"--channel=unix:{lab.channel}", "--", "sh", "-c", "exec <&-; echo done"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")

# SPDX-License-Identifier: BSD-3-Clause
"""The cell of a proxy: what it is, and that all services go on working from it."""
import os
import select
import signal
import subprocess

import pytest

from apps import receive
from celllab import check_print_cell, children_of, status_of
from proxylab import PATIENCE_S, PROGRAM, STATIC


WITHOUT = "outboard proxy: cell: goes on without one: --allow-agent, --trust-peer or no option at all lets the other end use the agent"


def connector_of(end):
    """The process that connects and listens for a proxy in a cell."""
    (child,) = children_of(end.process.pid)
    return child


@pytest.mark.parametrize("program", [[PROGRAM, "proxy"], [STATIC]])
def test_print_cell_says_what_a_proxy_could_do(program):
    check_print_cell(*program)


def test_a_cell_is_the_default_and_its_connector_has_none(lab):
    host = lab.start("host", f"--channel=unix-listen:{lab.channel}")
    fields, outside = status_of(host.process.pid), status_of(connector_of(host))
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert outside["Seccomp"] == "0"
    assert int(outside["Uid"].split()[0]) == os.geteuid()
    assert (fields["Uid"] == outside["Uid"]) == (os.geteuid() != 0)
    without = lab.start("without", f"--channel=unix-listen:{lab.channel}2", "--cell=none")
    assert status_of(without.process.pid)["Seccomp"] == "0"
    assert children_of(without.process.pid) == []


def test_a_connector_that_starts_no_commands_gains_no_privileges(lab):
    plain = lab.start("plain", f"--channel=unix-listen:{lab.channel}1", "-sapp=tcp:127.0.0.1:1")
    runs = lab.start("runs", f"--channel=unix-listen:{lab.channel}2", "--allow-run")
    serves = lab.start("serves", f"--channel=unix-listen:{lab.channel}3", "-sapp=exec:true")
    assert [status_of(connector_of(end))["NoNewPrivs"] for end in (plain, runs, serves)] == ["1", "0", "0"]


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


@pytest.mark.parametrize("option", ["--allow-agent", "--trust-peer"])
def test_an_agent_leaves_no_cell(lab, option):
    """It opens files and starts programs in the proxy's own process."""
    host = lab.start("host", f"--channel=unix-listen:{lab.channel}", option)
    assert status_of(host.process.pid)["Seccomp"] == "0"
    assert host.log().count(WITHOUT) == 1
    silent = lab.start("silent", f"--channel=unix-listen:{lab.channel}3", option, "--cell=none")
    assert "cell" not in silent.log()
    argv = [PROGRAM, "proxy", option, f"--channel=unix-listen:{lab.channel}2"]
    done = subprocess.run([*argv, "--print-cell"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout) == (0, "no cell (the other end may use the agent)\n")
    done = subprocess.run([*argv, "--cell=required"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1 and "--cell=required: the other end may use the agent" in done.stderr


@pytest.mark.parametrize("options", [[], ["--trust-peer", "--channel=stdio"]], ids=["no option", "--trust-peer"])
def test_the_program_of_a_guest_says_that_it_has_no_cell(options):
    with subprocess.Popen([STATIC, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as guest:
        try:
            assert guest.stderr.readline().startswith(WITHOUT)
        finally:
            guest.kill()

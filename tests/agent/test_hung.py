# SPDX-License-Identifier: BSD-3-Clause
"""A file system whose server does not answer, as a network file system's: it costs the requests that touch it."""
import pathlib

import hung_fs
import pytest
from agentlab import Client

pytestmark = pytest.mark.skipif(hung_fs.why_not() is not None, reason=str(hung_fs.why_not()))


@pytest.fixture
def hung(tmp_path, cleanup):
    """A folder in which each look-up hangs; at the end all of them are answered."""
    folder = tmp_path / "hung"
    folder.mkdir()
    file_system = hung_fs.HungFs(folder, b"#!/bin/sh\n", hangs=(hung_fs.LOOKUP, hung_fs.GETATTR, hung_fs.STATFS))
    cleanup.callback(file_system.close)
    file_system.hang()
    return file_system


def wait_hanging(pid, count):
    """Until so many children of the agent wait for the file system."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    while True:
        waits = 0
        for child in children.read_text().split():
            try:
                waits += "request_wait_answer" in pathlib.Path(f"/proc/{child}/stack").read_text()
            except OSError:
                continue
        if waits >= count:
            return


REQUESTS = [
    ("guest-exec", {"path": "{}/program"}), ("guest-file-open", {"path": "{}/a"}), ("guest-file-open", {"path": "{}/b", "mode": "w"}),
    ("guest-get-file", {"path": "{}/c"}),
]  # fmt: skip


def test_each_request_hangs_alone(start_agent, connect, hung):
    agent, path = start_agent()
    waiting = [connect(path) for _ in REQUESTS]
    for client, (command, arguments) in zip(waiting, REQUESTS, strict=True):
        client.send(command, {name: value.format(hung.mount) for name, value in arguments.items()})
    wait_hanging(agent.pid, 1)
    with Client(path) as other:
        for number in range(100):
            assert other.ask("sync", id=number) == number
        for command in ("ping", "get-osinfo", "get-fsinfo", "get-disks", "get-users", "fsfreeze-status"):
            other.ask(command)
        assert other.run("true")["exitcode"] == 0
    for client in waiting:
        client.close()  # the agent has not answered, and lives on
    with Client(path) as other:
        assert other.ask("ping") == {}


def test_agent_ends_while_a_program_can_not_be_read(start_agent, connect, hung):
    agent, path = start_agent()
    connect(path).send("guest-exec", {"path": f"{hung.mount}/program"})
    wait_hanging(agent.pid, 1)
    agent.signal(15)
    assert agent.wait() == 0


def test_program_that_does_not_exist(client, tmp_path):
    (tmp_path / "text").write_text("x")
    for path, why in (("/nonexistent", "No such file"), (str(tmp_path / "text"), "Permission denied"), ("no-such-word", "No such file")):
        with pytest.raises(Exception, match=why):
            client.ask("exec", path=path)
    for _ in range(100):  # nothing of them is kept
        with pytest.raises(Exception, match="No such file"):
            client.ask("exec", path="/nonexistent")
    assert client.run("sh", "-c", "exit 5")["exitcode"] == 5

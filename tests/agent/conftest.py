# SPDX-License-Identifier: BSD-3-Clause
import socket

import proxylab
import pytest
from agentlab import AGENT, PATIENCE_S, Client


@pytest.fixture
def start_agent(spawn, folder):
    """start_agent(option...): (process, the path of its socket), once it listens."""

    def start(*options, env=()):
        path = folder / "qga.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.settimeout(PATIENCE_S)
            notify.bind(str(folder / "notify"))
            argv = [AGENT, "--method=unix-listen", f"--path={path}", f"--statedir={folder}", *options]
            process = spawn(argv, env={"NOTIFY_SOCKET": notify.getsockname(), **dict(env)})
            assert b"READY=1" in notify.recv(100), process.log_tail()
        (folder / "notify").unlink()
        return process, path

    return start


@pytest.fixture
def connect(cleanup):
    """connect(path): a Client, closed with the test."""
    return lambda path: cleanup.enter_context(Client(path))


@pytest.fixture
def client(start_agent, connect):
    """A client of an agent without options."""
    return connect(start_agent()[1])


@pytest.fixture
def lab(spawn, cleanup):
    return proxylab.Lab(spawn, cleanup)

# SPDX-License-Identifier: BSD-3-Clause
"""Debian's qemu-ga, which has one client and one parser, behind --stock-qga-socket."""
import json
import random
import socket

import pytest
from agentlab import PATIENCE_S, RESET, AgentError, Client, wait_listening

QEMU_GA = "/usr/sbin/qemu-ga"


class Stock:
    """The guest's qemu-ga, and the host's socket in front of it."""

    def __init__(self, lab, spawn, folder):
        self._spawn, self._folder = spawn, folder
        self.listens_at = folder / "stock"
        self.path = lab.folder / "qga"
        self.host, self.guest = lab.pair(
            host=[f"--stock-qga-socket={self.path}"], guest=[f"--service=qga=unix:{self.listens_at}"]
        )

    def start(self):
        process = self._spawn([QEMU_GA, "-m", "unix-listen", "-p", self.listens_at, "-t", self._folder])
        wait_listening(self.listens_at, process)
        return process


@pytest.fixture
def stock(lab, spawn, folder):
    return Stock(lab, spawn, folder)


def test_clients_side_by_side(stock, connect):
    stock.start()
    clients = [connect(stock.path) for _ in range(3)]
    for number in range(10):
        for client in clients:
            client.send("guest-sync", {"id": 100 * number + clients.index(client)})
        assert [client.answer() for client in clients] == [100 * number + index for index in range(3)]


def test_sync_delimited_is_the_clients_own(stock, connect):
    """A client's FF, and the bytes that its request had left, reach nobody else."""
    stock.start()
    client, other = connect(stock.path), connect(stock.path)
    other.sock.sendall(b'{"execute": "guest-set-user-password", "arguments": {"password": "c2Vj')
    client.sock.sendall(RESET + b'{"execute": "guest-sync-delimited", "arguments": {"id": 4711}}\n')
    assert client.sock.recv(1) == RESET
    assert client.answer() == 4711
    assert client.ask("ping") == {}


def test_bad_json_does_not_reach_it(stock, connect):
    stock.start()
    client, other = connect(stock.path), connect(stock.path)
    for request in (b"{'execute': nonsense}\n", b"noise\n", b'{"a": \x01\n'):
        client.sock.sendall(request)
        with pytest.raises(AgentError, match="JSON parse error at byte"):
            client.answer()
    assert other.ask("sync", id=5) == client.ask("sync", id=5) == 5


def test_each_answer_is_the_askers(stock):
    """Of 20 clients, half vanish at times: before, in the midst of and behind a request."""
    stock.start()
    chance = random.Random(1)
    clients = {}
    for number in range(2000):
        index = number % 20
        client = clients.pop(index, None) or Client(stock.path)
        request = json.dumps({"execute": "guest-sync", "arguments": {"id": number}}).encode() + b"\n"
        if index % 2 and chance.random() < 0.3:
            client.sock.sendall(request[: chance.randrange(len(request) + 1)])
            client.close()
            continue
        client.sock.sendall(request)
        assert client.answer() == number
        clients[index] = client
    for client in clients.values():
        client.close()


def test_kept_connection_starves_nobody(stock, connect):
    """One client has always a further request; another one's is answered after the one under way."""
    stock.start()
    greedy, other = connect(stock.path), connect(stock.path)
    greedy.sock.sendall(b'{"execute": "guest-get-osinfo"}\n' * 200)
    for number in range(20):
        assert other.ask("sync", id=number) == number
    for _ in range(200):
        assert "kernel-release" in greedy.answer()


def test_agent_that_is_not_there(stock, connect):
    client = connect(stock.path)
    for _ in range(3):
        with pytest.raises(AgentError, match="the guest's agent can't be reached"):
            client.ask("ping")
    process = stock.start()
    assert client.ask("sync", id=1) == 1
    process.kill()
    stock.listens_at.unlink()
    with pytest.raises((AgentError, ConnectionError)):
        client.ask("ping")
    stock.start()
    assert connect(stock.path).ask("sync", id=2) == 2


def test_many_requests_to_an_agent_that_is_not_there(stock, connect):
    client = connect(stock.path)
    client.sock.sendall(b'{"execute": "guest-ping"}\n' * 500)
    for _ in range(500):
        with pytest.raises(AgentError):
            client.answer()


@pytest.fixture
def fake(lab, cleanup, folder):
    """(the front's path, a listener in the place of qemu-ga)."""
    listener = cleanup.enter_context(socket.create_server(str(folder / "fake"), family=socket.AF_UNIX))
    listener.settimeout(PATIENCE_S)
    path = lab.folder / "qga"
    lab.pair(host=[f"--stock-qga-socket={path}"], guest=[f"--service=qga=unix:{folder / 'fake'}"])
    return path, listener


def sync_number(lines):
    """That of the next sync, behind the requests that stand before it."""
    requests = []
    for line in lines:
        if not line.strip(RESET + b"\n"):
            continue
        request = json.loads(line.strip(RESET))
        if request["execute"] == "guest-sync-delimited":
            return request["arguments"]["id"], requests
        requests.append(request)
    raise AssertionError("the end")


def test_answer_that_comes_late_is_nobodys(fake, connect, cleanup):
    """Its client has gone; the next one waits for it to pass, and a command without an answer is no answer."""
    path, listener = fake
    first, second = Client(path), connect(path)
    first.send("guest-fstrim")
    agent = cleanup.enter_context(listener.accept()[0])
    agent.settimeout(PATIENCE_S)
    lines = cleanup.enter_context(agent.makefile("rb"))

    def answer_sync():
        number, requests = sync_number(lines)
        return requests, RESET + b'{"return": %d}\n' % number

    requests, sync = answer_sync()
    agent.sendall(b'{"return": "of an earlier client"}\n' + sync)
    requests, sync = answer_sync()
    assert requests == [{"execute": "guest-fstrim"}]
    first.close()
    second.send("guest-ping")
    agent.sendall(b'{"return": "for the first"}\n' + sync)
    requests, sync = answer_sync()
    assert requests == [{"execute": "guest-ping"}]
    agent.sendall(b'{"return": {}}\n' + sync)
    assert second.answer() == {}
    second.send("guest-shutdown")
    requests, sync = answer_sync()
    agent.sendall(sync)
    second.send("guest-sync", {"id": 3})
    requests, sync = answer_sync()
    agent.sendall(b'\xff{"return": 3}\n' + b'{"return": 3}\n' + sync)
    assert (second.answer(), second.answer()) == (3, 3)  # all that it says up to our number, FF or not

# SPDX-License-Identifier: BSD-3-Clause
"""Many clients of the agents of a Debian guest: ours at its channel, and the stock one behind --stock-qga-socket."""
import pytest
from agentdebian import PATIENCE_S, DebianGuest, Wire
from agentlab import RESET, AgentError, Client, ask_as_many
from guestlab import paths

GUEST_PROXY = paths.BUILD / "root/bin/outboard-proxy"
BEHIND = "newer"  # the third port


@pytest.fixture(scope="module")
def debian(shared_logs):
    with DebianGuest(shared_logs, has_lines=False, programs=[GUEST_PROXY]) as debian:
        debian.has_newer = False
        debian.start()
        debian.serve("behind", "outboard-proxy --channel=virtio:org.qemu.guest_agent.1 --service=qga=unix:/run/qga.sock")
        debian.serve("unix", "qemu-ga -m unix-listen -p /run/qga.sock -t /run/newer")
        debian.run("until [ -S /run/qga.sock ]; do :; done")
        debian.host_end(BEHIND, "--stock-qga-socket")
        yield debian


@pytest.fixture(params=["ours", BEHIND])
def path(request, debian):
    return debian.folder / f"{request.param}.qga"


def storm(path, requests):
    done = ask_as_many(path, requests, patience_s=PATIENCE_S)
    assert done.requests == requests and done.vanished > requests // 20
    with Wire(path) as wire:
        assert wire.ask("ping") == {}


def test_each_answer_is_the_askers(path):
    """100 clients of three kinds, of which half vanish in the midst of requests."""
    storm(path, 1000)


@pytest.mark.long
def test_each_answer_of_ten_thousand_is_the_askers(path):
    storm(path, 10_000)


def test_kept_connection_starves_nobody(path):
    """One client's pipe is full of requests; the others' come in between."""
    with Wire(path) as greedy, Wire(path) as kept:
        greedy.sock.sendall(b'{"execute": "guest-get-osinfo"}\n' * 100)
        for number in range(10):
            assert kept.ask("sync", id=number) == number
            with Wire(path) as other:
                assert other.ask("sync", id=1000 + number) == 1000 + number
        for _ in range(100):
            assert "kernel-release" in greedy.answer()


# What a client has sent when it vanishes.
LEFT = [b"", RESET, b'{"execute": "guest-', b'{"execute": "guest-info"}\n', b'{"execute": "guest-get-osinfo"}', b"[" * 500, b"," * 4096,
        b'{"execute": "guest-exec", "arguments": {"path": "/bin/true"}}\n{"execute": "guest-info"}\n{"exec',
        b'{"execute": "guest-set-user-password", "arguments": {"username": "bob", "password": "c2Vj']  # fmt: skip


def test_next_client_is_in_step(path):
    for number, left in enumerate(3 * LEFT):
        with Client(path) as gone:
            gone.sock.sendall(left)
        with Client(path) as client:
            client.sock.settimeout(PATIENCE_S)
            assert client.ask("sync", id=number) == number
            with pytest.raises(AgentError):
                client.ask("no-such-command")
            assert client.ask("get-osinfo")["id"] == "debian"


def test_stock_agent_is_still_the_same(debian):
    """It was neither restarted nor did it end."""
    assert debian.run("systemctl show -p NRestarts --value outboard-agent unix; systemctl is-active outboard-agent unix").split() == [
        "0", "0", "active", "active"]  # fmt: skip

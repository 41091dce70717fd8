# SPDX-License-Identifier: BSD-3-Clause
"""The answers of qemu-ga, Debian's, and ours to the same requests in the same system, field by field."""
import pytest
from agentlab import wait_listening

QEMU_GA = "/usr/sbin/qemu-ga"

# Both answer the same, and have nothing that changes meanwhile.
SAME = [
    ("ping", {}), ("get-osinfo", {}), ("get-host-name", {}), ("get-timezone", {}), ("get-users", {}),
    ("get-memory-block-info", {}), ("fsfreeze-status", {}), ("fsfreeze-thaw", {}), ("nope", {}),
    ("sync", {"id": 7}), ("sync-delimited", {"id": -1}), ("sync", {}), ("sync", {"id": "x"}), ("ping", {"a": 1}),
    ("file-open", {"path": "/etc/hostname", "mode": "q"}), ("file-close", {"handle": 1}),
    ("exec-status", {"pid": 1}), ("set-vcpus", {"vcpus": []}),
    ("set-memory-blocks", {"mem-blks": [{"phys-index": 99999999, "online": True}]}),
    ("fsfreeze-freeze-list", {"mountpoints": ["/nonexistent"]}),
]  # fmt: skip

# Both have the same names and kinds of values: texts of errors, counters that go up, elements in another order.
ALIKE = [
    ("get-time", {}), ("get-diskstats", {}), ("get-cpustats", {}), ("get-vcpus", {}), ("get-memory-blocks", {}),
    ("file-open", {"path": "/nonexistent"}), ("exec", {"path": "/nonexistent"}),
    ("ssh-get-authorized-keys", {"username": "no-such-user"}), ("shutdown", {"mode": "sideways"}),
    ("set-vcpus", {"vcpus": [{"logical-id": 4000, "online": True}]}),
    ("set-user-password", {"username": "no-such-user", "password": "eA==", "crypted": False}),
    ("set-user-password", {"username": "root", "password": "!", "crypted": False}),
]  # fmt: skip

# What ours has and qemu-ga 7.2 does not; docs/agent.md gives the reasons.
ADDED = {"serial", "total-bytes-privileged", "statistics"}


@pytest.fixture
def both(spawn, start_agent, folder, connect):
    """Clients of qemu-ga and of ours."""
    (folder / "state").mkdir()
    path = folder / "stock"
    stock = spawn([QEMU_GA, "-m", "unix-listen", "-p", path, "-t", folder / "state"])
    wait_listening(path, stock)
    return connect(path), connect(start_agent()[1])


def answers(both, command, arguments):
    for client in both:
        client.send(f"guest-{command}", arguments)
    return [client.receive() for client in both]


def shape(value):
    """Names and kinds; of an array, those of its elements."""
    if isinstance(value, dict):
        return {name: shape(value[name]) for name in sorted(value) if name not in ADDED}
    if isinstance(value, list):
        return sorted({repr(shape(element)) for element in value})
    return type(value).__name__


@pytest.mark.parametrize("command, arguments", SAME, ids=[f"{name}-{number}" for number, (name, _) in enumerate(SAME)])
def test_same(both, command, arguments):
    stock, ours = answers(both, command, arguments)
    assert ours == stock


@pytest.mark.parametrize("command, arguments", ALIKE, ids=[f"{name}-{number}" for number, (name, _) in enumerate(ALIKE)])
def test_alike(both, command, arguments):
    stock, ours = answers(both, command, arguments)
    assert shape(ours) == shape(stock)


def without_added(value):
    if isinstance(value, dict):
        return {name: without_added(member) for name, member in value.items() if name not in ADDED}
    return [without_added(member) for member in value] if isinstance(value, list) else value


def test_disks_and_interfaces_have_what_qemu_ga_has(both):
    stock, ours = answers(both, "get-disks", {})
    assert without_added(ours["return"]) == without_added(stock["return"])
    stock, ours = answers(both, "network-get-interfaces", {})
    assert without_added(ours["return"]) == without_added(stock["return"])


def test_file_systems_have_what_qemu_ga_has(both):
    def settled(answer):  # how much is used changes
        return [{name: value for name, value in without_added(system).items() if name != "used-bytes"}
                | {"total-bytes": None} for system in answer["return"]]  # fmt: skip

    stock, ours = answers(both, "get-fsinfo", {})
    assert settled(ours) == settled(stock)

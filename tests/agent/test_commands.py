# SPDX-License-Identifier: BSD-3-Clause
"""The commands, on the machine that the test runs on; what changes a machine is tests/vm/test_agent.py's."""
import os
import platform
import socket

import pytest
from agentlab import AgentError, decode, encode


def test_info(client):
    info = client.ask("info")
    names = {command["name"] for command in info["supported_commands"]}
    assert {"guest-ping", "guest-fsfreeze-freeze", "guest-exec", "guest-get-load", "guest-network-get-route"} <= names
    silent = {command["name"] for command in info["supported_commands"] if not command["success-response"]}
    assert silent == {"guest-shutdown", "guest-suspend-disk", "guest-suspend-ram", "guest-suspend-hybrid"}


def test_what_the_machine_is(client):
    assert client.ask("get-host-name") == {"host-name": socket.gethostname()}
    osinfo = client.ask("get-osinfo")
    assert (osinfo["kernel-release"], osinfo["machine"]) == (platform.release(), platform.machine())
    assert osinfo["id"] == platform.freedesktop_os_release()["ID"]
    assert sorted(cpu["logical-id"] for cpu in client.ask("get-vcpus") if cpu["online"]) == sorted(os.sched_getaffinity(0))
    assert len(client.ask("get-cpustats")) == os.cpu_count()
    assert all(value >= 0 for value in client.ask("get-load").values())
    names = {interface["name"] for interface in client.ask("network-get-interfaces")}
    assert names == set(os.listdir("/sys/class/net"))


def test_os_release_has_a_shells_quotes(start_agent, connect, tmp_path):
    path = tmp_path / "os-release"
    path.write_text("# a comment\nID=one\nNAME='Two \"words\"'\nVERSION=\"a \\\"b\\\" \\$c\"\nVARIANT_ID=\n")
    client = connect(start_agent(env={"QGA_OS_RELEASE": str(path)})[1])
    osinfo = client.ask("get-osinfo")
    found = {name: osinfo.get(name) for name in ("id", "name", "version", "variant-id", "pretty-name")}
    assert found == {"id": "one", "name": 'Two "words"', "version": 'a "b" $c', "variant-id": "", "pretty-name": None}


def test_file(client, tmp_path):
    path = tmp_path / "file"
    handle = client.ask("file-open", path=str(path), mode="w+")
    assert client.ask("file-write", handle=handle, buf_b64=encode(b"hello, world")) == {"count": 12, "eof": False}
    assert client.ask("file-write", handle=handle, buf_b64=encode(b"..."), count=1)["count"] == 1
    assert client.ask("file-flush", handle=handle) == {}
    assert path.read_bytes() == b"hello, world."
    assert client.ask("file-seek", handle=handle, offset=7, whence="set") == {"position": 7, "eof": False}
    got = client.ask("file-read", handle=handle, count=5)
    assert (decode(got["buf-b64"]), got["eof"]) == (b"world", False)
    got = client.ask("file-read", handle=handle)
    assert (decode(got["buf-b64"]), got["eof"]) == (b".", True)
    assert client.ask("file-seek", handle=handle, offset=-1, whence=2)["position"] == 12
    assert client.ask("file-close", handle=handle) == {}
    with pytest.raises(AgentError, match="has not been found"):
        client.ask("file-read", handle=handle)


def test_large_file(client, tmp_path):
    data = os.urandom(3 << 20)
    handle = client.ask("file-open", path=str(tmp_path / "file"), mode="w+")
    assert client.ask("file-write", handle=handle, buf_b64=encode(data))["count"] == len(data)
    client.ask("file-seek", handle=handle, offset=0, whence="set")
    assert decode(client.ask("file-read", handle=handle, count=4 << 20)["buf-b64"]) == data
    assert decode(client.ask("get-file", path=str(tmp_path / "file"))["buf-b64"]) == data


def test_largest_read(client, tmp_path):
    """As many bytes as a request may ask for come in one answer."""
    most = 48 << 20
    with open(tmp_path / "file", "wb") as file:
        file.truncate(most + 1)
    handle = client.ask("file-open", path=str(tmp_path / "file"))
    for command, arguments in (("get-file", {"path": str(tmp_path / "file")}), ("file-read", {"handle": handle, "count": most})):
        got = client.ask(command, **arguments)
        assert (got["count"], len(got["buf-b64"]), got["eof"]) == (most, most // 3 * 4, False)
    with pytest.raises(AgentError, match="invalid for argument count"):
        client.ask("file-read", handle=handle, count=most + 1)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"path": "/nonexistent/file"}, "No such file"),
        ({"path": "/etc/hostname", "mode": "q"}, "invalid file open mode 'q'"),
    ],
)
def test_file_that_can_not_be_opened(client, arguments, words):
    with pytest.raises(AgentError, match=words):
        client.ask("file-open", **arguments)


def test_handles_have_a_limit(client, tmp_path):
    """The one that was not used for the longest time gives way."""
    (tmp_path / "file").write_bytes(b"x")
    handles = [client.ask("file-open", path=str(tmp_path / "file")) for _ in range(64)]
    client.ask("file-read", handle=handles[0])
    handles.append(client.ask("file-open", path=str(tmp_path / "file")))
    assert client.ask("file-read", handle=handles[0])["eof"]
    with pytest.raises(AgentError, match="has not been found"):
        client.ask("file-read", handle=handles[1])


def test_handle_that_nobody_was_told_is_closed(start_agent, connect, tmp_path):
    """The client vanishes before the answer: it alone would have known the handle."""
    process, path = start_agent()
    vanishing, other = connect(path), connect(path)
    os.mkfifo(tmp_path / "fifo")
    for _ in range(20):
        vanishing.send("guest-file-open", {"path": str(tmp_path / "fifo"), "mode": "r"})
        vanishing.close()
        vanishing = connect(path)
    children = f"/proc/{process.pid}/task/{process.pid}/children"
    while open(children, encoding="ascii").read().split():  # nobody else is asked
        assert other.ask("ping") == {}


def test_exec(client):
    status = client.run("sh", "-c", "cat; echo to stderr >&2; exit 3", input_data=encode(b"input"), capture_output=True)
    assert (decode(status["out-data"]), decode(status["err-data"])) == (b"input", b"to stderr\n")
    assert (status["exitcode"], status["exited"]) == (3, True)


@pytest.mark.parametrize(
    "mode, out, err",
    [("none", None, None), (False, None, None), ("stdout", b"out\n", None), ("stderr", None, b"err\n"),
     ("separated", b"out\n", b"err\n"), ("merged", b"out\nerr\n", None)],
)  # fmt: skip
def test_exec_captures(client, mode, out, err):
    status = client.run("sh", "-c", "echo out; echo err >&2", capture_output=mode)
    assert [decode(status[name]) if name in status else None for name in ("out-data", "err-data")] == [out, err]


def test_exec_with_an_environment(client):
    status = client.run("/usr/bin/env", env=["A=1", "B=2"], capture_output=True)
    assert decode(status["out-data"]) == b"A=1\nB=2\n"


def test_exec_that_a_signal_ends(client):
    status = client.run("sh", "-c", "kill -9 $$")
    assert status == {"exited": True, "signal": 9}


def test_exec_that_leaves_a_process_behind(client, tmp_path):
    """Its status does not wait for whoever has its output still open."""
    os.mkfifo(tmp_path / "fifo")
    status = client.run("sh", "-c", f"cat {tmp_path}/fifo & echo first", capture_output=True)
    assert decode(status["out-data"]) == b"first\n"
    (tmp_path / "fifo").write_bytes(b"")  # its end


def test_exec_output_has_a_limit(client):
    status = client.run("sh", "-c", "head -c 20000000 /dev/zero", capture_output=True)
    assert len(decode(status["out-data"])) == 16 << 20 and status["out-truncated"]


def test_output_that_nobody_asks_for_gives_way(start_agent, connect):
    """64 MiB of outputs are kept. Of what has ended, the oldest output is dropped for what comes; the status stays."""
    process, path = start_agent()
    client = connect(path)
    zeros = {"path": "head", "arg": ["-c", str(16 << 20), "/dev/zero"], "capture-output": True}
    children = f"/proc/{process.pid}/task/{process.pid}/children"
    pids = []
    for _ in range(5):
        client.send("guest-exec", zeros)
        pids.append(client.answer()["pid"])
        while open(children, encoding="ascii").read().split():
            assert client.ask("ping") == {}
    assert client.ask("exec-status", pid=pids[0]) == {"exited": True, "exitcode": 0, "out-truncated": True}
    last = client.ask("exec-status", pid=pids[-1])
    assert len(decode(last["out-data"])) == 16 << 20 and not last["out-truncated"]


def test_exec_refuses(client):
    for arguments, words in (
        ({"path": "/nonexistent"}, "No such file"),
        ({"path": "true", "capture-output": "some"}, "expected none, stdout"),
        ({"path": "true", "input-data": "!"}, "no Base64"),
    ):
        with pytest.raises(AgentError, match=words):
            client.ask("exec", **arguments)
    with pytest.raises(AgentError, match="Invalid parameter 'pid'"):
        client.ask("exec-status", pid=1)


def test_status_is_told_once(client):
    pid = client.ask("exec", path="true")["pid"]
    while not client.ask("exec-status", pid=pid)["exited"]:
        pass
    with pytest.raises(AgentError, match="Invalid parameter 'pid'"):
        client.ask("exec-status", pid=pid)


def test_status_is_any_clients(start_agent, connect):
    """A client may connect for each command."""
    path = start_agent()[1]
    pid = connect(path).ask("exec", path="true")["pid"]
    while not connect(path).ask("exec-status", pid=pid)["exited"]:
        pass


def test_dmesg(client):
    assert isinstance(client.ask("get-dmesg")["messages"], str)


@pytest.mark.parametrize(
    "command, arguments, words",
    [
        ("ssh-get-authorized-keys", {"username": "no-such-user"}, "failed to lookup"),
        ("ssh-get-authorized-keys", {"username": "--help"}, "failed to lookup"),
        ("ssh-add-authorized-keys", {"username": "root", "keys": ["a\nb"]}, "invalid OpenSSH key"),
        ("set-user-password", {"username": "a:b", "password": "eA==", "crypted": False}, "forbidden characters"),
        ("set-user-password", {"username": "a", "password": "CQo=", "crypted": False}, "forbidden characters"),
        ("set-user-password", {"username": "a", "password": "YQBi", "crypted": False}, "forbidden characters"),
        ("shutdown", {"mode": "sideways"}, "expects 'halt', 'powerdown', or 'reboot'"),
        ("set-vcpus", {"vcpus": [{"logical-id": 4000, "online": True}]}, "cpu4000"),
        ("fsfreeze-freeze", {"timeout": -1}, "expected 1 to 86400"),
    ],
)
def test_refusals(client, command, arguments, words):
    with pytest.raises(AgentError, match=words):
        client.ask(command, **arguments)


def test_memory_block_that_is_not_there(client):
    assert client.ask("set-memory-blocks", mem_blks=[{"phys-index": 99999999, "online": True}]) == [
        {"phys-index": 99999999, "response": "not-found", "error-code": 2}
    ]


def test_freeze_of_nothing(client, folder):
    """A list that names no mount: nothing is frozen, and the state is as after any other freeze."""
    assert client.ask("fsfreeze-thaw") == 0
    assert client.ask("fsfreeze-freeze-list", mountpoints=["/nonexistent"]) == 0
    assert client.ask("fsfreeze-status") == "frozen"
    assert (folder / "outboard-agent.frozen").exists()
    with pytest.raises(AgentError, match="the agent is in frozen state"):
        client.ask("get-osinfo")
    assert client.ask("ping") == {} and client.ask("sync", id=3) == 3
    assert client.ask("fsfreeze-thaw") == 0
    assert client.ask("fsfreeze-status") == "thawed"
    assert not (folder / "outboard-agent.frozen").exists()
    assert "kernel-release" in client.ask("get-osinfo")


def test_thaw_after_the_time_is_an_error(client):
    client.ask("fsfreeze-freeze-list", mountpoints=["/nonexistent"], timeout=1)
    while client.ask("fsfreeze-status") == "frozen":
        pass
    for _ in range(2):
        with pytest.raises(AgentError, match="may be inconsistent"):
            client.ask("fsfreeze-thaw")
    client.ask("fsfreeze-freeze-list", mountpoints=[])
    assert client.ask("fsfreeze-thaw") == 0


@pytest.mark.parametrize("fails", [None, "freeze", "thaw"])
def test_freeze_hook(start_agent, connect, folder, fails):
    hook = folder / "hook"
    hook.write_text(f'#!/bin/sh\necho "$1" >> {folder}/calls\n[ "$1" != {fails} ]\n')
    hook.chmod(0o755)
    client = connect(start_agent(f"--fsfreeze-hook={hook}")[1])

    def freeze_and_thaw():
        client.ask("fsfreeze-freeze-list", mountpoints=[])
        client.ask("fsfreeze-thaw")

    if fails:
        with pytest.raises(AgentError, match=f"hook .* {fails} has failed with status 1"):
            freeze_and_thaw()
    else:
        freeze_and_thaw()
    assert client.ask("fsfreeze-status") == "thawed"
    assert (folder / "calls").read_text().split() == (["freeze"] if fails == "freeze" else ["freeze", "thaw"])


def test_freeze_hook_that_leaves_a_process_behind(start_agent, connect, folder):
    """Such as a database's client that holds a lock until the thaw: the hook's own end counts, whatever is open."""
    hook = folder / "hook"
    os.mkfifo(folder / "fifo")
    hook.write_text(f'#!/bin/sh\n[ "$1" = thaw ] && echo >{folder}/fifo || cat {folder}/fifo &\n')
    hook.chmod(0o755)
    client = connect(start_agent(f"--fsfreeze-hook={hook}")[1])
    assert client.ask("fsfreeze-freeze-list", mountpoints=[]) == 0
    assert client.ask("fsfreeze-thaw") == 0


def test_log_lines_wait_while_frozen(start_agent, connect):
    """Standard error may be a file on what is frozen."""
    process, path = start_agent()
    client = connect(path)
    client.ask("fsfreeze-freeze-list", mountpoints=[])
    before = process.log.read_text()
    client.send("guest-fsfreeze-thaw")
    client.answer()
    after = process.log.read_text()
    assert "guest-fsfreeze-freeze-list" in before and "guest-fsfreeze-thaw" not in before
    assert "guest-fsfreeze-thaw by uid" in after

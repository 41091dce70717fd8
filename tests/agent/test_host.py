# SPDX-License-Identifier: BSD-3-Clause
"""What a guest may call at its host, and both directions at once."""
import json
import pathlib
import selectors
import socket
import subprocess

import pytest
from agentlab import AGENT, PATIENCE_S, PROGRAM, AgentError, Caller, Client

BOOT_ID = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
CALLERS = 64  # LIMIT_HOST_CALLERS
BURST = 64  # LIMIT_EVENT_BURST


class Events:
    """A reader of the socket of --events."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(str(path))
        self._lines = self.sock.makefile("r")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._lines.close()
        self.sock.close()

    def next(self):
        return json.loads(self._lines.readline())

    def until(self, event):
        """The next event of this name; those before it are dropped."""
        while (line := self.next())["event"] != event:
            pass
        return line


@pytest.fixture
def world(lab, spawn, cleanup):
    """world(option...): (the host's end, a reader of its events, the path of the agent's control socket)."""

    def start(*options):
        path, control = lab.folder / "events", lab.folder / "agent.control"
        host = lab.start("host", f"--channel=unix-listen:{lab.channel}", f"--events={path}", *options)
        events = cleanup.enter_context(Events(path))
        world.agent = spawn([AGENT, f"--channel=unix:{lab.channel}", f"--control={control}"])
        host.wait_up()
        return host, events, control

    world = start
    return start


@pytest.fixture
def call_host(cleanup):
    """call_host(control): a stream to the host's service."""
    return lambda control: cleanup.enter_context(Caller(control, "@host"))


def outboard_agent(control, word, *words):
    argv = [AGENT, word, f"--control={control}", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_hello_ready_and_shutting_down(world):
    _, events, _ = world()
    hello, ready = events.next(), events.next()
    assert (hello["event"], ready["event"]) == ("hello", "ready")
    assert hello["boot-id"] == ready["boot-id"] == hello["data"]["boot-id"] == BOOT_ID
    assert {"guest-hello", "guest-exec", "guest-fsfreeze-freeze"} <= set(hello["data"]["capabilities"])
    world.agent.signal(15)
    assert events.next()["event"] == "shutting-down"
    assert world.agent.wait() == 0


def test_hello_of_both_ends(world, call_host):
    host, events, control = world()
    events.until("ready")
    answer = call_host(control).call("host-hello", boot_id="b", version="1.2~rc3", capabilities=["x"])
    assert set(answer["capabilities"]) == {"host-hello", "host-ping", "host-event"}
    assert answer["boot-id"] != BOOT_ID  # a guest can't tell which others share its host
    assert events.until("hello")["data"]["capabilities"] == ["x"]
    done = subprocess.run([PROGRAM, "agent", f"--control={host.control}", "--json", "hello"], capture_output=True,
                          text=True, timeout=PATIENCE_S, check=True)  # fmt: skip
    hello = json.loads(done.stdout)
    assert hello["boot-id"] == BOOT_ID and "guest-hello" in hello["capabilities"]


def test_events_of_the_guest(world):
    _, events, control = world()
    assert outboard_agent(control, "ping").returncode == 0
    assert outboard_agent(control, "event", "backup.done", "size=12", "name=db \u00e4", 'list=["a"]').returncode == 0
    event = events.until("backup.done")
    assert event["data"] == {"size": 12, "name": "db \u00e4", "list": ["a"]}
    assert outboard_agent(control, "event", "plain").returncode == 0
    assert "data" not in events.until("plain")
    assert outboard_agent(control, "hello", "--json").stdout.startswith('{"boot-id": ')


@pytest.mark.parametrize("words, status, text", [
    (["event"], 2, "give NAME"), (["event", "a b"], 1, "expected a name"), (["event", "hello"], 1, "but not hello"),
    (["event", "lost"], 1, "but not"), (["event", "x" * 65], 1, "expected a name"), (["event", "e", "x"], 2, "KEY=VALUE"),
    (["event", "e", "x=" + "y" * 5000], 1, "too long"), (["event", "e", "x=" + "y" * 9000], 2, "too long"),
    (["ping", "x"], 2, "expected no words"),
])  # fmt: skip
def test_command_line_that_is_wrong(world, words, status, text):
    control = world()[2]
    done = outboard_agent(control, *words)
    assert done.returncode == status and text in done.stderr


def test_events_on_standard_output(lab):
    with subprocess.Popen([PROGRAM, "proxy", f"--channel=unix-listen:{lab.channel}", "--events=-"],
                          stdout=subprocess.PIPE, text=True) as host:  # fmt: skip
        agent = subprocess.Popen([AGENT, f"--channel=unix:{lab.channel}"])
        try:
            assert [json.loads(host.stdout.readline())["event"] for _ in range(2)] == ["hello", "ready"]
        finally:
            agent.terminate()
            agent.wait()
            assert json.loads(host.stdout.readline())["event"] == "shutting-down"
            host.terminate()


def test_by_default_the_host_takes_nothing(lab):
    _, guest = lab.pair(guest=["--allow-agent"])
    done = outboard_agent(guest.control, "event", "x")
    assert done.returncode == 255 and "--events" in done.stderr


def test_nothing_else_can_be_called(world, call_host):
    control = world()[2]
    caller = call_host(control)
    for command in ("guest-ping", "guest-exec", "host-exec", "quit"):
        with pytest.raises(AgentError) as error:
            caller.call(command)
        assert error.value.kind == "CommandNotFound"
    for service in ("@agent", "@run", "@listen", "tcp:127.0.0.1:1", "unix:/x", "qga"):
        with pytest.raises(ConnectionError, match="REFUSED"):
            Caller(control, service)


def test_requests_that_are_wrong(world, call_host):
    caller = call_host(world()[2])
    requests = [b"noise\n", b"{'execute': nonsense}\n", b"[1]\n", b'{"execute": 1}\n', b'{"execute": "host-ping", "x": 1}\n',
                b'{"execute": "host-ping", "arguments": {"x": 1}}\n', b'{"execute": "host-event"}\n',
                b'{"execute": "host-event", "arguments": {"event": "e", "data": 1}}\n',
                b'{"execute": "host-hello", "arguments": {"boot-id": "\xc3\xa4", "version": "1", "capabilities": []}}\n',
                b'{"execute": "' + b"x" * 9000 + b'"}\n', b"[" * 2000 + b"\n"]  # fmt: skip
    for request in requests:
        caller.sock.sendall(request)
        with pytest.raises(AgentError):
            caller.answer()
    caller.send("host-ping", id=["i", 1])
    assert caller.receive() == {"return": {}, "id": ["i", 1]}


def test_events_have_a_rate(world, call_host):
    _, events, control = world()
    caller = call_host(control)
    events.until("ready")
    for number in range(3 * BURST):
        caller.send("host-event", {"event": f"e{number}"})
    told = 0
    for _ in range(3 * BURST):
        try:
            told += caller.answer() == {}
        except AgentError as error:
            assert "too many events" in error.desc
    assert BURST // 2 < told < 3 * BURST
    names = [events.next()["event"] for _ in range(told)]
    assert names[0] == "e0" and len(set(names)) == told


def test_reader_that_leaves_takes_nothing_along(world, cleanup, lab):
    _, events, control = world()
    with Events(lab.folder / "events"):
        pass
    half = cleanup.enter_context(Events(lab.folder / "events"))
    half.sock.shutdown(socket.SHUT_WR)
    assert outboard_agent(control, "event", "x").returncode == 0
    assert events.until("x") and half.until("x")


def test_callers_are_bounded(world, call_host):
    """One stream is the agent's own."""
    control = world()[2]
    callers = [call_host(control) for _ in range(CALLERS - 1)]
    with pytest.raises(ConnectionError, match="REFUSED"):
        Caller(control, "@host")
    callers.pop().close()
    for caller in callers:
        assert caller.call("host-ping") == {}


def fill(sock, text):
    """Writes the same request until the pipe is full; how many, and the rest of the last one."""
    sock.setblocking(False)
    count = 0
    while True:
        try:
            sent = sock.send(text)
        except BlockingIOError:
            return count, b""
        count += 1
        if sent < len(text):
            return count, text[sent:]


def drain(pending):
    """Reads until each client has its answers: pending is {client: [count, rest of a request]}."""
    with selectors.DefaultSelector() as selector:
        for client, (_, rest) in pending.items():
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if rest else 0)
            selector.register(client.sock, events, client)
        while pending:
            ready = selector.select(PATIENCE_S)
            assert ready, "a deadlock"
            for key, events in ready:
                state = pending[key.data]
                if events & selectors.EVENT_WRITE:
                    state[1] = state[1][key.data.sock.send(state[1]):]
                    if not state[1]:
                        selector.modify(key.fileobj, selectors.EVENT_READ, key.data)
                if events & selectors.EVENT_READ:
                    data = key.data.sock.recv(1 << 20)
                    assert data, "the end"
                    state[0] -= data.count(b"\n")
                    if state[0] == 0:
                        selector.unregister(key.fileobj)
                        del pending[key.data]


def test_both_directions_at_once(world, call_host, connect, lab, tmp_path):
    """64 clients each way fill their pipes and read nothing; then all read, and each has all of its answers."""
    path = lab.folder / "qga"
    host, _, control = world(f"--qga-socket={path}")
    (tmp_path / "file").write_bytes(bytes(100_000))
    there = [connect(path) for _ in range(64)]
    back = [call_host(control) for _ in range(CALLERS - 1)]
    before = host.rss_kib()
    echo = json.dumps({"execute": "host-ping", "id": "x" * 4000}).encode() + b"\n"
    read = json.dumps({"execute": "guest-get-file", "arguments": {"path": str(tmp_path / "file")}}).encode() + b"\n"
    sync = json.dumps({"execute": "guest-sync", "arguments": {"id": 1}, "id": "x" * 4000}).encode() + b"\n"
    pending = {client: list(fill(client.sock, echo)) for client in back}
    for number, client in enumerate(there):
        client.sock.sendall(read)
        count, rest = fill(client.sock, sync)
        pending[client] = [count + 1, rest]
    with Client(path) as other:  # what is stuck costs its stream alone
        assert other.ask("sync", id=7) == 7
    assert sum(count for count, _ in pending.values()) > 64 * 20
    # Each stream: its window, and a request and an answer; and what the sockets hold is the kernel's.
    assert host.rss_kib() - before < 128 * 600
    drain(pending)


def test_caller_that_never_reads_costs_its_stream(world, call_host):
    control = world()[2]
    silent = [call_host(control) for _ in range(CALLERS - 2)]
    for caller in silent:
        fill(caller.sock, json.dumps({"execute": "host-ping", "id": "x" * 4000}).encode() + b"\n")
    other = call_host(control)
    for _ in range(20):
        assert other.call("host-ping") == {}


def test_session_that_breaks_resets_each_caller(world, call_host):
    host, _, control = world()
    callers = [call_host(control) for _ in range(10)]
    for caller in callers:
        assert caller.call("host-ping") == {}
        caller.sock.sendall(b'{"execute": "host-pi')
    host.process.kill()
    for caller in callers:
        with pytest.raises(ConnectionError):
            caller.receive()

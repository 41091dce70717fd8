# SPDX-License-Identifier: BSD-3-Clause
"""Monitor sockets of single devices: a client of one has that device and no other, whatever it sends."""
import contextlib
import os
import pathlib
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile

import pytest
from controllab import Control, Refused
from guestlab import paths
from machinelab import OUTBOARD

pytestmark = pytest.mark.usefixtures("runtime")

COUNTER = paths.BUILD / "release/examples/counter"
VMM = """
[machine]
  program = "sh"
  arguments = "-c 'exec sleep 1000' %fd:one% %fd:two%"
  control = "{FOLDER}/control"
"""
ONE = '[device "one"]\nprogram = "' + str(COUNTER) + '"\non-death = "restart"\nmonitor = "{FOLDER}/one.monitor"\n'
TWO = ONE.replace("one", "two")
COMMANDS = ["capabilities", "commands", "list", "policy", "reset", "stats", "status", "trace", "upgrade"]


@pytest.fixture
def start(machine, cleanup):
    """start(configuration): outboard run, and a client of the control socket, when all devices are ready."""

    def run(text=VMM + ONE + TWO):
        process = machine.write(text).start()
        cleanup.callback(lambda: process.running and process.terminate())
        client = cleanup.enter_context(Control(machine.folder / "control", process))
        client.wait_until_ready()
        return process, client

    return run


@pytest.fixture
def view(machine, cleanup):
    """view(name, process): a client of the device's monitor socket."""
    return lambda name, process: cleanup.enter_context(Control(machine.folder / f"{name}.monitor", process))


def ctl(machine, *words, name="one.monitor"):
    return subprocess.run([OUTBOARD, "ctl", f"--vm={machine.folder}/{name}", *words], capture_output=True, text=True, check=False)


def test_a_client_has_one_device(machine, start, view):
    process, client = start()
    one = view("one", process)
    about = one.greeting["outboard"]
    assert (about["device"], about["capabilities"]) == ("one", ["events"]) and "device" not in client.greeting["outboard"]
    assert one.ask("commands") == COMMANDS and set(COMMANDS) < set(client.ask("commands"))
    assert [device["device"] for device in one.ask("list")] == ["one"]
    assert [device["device"] for device in one.ask("stats")] == ["one"]
    assert one.ask("list", device="one") == one.ask("list")
    status = one.ask("status")
    assert status["state"] == "unknown" and not {"vmm-pid", "lost-devices", "devices-rest"} & set(status)
    for command in ("list", "stats", "policy", "reset", "trace", "upgrade", "status"):
        for other in ("two", "three", 1, None, ["one"]):
            with pytest.raises(Refused, match="expected one") as refused:
                one.ask(command, device=other, state="on", **{"on-hang": "fail"})
            assert refused.value.args[0] == "DeviceNotFound"
    for command in set(client.ask("commands")) - set(COMMANDS):
        with pytest.raises(Refused, match=f"got command '{command}'"):
            one.ask(command, device="one", program="nvme")
    assert process.running and len(client.ask("list")) == 2


def test_what_it_may_change(machine, start, view):
    """Its own device; nothing that is opened or started with the supervisor's rights, and nothing of the VM."""
    process, client = start()
    one = view("one", process)
    one.ask("policy", **{"on-hang": "fail"})
    one.ask("reset")
    one.ask("trace", state="on")
    assert one.ask("list")[0]["trace"]
    one.ask("trace", state="off")
    for command, arguments, words in [
        ("trace", {"state": "on", "file": f"{machine.folder}/file"}, "file: got a path"),
        ("upgrade", {"program": str(COUNTER)}, "program: got another program"),
        ("policy", {"on-hang": "kill"}, "got a policy for the VM"),
        ("policy", {"on-hang": "pause"}, "got a policy for the VM"),
        ("policy", {"on-hang": "dance"}, "expected fail, kill, pause or restart"),
    ]:
        with pytest.raises(Refused, match=words):
            one.ask(command, **arguments)
    assert not (machine.folder / "file").exists()
    assert [device["on-hang"] for device in client.ask("list")] == ["fail", "restart"]


def test_events_of_its_device_alone(machine, start, view):
    process, client = start()
    one, two = view("one", process), view("two", process)
    one.want_events()
    two.want_events()
    for name in ("two", "one"):
        os.kill(client.ask("list", device=name)[0]["pid"], signal.SIGKILL)
        while client.wait_for_event("DEVICE_READY") != {"device": name}:
            pass
    for device in (one, two):
        device.wait_for_event("DEVICE_READY")
    assert {event["data"]["device"] for event in one.events} <= {"one"}
    assert one.ask("stats")[0]["restarts"] == 1
    for event in one.events:
        assert event["data"]["device"] == "one"


def test_a_client_that_hears_of_others_would_be_seen(start, view):
    """The other direction of the test above: what the machine's socket tells."""
    process, client = start()
    os.kill(client.ask("list", device="two")[0]["pid"], signal.SIGKILL)
    assert client.wait_for_event("DEVICE_RESTARTS") == {"device": "two"}
    one = view("one", process)
    one.want_events()
    os.kill(client.ask("list", device="one")[0]["pid"], signal.SIGKILL)
    assert one.next()["data"] == {"device": "one"}


def test_ctl_and_top_take_it(machine, start):
    start()
    assert ctl(machine, "list").stdout.splitlines()[1].startswith("one ")
    text = ctl(machine, "prometheus").stdout
    assert 'device="one"' in text and 'device="two"' not in text
    refused = ctl(machine, "quit")
    assert refused.returncode == 1 and "got command 'quit'" in refused.stderr
    top = subprocess.run([OUTBOARD, "top", f"--vm={machine.folder}/one.monitor", "--once"], capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in top.stdout.splitlines()[3:]] == ["one"]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives sockets to another user: needs root")
def test_another_user_gets_one_device(machine, start):
    """The owner and the mode of the file decide; the machine's own socket stays closed to that user."""
    with tempfile.TemporaryDirectory(prefix="outboard-") as folder:
        os.chmod(folder, 0o755)
        text = (VMM + ONE + 'monitor-mode = "0660"\nmonitor-owner = "65534:65533"\n' + TWO).replace("{FOLDER}/one", f"{folder}/one")
        text = text.replace("control =", 'control-mode = "0640"\n  control-owner = ":65533"\n  control =')
        start(text)
        path = f"{folder}/one.monitor"
        seen = os.stat(path)
        assert (stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid) == (0o660, 65534, 65533)
        whole = os.stat(machine.folder / "control")
        assert (stat.S_IMODE(whole.st_mode), whole.st_uid, whole.st_gid) == (0o640, os.geteuid(), 65533)
        assert stat.S_IMODE(os.stat(machine.folder / "two.monitor").st_mode) == 0o600
        connect = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
        for user, group, fits in ((65534, 1, True), (65532, 65533, True), (65532, 1, False)):
            done = subprocess.run([sys.executable, "-c", connect, path], user=user, group=group, extra_groups=[], capture_output=True, check=False)
            assert (done.returncode == 0) == fits, done.stderr


@pytest.mark.parametrize(("settings", "message"), [
    ('monitor-mode = "0660"', "got no monitor"),
    ('monitor-owner = "0"', "got no monitor"),
    ('monitor = "m"\nmonitor-mode = "rw"', "expected octal digits up to 0777"),
    ('monitor = "m"\nmonitor-mode = "01777"', "expected octal digits up to 0777"),
    ('monitor = "m"\nmonitor-owner = "no-such-user"', "expected USER, USER:GROUP or :GROUP"),
    ('monitor = "m"\nmonitor-owner = ":no-such-group"', "expected USER, USER:GROUP or :GROUP"),
    ('monitor = "m"\nmonitor-owner = "4294967295"', "expected USER, USER:GROUP or :GROUP"),
    ('monitor = "m"\nmonitor-owner = "' + "u" * 100 + '"', "expected USER, USER:GROUP or :GROUP"),
    (f'monitor = "{"m" * 108}"', "got a path of 108 bytes"),
    ('monitor = ""', "got a path of 0 bytes"),
])  # fmt: skip
def test_mistakes_in_the_file(machine, settings, message):
    done = machine.write(f'[device "one"]\nprogram = "nvme"\nsocket-path = "s"\n{settings}\n').run()
    assert done.returncode == 2 and message in done.stderr, done.stderr


def test_a_path_that_can_t_be_made(machine):
    done = machine.write(VMM + ONE.replace("{FOLDER}/one", "{FOLDER}/no/one") + TWO).run()
    assert done.returncode == 3 and "monitor socket: can't listen at" in done.stderr, done.stderr


def test_it_comes_and_goes_with_its_device(machine, cleanup, view):
    machine.image()
    listening = '[device "first"]\nprogram = "nvme"\nimage = "{FOLDER}/disk.img"\nsocket-path = "{FOLDER}/first"\n'
    process = machine.write(listening).start()
    cleanup.callback(lambda: process.running and process.terminate())
    runtime = pathlib.Path(os.environ["XDG_RUNTIME_DIR"])
    while not (found := list(runtime.glob("outboard-*/.control"))):
        assert process.running, process.log_tail()
    client = cleanup.enter_context(Control(found[0], process))
    client.wait_until_ready()
    machine.image("two.img")
    path = machine.folder / "two.monitor"
    options = {"image": f"{machine.folder}/two.img", "socket-path": f"{machine.folder}/two", "monitor": str(path)}
    for _ in range(2):
        client.ask("add", device="two", program="nvme", options=options)
        two = view("two", process)
        two.want_events()
        assert two.ask("list")[0]["device"] == "two"
        client.ask("remove", device="two")
        assert not path.exists()
        assert two.wait_for_event("DEVICE_REMOVED")["device"] == "two" and two.next() is None
    with pytest.raises(Refused, match="monitor socket: can't listen"):
        client.ask("add", device="two", program="nvme", options=options | {"monitor": "/no/such/folder/m"})
    client.ask("quit")
    assert process.wait() == 0


def test_sockets_end_with_the_machine_and_outlive_a_supervisor(machine, start, spawn, view):
    """outboard adopt makes them again; the end of the machine removes them."""
    process, _ = start()
    first = view("one", process)
    process.kill()
    assert first.next() is None
    while not list(pathlib.Path(os.environ["XDG_RUNTIME_DIR"]).glob("outboard-*/.adopt")):
        pass  # its guardian is not there yet
    heir = spawn([OUTBOARD, "adopt", machine.file], name="heir")
    one = view("one", heir)
    assert [device["device"] for device in one.ask("list")] == ["one"]
    with Control(machine.folder / "control", heir) as whole:
        whole.ask("quit")
    heir.wait()
    assert not list(machine.folder.glob("*.monitor"))




def test_hostile_clients_of_one_device(machine, start, view):
    """Floods, garbage, half requests, texts without an end, crowds: other devices' clients and the machine's are served."""
    process, client = start()
    path = str(machine.folder / "one.monitor")
    two = view("two", process)
    before = len(os.listdir(f"/proc/{process.pid}/fd"))
    with contextlib.ExitStack() as stack:
        def connect():
            peer = stack.enter_context(socket.socket(socket.AF_UNIX))
            peer.connect(path)
            return peer

        half, flood, reader = connect(), connect(), connect()
        half.sendall(b'{"execute": "li')
        flood.settimeout(0)
        with pytest.raises(BlockingIOError):
            while True:
                flood.send(b'{"execute": "stats"}\n' * 100)
        for words in (b"\xff\xfe garbage \x1b[2J\n", b"[" * 100_000 + b"\n", b'{"execute": "list"}' * 3 + b"\n"):
            reader.sendall(words)
        for number in range(30):
            assert [device["device"] for device in client.ask("list")] == ["one", "two"]
            assert two.ask("list")[0]["state"] == "ready", number
        with pytest.raises(OSError):
            for _ in range(1 << 12):
                reader.sendall(b'{"' + b"x" * (1 << 16))
        crowd = [connect() for _ in range(200)]
        last = crowd[-1].makefile("rb").readline()
        assert b"as many clients as this socket takes" in last
        assert two.ask("stats")[0]["device"] == "two"
        assert len(os.listdir(f"/proc/{process.pid}/fd")) <= before + 5, "no more than four clients"
        memory = int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{process.pid}/status").read())[1])
        assert memory < 100_000
    while True:  # the supervisor sees the ends of those connections in its own time
        with contextlib.suppress(KeyError), Control(path, process) as one:
            assert one.greeting["outboard"]["device"] == "one" and one.ask("list")[0]["state"] == "ready"
            break


def test_clients_that_leave_while_they_are_answered(machine, start):
    """An answer that comes late, to nobody."""
    process, client = start()
    path = str(machine.folder / "one.monitor")
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(path)
            peer.sendall(b'{"execute": "upgrade"}\n{"execute": "reset"}\n')
    client.ask("quit")
    assert process.wait() == 0

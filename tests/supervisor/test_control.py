# SPDX-License-Identifier: BSD-3-Clause
"""The control socket of outboard run, and outboard ctl and top: what they tell, and clients and devices that are hostile."""
import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import socket
import stat
import struct
import subprocess
import termios

import pytest
from controllab import Control, Refused
from machinelab import OUTBOARD

pytestmark = pytest.mark.usefixtures("runtime")

# A VMM that ends when it is told to.
VMM = """
[machine]
  program = "sh"
  arguments = "-c 'exec sleep 1000'"
  control = "{FOLDER}/control"
  name = "one"
"""
LISTENING = '[device "disk0"]\nprogram = "nvme"\nimage = "{FOLDER}/disk.img"\nsocket-path = "{FOLDER}/disk.sock"\n'
BAD = '[device "bad"]\nprogram = "{FOLDER}/bad"\n'
# Says what it is told to say, then waits for its end.
SAYS = """
import os, socket
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ["NOTIFY_SOCKET"].replace("@", chr(0)))
notify.send(b"READY=1\\nSTATUS=hello\\x1b[2J")
"""


@pytest.fixture
def control(machine, cleanup, runtime):
    """control(configuration): outboard run, and a client of its control socket."""

    def start(text=VMM + LISTENING):
        machine.image()
        places = " ".join(f"%{'socket' if 'socket-path' in section else 'fd'}:{section.split(chr(34))[0]}%"
                          for section in text.split('[device "')[1:])  # fmt: skip
        process = machine.write(text.replace("sleep 1000'", f"sleep 1000' {places}")).start()
        cleanup.callback(lambda: process.running and process.terminate())
        if "control = " not in text:
            wait_for(lambda: list(runtime.glob("outboard-*/.control")), process)
        path = machine.folder / "control" if "control = " in text else next(runtime.glob("outboard-*/.control"))
        return process, cleanup.enter_context(Control(path, process))

    return start


def wait_for(condition, process):
    """Busy-waits for something that the process does; it must not end before."""
    while not condition():
        assert process.running, process.log_tail()


def ctl(machine, *words):
    return subprocess.run([OUTBOARD, "ctl", f"--vm={machine.folder}/control", *words],
                          capture_output=True, text=True, check=False)  # fmt: skip


def ready(client):
    client.want_events()
    while any(device["state"] == "starting" for device in client.ask("list")):
        client.wait_for_event("DEVICE_READY")


def test_what_it_tells(machine, control):
    process, client = control()
    ready(client)
    assert client.greeting["outboard"]["machine"] == "one" and client.greeting["outboard"]["capabilities"] == ["events"]
    (device,) = client.ask("list")
    assert device["device"] == "disk0" and device["on-hang"] == "fail" and not device["client"]
    assert device["program"].endswith("outboard-nvme") and os.path.exists(f"/proc/{device['pid']}")
    status = client.ask("status")
    assert (status["machine"], status["state"], status["pid"]) == ("one", "unknown", process.pid)
    assert stat.S_IMODE(os.stat(machine.folder / "control").st_mode) == 0o600
    client.ask("quit")
    assert process.wait() == 0
    assert not (machine.folder / "control").exists()


def test_requests_of_a_vmm_are_counted(machine, control):
    _, client = control()
    ready(client)
    assert client.ask("stats")[0]["requests"] == 0
    done = subprocess.run([OUTBOARD, "inspect", machine.folder / "disk.sock"], capture_output=True, check=False)
    assert done.returncode == 0
    assert client.wait_for_event("CLIENT_CAME") == {"device": "disk0"}
    assert client.wait_for_event("CLIENT_WENT") == {"device": "disk0"}
    counts = client.ask("stats", device="disk0")[0]
    assert counts["requests"] > 10 and counts["bytes-in"] > 100 and counts["bytes-out"] > 100
    assert 0 < sum(counts["message-times"]["counts"]) <= counts["requests"]
    assert counts["message-times"]["sum-ns"] > 0


def test_refusals(control):
    process, client = control()
    ready(client)
    for command, arguments, words in [
        ("fly", {}, "got command 'fly'"),
        ("stats", {"device": "x"}, "got device 'x'"),
        ("policy", {"device": "disk0", "on-hang": "dance"}, "expected fail, kill, pause or restart"),
        ("policy", {"device": "disk0", "on-hang": "pause"}, "the VMM is not QEMU"),
        ("add", {"device": "b", "program": "nvme"}, "the VMM has no QMP"),
        ("pause", {}, "the VMM has no QMP"),
        ("policy", {"device": "disk0", "on-hang": "restart"}, "the device can't be restarted"),
        ("upgrade", {"device": "disk0"}, 'an upgrade needs on-death = "restart"'),
        ("upgrade", {"device": "disk0", "program": "/no/program"}, "which is not there"),
        ("upgrade", {"device": "x"}, "got device 'x'"),
        ("capabilities", {"enable": ["wings"]}, "expected capabilities of the greeting"),
    ]:
        with pytest.raises(Refused, match=words):
            client.ask(command, **arguments)
    for request in (b'{"execute": 1}\n', b"[1]\n", b'{"execute": "list", "arguments": []}\n', b"}\n", b'{"a\n'):
        client.socket.sendall(request)
        assert client.next()["error"]["class"] == "GenericError"
    client.ask("list")


def test_a_policy_is_changed(control):
    _, client = control()
    client.ask("policy", device="disk0", **{"on-hang": "kill"})
    assert client.ask("list")[0]["on-hang"] == "kill"


def test_devices_come_and_go_where_there_is_no_vmm(machine, control):
    machine.image("two.img")
    process, client = control(LISTENING.replace("disk0", "first"))
    ready(client)
    options = {"image": str(machine.folder / "two.img"), "socket-path": str(machine.folder / "two.sock"), "poll-us": 0}
    client.ask("add", device="two", program="nvme", options=options)
    assert (machine.folder / "two.sock").exists()
    assert [device["device"] for device in client.ask("list")] == ["first", "two"]
    client.ask("remove", device="two")
    assert not (machine.folder / "two.sock").exists()
    with pytest.raises(Refused, match="ended before it was ready"):
        client.ask("add", device="two", program="nvme", options=options | {"image": "/no/such"})
    with pytest.raises(Refused, match="expected at most 64"):
        client.ask("add", device="two", program="nvme", options={"image": []})
    with pytest.raises(Refused, match="got no socket-path"):
        client.ask("add", device="two", program="nvme", options={"image": "/x"})
    client.ask("add", device="two", program="nvme", options=options)
    assert len(client.ask("list")) == 2
    client.ask("quit")
    assert process.wait() == 0


def test_a_device_that_dies_is_told(control):
    _, client = control()
    ready(client)
    os.kill(client.ask("list")[0]["pid"], signal.SIGKILL)
    assert client.wait_for_event("DEVICE_GONE") == {"device": "disk0", "signal": 9}
    assert client.ask("list")[0]["state"] == "ended"


def test_ctl_for_people(machine, control):
    process, client = control()
    ready(client)
    table = ctl(machine, "list").stdout.splitlines()
    assert table[0].split()[:3] == ["device", "program", "state"] and table[1].split()[0] == "disk0"
    assert "machine: one\n" in ctl(machine, "status").stdout
    assert json.loads(ctl(machine, "--json", "list").stdout)[0]["device"] == "disk0"
    assert ctl(machine, "policy", "disk0", "on-hang=kill").returncode == 0
    refused = ctl(machine, "policy", "disk0", "on-hang=x")
    assert refused.returncode == 1 and "expected fail, kill, pause or restart" in refused.stderr
    for words in ([], ["--what"], ["add", "x", "y"], ["add", "x", "a=b", "program=nvme"]):
        assert ctl(machine, *words).returncode == 2
    events = subprocess.Popen([OUTBOARD, "ctl", f"--vm={machine.folder}/control", "events"], stdout=subprocess.PIPE, text=True)
    with events:
        subprocess.run([OUTBOARD, "inspect", machine.folder / "disk.sock"], capture_output=True, check=True)
        client.wait_for_event("CLIENT_WENT")
        assert ctl(machine, "quit").returncode == 0
        told = events.stdout.read()
    assert events.returncode == 0 and "DEVICE_GONE device=disk0 status=0" in told
    assert process.wait() == 0


def test_machines_are_found_by_name(machine, control, runtime):
    process, client = control(VMM.replace("control = ", "# ").replace("name = ", "# ") + LISTENING)
    assert client.greeting["outboard"]["machine"] == "vm"
    path = next(runtime.glob("outboard-*/.control"))
    run = lambda *words: subprocess.run([OUTBOARD, "ctl", *words], capture_output=True, text=True, check=False)  # noqa: E731
    assert run("machines").stdout == f"vm  {path}\n"
    assert "machine: vm" in run("status").stdout and "machine: vm" in run("--vm=vm", "status").stdout
    nobody = run("--vm=other", "status")
    assert nobody.returncode == 1 and "--vm=other: found 0 running machines" in nobody.stderr
    process.terminate()
    assert list(runtime.iterdir()) == []


def test_prometheus(machine, control):
    _, client = control()
    ready(client)
    subprocess.run([OUTBOARD, "inspect", machine.folder / "disk.sock"], capture_output=True, check=True)
    text = ctl(machine, "prometheus").stdout
    types, samples = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            types[line.split()[2]] = line.split()[3]
        elif not line.startswith("# HELP "):
            found = re.fullmatch(r"(\w+)({[^}]*}) (\S+)", line)
            assert found, line
            samples[found[1] + found[2]] = float(found[3])
    label = '{machine="one",device="disk0"}'
    assert types["outboard_device_requests_total"] == "counter" and types["outboard_device_message_seconds"] == "histogram"
    assert samples["outboard_device_requests_total" + label] > 10
    buckets = [value for name, value in samples.items() if name.startswith("outboard_device_message_seconds_bucket")]
    assert buckets == sorted(buckets) and buckets[-1] == samples["outboard_device_message_seconds_count" + label] > 0
    assert samples['outboard_device_state{machine="one",device="disk0",state="ready"}'] == 1


def test_top_once(machine, control):
    _, client = control()
    ready(client)
    done = subprocess.run([OUTBOARD, "top", f"--vm={machine.folder}/control", "--once"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert lines[0].startswith("outboard top: one, unknown") and lines[2].split()[:3] == ["DEVICE", "STATE", "PID"]
    assert lines[3].split()[:2] == ["disk0", "ready"]
    assert subprocess.run([OUTBOARD, "top", "--interval-ms=99"], capture_output=True, check=False).returncode == 2


def test_top_in_a_terminal(machine, control):
    """It draws in the alternate screen, line by line, no wider than the terminal, and leaves it as it was."""
    _, client = control()
    ready(client)
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 40, 0, 0))
        before = termios.tcgetattr(theirs)
        top = subprocess.Popen([OUTBOARD, "top", f"--vm={machine.folder}/control", "--interval-ms=100"], stdin=theirs, stdout=theirs)
        seen = b""
        while seen.count(b"disk0") < 3:  # three tables
            seen += os.read(ours, 4096)
        os.write(ours, b"q")
        while not seen.endswith(b"\x1b[?1049l"):
            seen += os.read(ours, 4096)
        assert top.wait() == 0
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(theirs)
        os.close(ours)
    assert seen.startswith(b"\x1b[?1049h")
    lines = re.sub(rb"\x1b\[[?0-9]*[a-zA-Z]", b"", seen).split(b"\r\n")
    assert max(map(len, lines)) <= 40


def test_a_hostile_device_s_words_and_counts(machine, control):
    """It writes anything into its page, cuts it, and says terminal controls; what is told of it stays in form."""
    machine.script("bad", SAYS + """
import fcntl, mmap
fd = int(os.environ["OUTBOARD_STATISTICS_FD"])
page = mmap.mmap(fd, 4096)
page[8:] = bytes([255]) * 4088
for deed in (lambda: os.ftruncate(fd, 0), lambda: os.ftruncate(fd, 1 << 20), lambda: fcntl.fcntl(fd, 1033, 0x10)):
    try:
        deed()
        notify.send(b"STATUS=cut")
    except OSError:
        pass
page[:8] = (0x3154415453424F00).to_bytes(8, "little")
notify.send(b"STATUS=written\x1b[2J")
os.read(3, 1)
""")
    _, client = control(VMM + BAD)
    while not client.ask("list")[0].get("status", "").startswith("written"):
        pass
    assert client.ask("list")[0]["status"] == "written\\033[2J"
    counts = client.ask("stats")[0]
    assert counts["requests"] == 2**64 - 1 and set(counts["io-times"]["counts"]) == {2**64 - 1}
    assert ctl(machine, "prometheus").returncode == 0
    assert subprocess.run([OUTBOARD, "top", f"--vm={machine.folder}/control", "--once"], capture_output=True, check=False).returncode == 0


def test_hostile_clients(machine, control):
    """Half a line, a line without an end, JSON without a bottom, a flood nobody reads: others are served."""
    process, client = control()
    path = str(machine.folder / "control")
    with contextlib.ExitStack() as stack:
        def connect():
            peer = stack.enter_context(socket.socket(socket.AF_UNIX))
            peer.connect(path)
            return peer

        half = connect()
        half.sendall(b'{"execute": "li')
        long = connect()
        with pytest.raises(OSError):  # it is told, and cut off, long before a GiB
            for _ in range(1 << 14):
                long.sendall(b'{"' + b"x" * (1 << 16))
        deep = connect()
        with contextlib.suppress(OSError):
            deep.sendall(b"[" * (1 << 20))
        flood = connect()
        flood.settimeout(0)
        with pytest.raises(BlockingIOError):  # its answers fill its socket, and then it is read no more
            while True:
                flood.send(b'{"execute": "stats"}\n' * 100)
        assert client.ask("list")[0]["device"] == "disk0"
        memory = int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{process.pid}/status").read())[1])
        assert memory < 100_000
        half.sendall(b'st"}\n')
        with half.makefile("rb") as answers:
            assert b'"outboard"' in answers.readline() and b'"return"' in answers.readline()
        crowd = [connect() for _ in range(70)]
        last = crowd[-1].makefile("rb").readline()
        assert b"as many clients as this socket takes" in last
    assert client.ask("list")[0]["device"] == "disk0"


@pytest.mark.parametrize("deed", ["notify.send(b'WATCHDOG=1\\nX_OUTBOARD_CLIENT=1\\nSTATUS=' + b'x' * 3000)", "os.write(2, b'x' * 4000)"],
                         ids=["notify", "log"])  # fmt: skip
def test_a_device_that_floods_leaves_others_their_service(machine, control, deed):
    machine.script("bad", SAYS + f"import select\nwhile not select.select([3], [], [], 0)[0]: {deed}\n")
    _, client = control(VMM + BAD + LISTENING)
    ready(client)
    for _round in range(20):
        assert [device["state"] for device in client.ask("list")] == ["ready", "ready"]
        subprocess.run([OUTBOARD, "inspect", machine.folder / "disk.sock"], capture_output=True, check=True)
        client.wait_for_event("CLIENT_WENT")


QEMU = """
import os, re, socket, sys
if sys.argv[1:] == ["-device", "help"]:
    print('name "x-pci-proxy-dev", bus PCI')
    sys.exit()
fd = int(re.search(r"id=outboard-qmp,fd=(\\d+)", " ".join(sys.argv))[1])
with socket.socket(fileno=fd) as listener:
    qmp = listener.accept()[0]
"""


@pytest.mark.parametrize("words", [b"garbage" * 1000, b"[" * 3000000, b"{}" * 100000, b"[1]", b'{"QMP": 1}' * 1000, b'{"event": "STOP"}', b""],
                         ids=["garbage", "deep", "empty", "array", "greetings", "event", "silence"])  # fmt: skip
def test_a_hostile_vmm_s_qmp(machine, control, words):
    """It can't keep the supervisor from its clients, nor from ending."""
    machine.script("qemu-bad", QEMU + f"""
try:
    qmp.sendall({words!r})
except OSError:
    pass
import signal
signal.pause()
""")
    process, client = control(VMM.replace('"sh"', '"{FOLDER}/qemu-bad"') + LISTENING.replace("socket-path", "# "))
    ready(client)
    assert client.ask("status")["machine"] == "one"
    client.ask("list")
    client.ask("quit")
    assert process.wait() == 0


def test_readiness_is_told_to_a_service_manager(machine, spawn):
    machine.image()
    path = str(machine.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        machine.write(LISTENING)
        process = spawn([OUTBOARD, "run", machine.file], env={"NOTIFY_SOCKET": path})
        assert manager.recv(100) == b"STATUS=starting devices"
        assert manager.recv(100) == b"READY=1\nSTATUS=running"
        assert process.terminate() == 0

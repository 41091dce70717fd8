# SPDX-License-Identifier: BSD-3-Clause
"""Orders to a device process, by the control socket: reset, trace on and off; and states of devices that were given up."""
import contextlib
import os
import select
import signal
import subprocess

import pytest
import vfio_user
from controllab import Control, Refused
from guestlab import paths
from machinelab import OUTBOARD

CRASHER = paths.BUILD / "release/tests/supervisor/crasher"
LISTENING = '[device "disk0"]\nprogram = "{program}"\nimage = "{FOLDER}/{image}"\nsocket-path = "{FOLDER}/disk.sock"\n'
BAD = '[device "bad"]\nprogram = "{FOLDER}/bad"\nsocket-path = "{FOLDER}/bad.sock"\n'
READY = """
import os, socket
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ["NOTIFY_SOCKET"].replace("@", chr(0)))
orders = socket.socket(fileno=int(os.environ["OUTBOARD_ORDERS_FD"]))
notify.send(b"READY=1")
"""


@pytest.fixture
def start(machine, cleanup, monkeypatch, tmp_path_factory):
    """start(configuration): outboard run without a VMM, and a client of its control socket that has seen all devices ready."""
    folder = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))

    def run(text, program="nvme", image="disk.img"):
        machine.image()
        process = machine.write(text.replace("{program}", program).replace("{image}", image)).start()
        cleanup.callback(lambda: process.running and process.terminate())
        while not list(folder.glob("outboard-*/.control")):
            assert process.running, process.log_tail()
        client = cleanup.enter_context(Control(next(folder.glob("outboard-*/.control")), process))
        client.wait_until_ready()
        return process, client

    return run


def visit(machine, client):
    """A VMM that comes, looks at the device and goes."""
    subprocess.run([OUTBOARD, "inspect", machine.folder / "disk.sock"], capture_output=True, check=True)
    client.wait_for_event("CLIENT_WENT")


@pytest.mark.parametrize("program", ["nvme", "disk"])
def test_trace_on_and_off(machine, start, program):
    """Each message is a line of the file while the trace is on; before and after it is none."""
    _, client = start(LISTENING, program, "disk.img,nbd" if program == "disk" else "disk.img")
    visit(machine, client)
    ctl = lambda *words: subprocess.run([OUTBOARD, "ctl", "trace", "disk0", *words], cwd=machine.folder, check=True)  # noqa: E731
    ctl("on", "file=trace")
    assert client.ask("list")[0]["trace"] is True
    visit(machine, client)
    ctl("off")
    assert "trace" not in client.ask("list")[0]
    traced = (machine.folder / "trace").read_text()
    assert traced.count(" got VERSION") == 1 and traced.count(" got REGION_READ") > 5
    visit(machine, client)
    assert (machine.folder / "trace").read_text() == traced
    ctl("on", "file=trace")
    visit(machine, client)
    assert (machine.folder / "trace").read_text().count(" got VERSION") == 2


def test_trace_in_the_log(machine, start):
    process, client = start(LISTENING)
    client.ask("trace", device="disk0", state="on")
    visit(machine, client)
    client.ask("quit")
    assert process.wait() == 0
    assert process.log.read_text().count("got VERSION") == 1


def test_statistics_of_a_disk_with_a_server(machine, start):
    """The page of counters reaches the device behind outboard disk."""
    _, client = start(LISTENING, "disk", "disk.img,nbd")
    visit(machine, client)
    assert client.ask("stats")[0]["requests"] > 10


def test_a_device_is_reset(machine, start):
    """Its registers are as after power on, and its VMM stays connected."""
    _, client = start(LISTENING)
    vmm = vfio_user.Client.connect(machine.folder / "disk.sock")
    try:
        vmm.negotiate()
        vmm.write(vfio_user.CONFIG, 4, (6).to_bytes(2, "little"))
        assert vmm.read(vfio_user.CONFIG, 4, 2) == b"\x06\x00"
        assert subprocess.run([OUTBOARD, "ctl", "reset", "disk0"], check=False).returncode == 0
        assert vmm.read(vfio_user.CONFIG, 4, 2) == b"\x00\x00"
    finally:
        vmm.close()


def test_refusals(start):
    _, client = start(LISTENING)
    for command, arguments, words in [
        ("reset", {"device": "x"}, "got device 'x'"),
        ("trace", {"device": "disk0", "state": "loud"}, "state: got 'loud', expected on or off"),
        ("trace", {"device": "disk0"}, "state: got '', expected on or off"),
        ("trace", {"device": "x", "state": "on"}, "got device 'x'"),
        ("trace", {"device": "disk0", "state": "on", "file": "/dev/null"}, "file: can't append to /dev/null"),
    ]:
        with pytest.raises(Refused, match=words):
            client.ask(command, **arguments)
    assert subprocess.run([OUTBOARD, "ctl", "trace", "disk0"], capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize(
    "deed, words",
    [
        ("notify.send(b'X_OUTBOARD_ORDER=%d 95 0\\nX_OUTBOARD_FAULT=no\\x1b[2J' % number)", "no\\033[2J"),
        ("notify.send(b'X_OUTBOARD_ORDER=%d -4 0' % number); notify.send(b'X_OUTBOARD_ORDER=99 0 0'); os._exit(0)", "has ended"),
        ("os._exit(1)", "the device process has ended"),
    ],
    ids=["refuses", "lies", "ends"],
)
def test_a_process_that_answers_as_it_likes(machine, start, deed, words):
    machine.script("bad", READY + f"""
number = int.from_bytes(orders.recv(100)[4:8], "little")
{deed}
os.read(0, 1)
""")
    _, client = start(BAD)
    with pytest.raises(Refused) as refusal:
        client.ask("reset", device="bad")
    assert words in refusal.value.args[1]


def test_orders_that_nobody_reads(machine, start):
    """The fifth at a time is refused at once, and the others end with the process."""
    machine.script("bad", READY + "import signal\nsignal.pause()")
    process, client = start(BAD)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Control(client.socket.getpeername(), process)) for _ in range(5)]
        for one in clients:
            one.socket.sendall(b'{"execute": "reset", "arguments": {"device": "bad"}}\n')
        (refused, *others), _, _ = select.select([one.socket for one in clients], [], [])
        assert not others
        os.kill(client.ask("list")[0]["pid"], signal.SIGKILL)
        for one in clients:
            assert ("busy" if one.socket == refused else "has ended") in one.next()["error"]["desc"]


@pytest.fixture
def crashing(machine, start):
    """crashing(deed, arguments): a client, and a device that dies of what its VMM does and is restarted."""

    def run(deed, arguments=""):
        machine.script("vmm", f"""
import signal, sys
sys.path.insert(0, {str(paths.TREE / "tests/supervisor")!r})
import restartlab
registers = restartlab.connect("mpqemu", sys.argv[1])
registers.write(0, 5)
try:
    {deed}
except Exception as error:
    print(error)
signal.pause()
""")
        _, client = start('[machine]\nprogram = "{FOLDER}/vmm"\narguments = "%fd:device%"\n[device "device"]\n'
                          f'program = "{CRASHER}"\non-death = "restart"\narguments = "{arguments}"\n')  # fmt: skip
        return client

    return run


def test_a_poison_message_is_told(crashing):
    """The device is there again, and `list` tells that a message was answered with an error."""
    client = crashing("registers.read(8)")
    while not (device := client.ask("list")[0]).get("poison-messages") or device["state"] != "ready":
        pass
    assert device["poison-messages"] == 1 and "reason" not in device
    assert client.ask("status")["lost-devices"] == 0
    client.ask("quit")


def test_a_crash_loop_is_told(crashing):
    """The device is not restarted any more, and `list`, `status` and the metrics tell it and why."""
    client = crashing("restartlab.kill(restartlab.device('crasher')); registers.read(0)", "--when-resumed")
    while client.ask("list")[0]["state"] != "failed":
        pass
    assert "5 processes in a row have died" in client.ask("list")[0]["reason"]
    assert client.ask("status")["lost-devices"] == 1
    metrics = subprocess.run([OUTBOARD, "ctl", "prometheus"], capture_output=True, text=True, check=True).stdout
    assert 'outboard_device_state{machine="vm",device="device",state="failed"} 1' in metrics
    client.ask("quit")

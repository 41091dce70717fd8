# SPDX-License-Identifier: BSD-3-Clause
"""outboard save and restore: a machine ends, and the devices of another one go on where it was."""
import base64
import os
import pathlib
import signal
import subprocess

import pytest
from controllab import Control, Refused
from guestlab import paths
from machinelab import OUTBOARD

LAB = pathlib.Path(__file__).parent / "savelab.py"
NVME = '[device "disk"]\nprogram = "nvme"\nimage = "{FOLDER}/disk.img"\n'
DOOR = '[device "door"]\nprogram = "backdoor"\nlibrary = "{LIBRARY}"\n'
LIBRARY = paths.BUILD / "root/share/outboard/examples/backdoor_library.so"


def wait_for(condition, process):
    """Busy-waits for something that the process does; it must not end before."""
    while not condition():
        assert process.running, process.log_tail()


class Life:
    """One machine, whose VMM is a function of savelab."""

    def __init__(self, machine, function, device, settings=""):
        place = "%socket:{}%" if "vfio_user" in function else "%fd:{}%"
        name, *others = [section.split('"')[0] for section in device.split('[device "')[1:]]
        places = " ".join([place.format(name), "{FOLDER}", *(f"%fd:{other}%" for other in others)])
        tests = LAB.parent.parent
        path = ":".join(str(tests / folder) for folder in ("wire", "nvme")) + f":{tests.parent / 'tools'}"
        machine.script("vmm", f"import os, sys\nos.environ['PYTHONPATH'] = {path!r}\nos.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n")
        machine.write(f"""
            [machine]
              program = "{{FOLDER}}/vmm"
              arguments = "{LAB} {function} {places}"
              control = "{{FOLDER}}/control"
            {device.replace("{LIBRARY}", str(LIBRARY))}
            {settings}
        """)
        self.folder = machine.folder
        self.process = machine.start()
        wait_for((machine.folder / ("first" if "before" in function else "second")).exists, self.process)
        self.control = Control(machine.folder / "control", self.process)

    def run(self, command, name="saved"):
        return subprocess.run([OUTBOARD, command, self.folder / "control", self.folder / name], capture_output=True, text=True, check=False)

    def go_on(self):
        os.kill(self.control.ask("status")["vmm-pid"], signal.SIGUSR1)

    def end(self):
        self.control.__exit__()
        assert self.process.wait() == 0, self.process.log_tail()


@pytest.fixture
def life(machine, cleanup, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("r")))

    def start(*arguments, **options):
        one = Life(machine, *arguments, **options)
        cleanup.callback(lambda: one.process.running and one.process.terminate())
        return one

    return start


def save(life, function, device, **options):
    """A machine whose devices were saved, and that has ended."""
    before = life(function, device, **options)
    done = before.run("save")
    assert done.returncode == 0, done.stderr + before.process.log_tail()
    assert before.control.ask("status")["devices-rest"] is True
    before.go_on()
    before.end()
    return done.stdout


@pytest.mark.parametrize(
    "before, after, device, settings",
    [
        ("disk_before", "disk_after", NVME, ""),
        ("disk_before", "disk_after", NVME, 'on-death = "restart"'),
        ("door_before", "door_after", DOOR, ""),
        ("door_before", "door_after_over_vfio_user", DOOR, ""),
    ],
    ids=["disk", "disk that is restarted", "door", "door over another wire"],
)  # fmt: skip
def test_devices_go_on_in_another_machine(life, machine, before, after, device, settings):
    with open(machine.folder / "disk.img", "wb") as file:
        file.truncate(1 << 20)
    printed = save(life, before, device, settings=settings)
    name = device.split('"')[1]
    state = machine.folder / f"saved/{name}.state"
    assert printed == f"{name}: {state.stat().st_size} bytes\n"
    assert sorted(path.name for path in (machine.folder / "saved").iterdir()) == sorted([f"{name}.state", "machine"])
    second = life(after, device, settings=settings)
    done = second.run("restore")
    assert done.returncode == 0, done.stderr + second.process.log_tail()
    second.control.ask("resume")
    second.go_on()
    second.end()
    assert "verified" in second.process.log.read_text()


def test_a_machine_that_was_saved_goes_on(life, machine):
    """Its devices rest until then."""
    machine.image()
    one = life("door_before", DOOR)
    assert one.run("save").returncode == 0
    assert one.run("save").returncode == 1 and one.run("save", "again").returncode == 0  # the folder is there
    one.control.ask("resume")
    assert one.control.ask("status")["devices-rest"] is False
    with pytest.raises(Refused, match="the VMM has no QMP"):
        one.control.ask("resume")
    one.go_on()
    one.end()


def test_states_that_do_not_fit(life, machine):
    """A file that is cut, changed, missing or another device's is refused, and the device is there as before."""
    save(life, "door_before", DOOR)
    saved = machine.folder / "saved"
    state, index = (saved / "door.state").read_bytes(), (saved / "machine").read_text()
    second = life("door_after", DOOR)

    def refused(words):
        done = second.run("restore")
        assert done.returncode == 1 and words in done.stderr, done

    for changed in (state[:-1], state + b"x", state[:-1] + bytes([state[-1] ^ 1])):
        (saved / "door.state").write_bytes(changed)
        refused("save again")
    (saved / "door.state").write_bytes(state)
    for changed, words in [
        ("", "Protocol error"), ("outboard devices 2\n", "Protocol error"), (index + "../x 1 0\n", "Protocol error"),
        (index.replace("door", "other"), "No such file"), (index.split("\n")[0] + "\n", "got states of 0 devices, expected 1"),
    ]:  # fmt: skip
        (saved / "machine").write_text(changed)
        refused(words)
    (saved / "machine").unlink()
    refused("expected a folder that outboard save has written")
    piece = base64.b64encode(b"not the state of a device").decode()
    second.control.ask("write-state", device="door", offset=0, data=piece)
    with pytest.raises(Refused, match="device door: "):
        second.control.ask("restore")
    assert second.control.ask("status")["devices-rest"] is False
    (saved / "machine").write_text(index)
    assert second.run("restore").returncode == 0
    second.control.ask("resume")
    second.go_on()
    second.end()
    assert "verified" in second.process.log.read_text()


def test_pieces_that_are_wrong(life):
    one = life("door_before", DOOR)
    for arguments in [
        {"device": "door", "offset": 0, "data": "?"}, {"device": "door", "offset": 0, "data": ""}, {"device": "door", "offset": 5, "data": "AAAA"},
        {"device": "door", "offset": 0, "data": "A" * 50000}, {"device": "door", "offset": 0}, {"device": "door", "offset": -1, "data": "AAAA"},
        {"device": "door", "offset": 1 << 40, "data": "AAAA"}, {"device": "x", "offset": 0, "data": "AAAA"},
    ]:  # fmt: skip
        with pytest.raises(Refused):
            one.control.ask("write-state", **arguments)
    assert one.control.ask("read-state", device="door", offset=0) == {"length": 0, "data": ""}
    one.go_on()
    one.end()


def test_a_device_without_a_state(life, machine):
    """The machine is not saved, and its devices go on."""
    one = life("door_before", DOOR + f'[device "lamp"]\nprogram = "{paths.BUILD}/release/examples/led"\n')
    done = one.run("save")
    assert done.returncode == 1 and "device lamp: led can't save its state" in done.stderr
    assert not (machine.folder / "saved").exists()
    assert one.control.ask("status")["devices-rest"] is False
    one.go_on()
    one.end()


def test_a_device_process_that_dies_meanwhile(life, machine):
    """The command fails; it does not wait."""
    machine.script("bad", """
import os, socket
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ["NOTIFY_SOCKET"].replace("@", chr(0)))
orders = socket.socket(fileno=int(os.environ["OUTBOARD_ORDERS_FD"]))
notify.send(b"READY=1")
_, fds, _, _ = socket.recv_fds(orders, 100, 4)
try:
    os.ftruncate(fds[0], 1 << 40)
except OSError:
    os.abort()
""")  # fmt: skip
    one = life("door_before", DOOR + '[device "bad"]\nprogram = "{FOLDER}/bad"\n')
    with pytest.raises(Refused, match="device bad: the device process has ended"):
        one.control.ask("save")
    one.go_on()
    one.control.__exit__()
    assert one.process.wait() == 3

# SPDX-License-Identifier: BSD-3-Clause
"""A disk that dies at each step between a message and its answer, and between a completion and its interrupt.

Processes of a test build die there by themselves (src/base/fault_point.h). The guest gets each answer once, each
completion once, each interrupt, and the contents that it has written. Other devices die at the same steps."""
import pathlib
import re

import pytest
from guestlab import paths
from machinelab import build_door
from restartlab import LAB_PATH, PLACES

# Of a process that serves. Each is passed with every message, completion or interrupt, or is in BY_WIRE.
STEPS = [
    "received", "receive-uncounted", "message-begun", "callback", "handled", "state-written", "recorded", "message-committed",
    "before-send", "send-uncounted", "sent", "committed", "dma-write", "interrupt", "interrupted",
]  # fmt: skip
BY_WIRE = {"mpqemu": ["memory-table"], "vfio-user": ["dma-map", "dma-unmap"]}
# Of a successor, before it is ready.
STARTS = ["hand-over-asked", "hand-over", "owned", "before-ready"]
# Of a keeper, and of a call of a backdoor.
KEEPER = ["keeper-asked", "keeper-gave"]
CALL = ["effect-begun"]
# Which time counts: an even number of DMA writes is a whole completion entry, an odd one the first half.
PASSES = [2, 7, 12]


def deaths(wire, passes, without=(), more=()):
    """One life after the other: $OUTBOARD_FAULTS, and how many die. No more than two in a row do nothing at all, since
    the message that the third one finds counts as the culprit."""
    lives = [(point, number) for number in passes for point in [*STEPS, *BY_WIRE[wire], *more] if point not in without]
    for point in STARTS:
        lives += [(point, 1), (point, 1), ("sent", 5)]
    return ",".join(f"{point}:{number}:{life}-{life}" for life, (point, number) in enumerate(lives, 1)), len(lives)


@pytest.fixture
def run_faults(machine, faults):
    """run_faults(wire, guest, passes, settings): the machine's end, and how many deaths were planned."""

    def run(wire, guest, passes, settings="", **environment):
        image = machine.folder / "disk.img"
        with open(image, "wb") as file:
            file.truncate(8 << 20)
        planned, count = deaths(wire, passes)
        machine.write(f"""
            [machine]
              program = "{{PYTHON}}"
              arguments = "{paths.TREE}/tests/supervisor/disklab.py faults {wire} {PLACES[wire]} {{FOLDER}}/control {count} {guest}"
              control = "{{FOLDER}}/control"
            [device "device"]
              program = "{faults}/devices/nvme/outboard-nvme"
              image = "{image}"
              on-death = "restart"
              restart-limit = "100000"
              {settings}
        """)
        return machine.run(PYTHONPATH=LAB_PATH, OUTBOARD_FAULTS=planned, **environment), count

    return run


@pytest.mark.parametrize("guest", ["polls", "interrupts"])
@pytest.mark.parametrize("wire", PLACES)
def test_a_disk_dies_at_each_step(run_faults, wire, guest):
    done, count = run_faults(wire, guest, PASSES[:2])
    assert done.stdout == f"verified through {count}\n", done.stderr


@pytest.mark.long
@pytest.mark.parametrize("guest", ["polls", "interrupts"])
@pytest.mark.parametrize("wire", PLACES)
def test_a_disk_dies_at_each_step_many_times(run_faults, wire, guest):
    done, count = run_faults(wire, guest, range(2, 40))
    assert done.stdout == f"verified through {count}\n", done.stderr


@pytest.mark.parametrize("wire", PLACES)
def test_without_restart_the_first_death_ends_the_disk(run_faults, wire):
    done, _ = run_faults(wire, "polls", PASSES[:1], settings='on-death = "fail"')
    assert "verified" not in done.stdout


@pytest.fixture
def run_device(machine, faults, tmp_path):
    """run_device(device, wire, passes): the machine's end; the guest of faultlab.py has that device."""

    def run(device, wire, passes):
        words, program, settings = DEVICES[device]
        planned, count = deaths(wire, passes, NOT_OF[device] + BY_WIRE[wire], CALL if device == "backdoor" else ())
        settings = settings.replace("{IMAGE}", str(machine.image())).replace("{FOLDER}", str(tmp_path))
        if "{DOOR}" in settings:
            settings = settings.replace("{DOOR}", str(build_door(tmp_path)[0]))
        first, *kind = words.split()
        more = f"{first} {wire} {PLACES[wire]} {{FOLDER}}/control {count} {' '.join(kind)}"
        if first == "kept":
            more = f"kept {kind[0]} {wire} {PLACES[wire]} {{FOLDER}}/control {count} {' '.join(kind[1:])}"
        machine.write(f"""
            [machine]
              program = "{{PYTHON}}"
              arguments = "{paths.TREE}/tests/supervisor/faultlab.py {more}"
              control = "{{FOLDER}}/control"
            [device "device"]
              program = "{faults}/{program}"
              on-death = "restart"
              restart-limit = "100000"
              {settings}
        """)
        lab = f"{LAB_PATH}:{paths.TREE}/tests/virtio"
        return machine.run(PYTHONPATH=lab, OUTBOARD_FAULTS=planned)

    return run


# The guest's part, the program, and settings.
DEVICES = {
    "rng": ("kept random_bytes split-event", "devices/rng/outboard-rng", ""),
    "blk": ("kept disk packed-event", "devices/blk/outboard-blk", 'image = "{IMAGE}"'),
    "vmchannel": ("ports", "devices/vmchannel/outboard-vmchannel", 'max-ports = "2"\nport = "one,listen:{FOLDER}/one"'),
    "vsock": ("connections", "devices/vsock/outboard-vsock", 'guest-cid = "42"\nhost-socket = "{FOLDER}/host"'),
    "alarm": ("alarms", "examples/alarm", ""),
    "backdoor": ("calls", "devices/backdoor/outboard-backdoor", 'library = "{DOOR}"'),
    "state": ("states", "examples/alarm", ""),
}
# A state comes in over vfio-user only.
ON_WIRES = [(device, wire) for device in DEVICES for wire in PLACES if device != "state" or wire == "vfio-user"]
# What the guest of a device does not pass. A virtio device writes to memory by its rings, and the alarm by requests. The
# others have no interrupt, or no work of their own.
QUIET = ["dma-write", "interrupt", "interrupted", "committed"]
NOT_OF = {"alarm": ["dma-write", "committed"], "backdoor": QUIET, "state": QUIET}
NOT_OF |= {device: ["dma-write"] for device in ("rng", "blk", "vmchannel", "vsock")}


@pytest.mark.parametrize("device, wire", ON_WIRES)
def test_a_device_dies_at_each_step(run_device, device, wire):
    done = run_device(device, wire, PASSES[:1])
    assert done.stdout == "kept\n", done.stderr


@pytest.mark.long
@pytest.mark.parametrize("device, wire", ON_WIRES)
def test_a_device_dies_at_each_step_many_times(run_device, device, wire):
    done = run_device(device, wire, range(2, 30))
    assert done.stdout == "kept\n", done.stderr


def write_counter(machine, faults, script, number):
    """A counter with fault points, whose VMM is a script that gets the control socket and a number."""
    place = f'{PLACES["vfio-user"]} {{FOLDER}}/control'
    words = f"{paths.TREE}/tests/supervisor/{script} vfio-user {place} {number}"
    machine.write_restarted(words, f"{faults}/examples/counter")


def test_as_many_ranges_of_memory_as_there_can_be(machine, faults):
    """The first process dies in DMA_MAP 30,000, the next in that of another 30,000, and the next in the midst of the end."""
    planned = "dma-map:30000:1-1,dma-map:30000:2-2,dma-unmap:30000:3-3"
    write_counter(machine, faults, "faultlab.py maps", 3)
    lab = f"{LAB_PATH}:{paths.TREE}/tests/virtio"
    done = machine.run(PYTHONPATH=lab, OUTBOARD_FAULTS=planned)
    assert done.stdout == "kept\n", done.stderr
    assert done.returncode == 0


# The deaths beside that of the first process, descriptors of memory, and what the VMM sees in the end. A keeper gives 16
# descriptors at a time.
KEEPERS = {
    "asked": ("keeper-asked:1:1-1", 1, "gone"),
    "behind the first 16": ("keeper-gave:1:1-1", 30, "gone"),
    "asked for more": ("keeper-asked:2:1-1", 30, "gone"),
    "behind all": ("keeper-gave:1:1-1", 1, "kept 15"),
    "behind all of many": ("keeper-gave:2:1-1", 30, "kept 15"),
    "with a successor that does not own the vault": ("keeper-gave:1:1-1,hand-over:1:2-2", 1, "gone"),
    "with a successor that owns it": ("keeper-gave:1:1-1,owned:1:2-2", 1, "kept 15"),
}


@pytest.mark.parametrize("moment", KEEPERS)
def test_a_keeper_dies_while_it_hands_over(machine, faults, moment):
    """Before all descriptors are the successor's, they are lost, and the device has failed. Behind it nobody notices."""
    planned, maps, outcome = KEEPERS[moment]
    write_counter(machine, faults, "restartlab.py lose_a_keeper", maps)
    done = machine.run(PYTHONPATH=LAB_PATH, OUTBOARD_FAULTS=planned)
    assert done.stdout == outcome + "\n", done.stderr
    if outcome == "gone":
        assert "device: can't be restarted: the process that keeps its descriptors has ended too" in done.stderr
    assert done.returncode == (3 if outcome == "gone" else 0)


def test_each_point_has_a_death():
    """A point that nothing here names is listed by no test."""
    sources = [path for folder in ("src", "devices", "backends") for path in pathlib.Path(paths.TREE / folder).rglob("*.c")]
    points = {name for path in sources for name in re.findall(r'fault_point\("([^"]+)"', path.read_text())}
    assert points == set(STEPS + STARTS + KEEPER + CALL + [name for names in BY_WIRE.values() for name in names])


def test_a_release_build_has_no_fault_points():
    library = paths.BUILD / "root/lib/liboutboard.so"
    assert b"OUTBOARD_FAULTS" not in library.read_bytes()

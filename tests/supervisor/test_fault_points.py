# SPDX-License-Identifier: BSD-3-Clause
"""A disk that dies at each step between a message and its answer, and between a completion and its interrupt.

Processes of a test build die there by themselves (src/base/fault_point.h). The guest gets each answer once, each
completion once, each interrupt, and the contents that it has written. Other devices die at the same steps."""
import pathlib
import re

import pytest
from guestlab import paths
from restartlab import LAB_PATH, PLACES

# Of a process that serves. Each is passed with every message, completion or interrupt, or is in BY_WIRE.
STEPS = [
    "received", "receive-uncounted", "message-begun", "callback", "handled", "state-written", "recorded", "message-committed",
    "before-send", "send-uncounted", "sent", "committed", "dma-write", "interrupt", "interrupted",
]  # fmt: skip
BY_WIRE = {"mpqemu": ["memory-table"], "vfio-user": ["dma-map", "dma-unmap"]}
# Of a successor, before it is ready.
STARTS = ["hand-over-asked", "hand-over", "owned", "before-ready"]
# Which time counts: an even number of DMA writes is a whole completion entry, an odd one the first half.
PASSES = [2, 7, 12]


# What no guest of a virtio device passes.
NOT_OF = ["dma-write"]


def deaths(wire, passes, without=()):
    """One life after the other: $OUTBOARD_FAULTS, and how many die. No more than two in a row do nothing at all, since
    the message that the third one finds counts as the culprit."""
    lives = [(point, number) for number in passes for point in STEPS + BY_WIRE[wire] if point not in without]
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
        planned, count = deaths(wire, passes, NOT_OF + BY_WIRE[wire])
        settings = settings.replace("{IMAGE}", str(machine.image())).replace("{FOLDER}", str(tmp_path))
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
    "blk": ("kept disk packed-event-doorbells", "devices/blk/outboard-blk", 'image = "{IMAGE}"'),
    "vmchannel": ("ports", "devices/vmchannel/outboard-vmchannel", 'max-ports = "2"\nport = "one,listen:{FOLDER}/one"'),
    "vsock": ("connections", "devices/vsock/outboard-vsock", 'guest-cid = "42"\nhost-socket = "{FOLDER}/host"'),
}
# The wire over which the guest's part passes each point, again and again. Over the other one some are passed in the
# first lives alone.
WIRES = {"rng": "vfio-user", "blk": "mpqemu", "vmchannel": "vfio-user", "vsock": "mpqemu"}


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_dies_at_each_step(run_device, device):
    done = run_device(device, WIRES[device], PASSES[:1])
    assert done.stdout == "kept\n", done.stderr


@pytest.mark.long
@pytest.mark.parametrize("device", DEVICES)
def test_a_device_dies_at_each_step_many_times(run_device, device):
    done = run_device(device, WIRES[device], range(2, 30))
    assert done.stdout == "kept\n", done.stderr


def test_each_point_has_a_death():
    """A point that nothing here names is listed by no test."""
    sources = [path for folder in ("src", "devices", "backends") for path in pathlib.Path(paths.TREE / folder).rglob("*.c")]
    points = {name for path in sources for name in re.findall(r'fault_point\("([^"]+)"', path.read_text())}
    assert points == set(STEPS + STARTS + [name for names in BY_WIRE.values() for name in names])


def test_a_release_build_has_no_fault_points():
    library = paths.BUILD / "root/lib/liboutboard.so"
    assert b"OUTBOARD_FAULTS" not in library.read_bytes()

# SPDX-License-Identifier: BSD-3-Clause
"""Devices that outlive their process, over both PCI wires, with a VMM of the tests' own: outboard run kills nothing, the
VMM does."""
import os
import pathlib
import subprocess

import pytest
from guestlab import paths
from machinelab import build_door

ROOT = paths.BUILD / "root"
EXAMPLES = paths.BUILD / "release/examples"
TESTS = pathlib.Path(__file__).parent.parent
BACKDOOR = ROOT / "bin/backdoor"
PLACES = {"mpqemu": "%fd:device%", "vfio-user": "%socket:device%"}
RESTARTS = 'on-death = "restart"\nrestart-limit = "100000"'


def build(program, source, *options):
    """As an author of a device outside of this tree would."""
    environment = os.environ | {"PKG_CONFIG_PATH": str(ROOT / "lib/pkgconfig")}
    words = subprocess.run(["pkg-config", "--cflags", "--libs", "outboard"], env=environment, check=True,
                           capture_output=True, text=True).stdout.split()  # fmt: skip
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-o", program, source, *options, *words],
                   check=True)  # fmt: skip
    return program


@pytest.fixture(params=PLACES)
def wire(request):
    return request.param


@pytest.fixture
def kept(machine):
    """kept(function of a lab, wire, program, argument..., settings=): the machine's end, with that VMM."""

    def run(name, wire, program, *arguments, settings="", lab="keptlab.py"):
        words = " ".join([str(TESTS / "supervisor" / lab), name, wire, PLACES[wire], *map(str, arguments)])
        machine.write(f"""
            [machine]
              program = "{{PYTHON}}"
              arguments = "{words}"
            [device "device"]
              program = "{program}"
              {RESTARTS}
              {settings}
        """)
        return machine.run(PYTHONPATH=":".join(str(TESTS / folder) for folder in ("wire", "supervisor", "virtio", "../tools")))

    return run


def check_storm(done, kills):
    assert done.stdout == "kept\n", done.stderr
    assert done.returncode == 0
    assert done.stderr.count("restarts it") >= min(kills, 5)  # the log folds more


def test_an_alarm(kept, wire):
    check_storm(kept("alarm", wire, EXAMPLES / "alarm", 2), 2)


@pytest.mark.parametrize("kills", [20, pytest.param(500, marks=pytest.mark.long)])
def test_the_template(kept, wire, kills, tmp_path):
    program = build(tmp_path / "sum", paths.TREE / "devices/template/sum.c", "-D_GNU_SOURCE")
    check_storm(kept("sums", wire, program, kills), kills)


@pytest.mark.parametrize("kills", [20, pytest.param(500, marks=pytest.mark.long)])
def test_a_device_of_another_tree(kept, wire, kills, tmp_path):
    program = build(tmp_path / "fifo", TESTS / "supervisor/fifo.c")
    check_storm(kept("fifo", wire, program, kills), kills)


@pytest.mark.parametrize("kind", ["split", "split-event-doorbells", "packed", "packed-event-doorbells"])
@pytest.mark.parametrize("kills", [10, pytest.param(500, marks=pytest.mark.long)])
def test_random_bytes(kept, wire, kind, kills):
    check_storm(kept("random_bytes", wire, "rng", kills, kind), kills)


@pytest.mark.parametrize("kind", ["split-event", "packed-event-doorbells"])
@pytest.mark.parametrize("kills", [20, pytest.param(500, marks=pytest.mark.long)])
def test_a_virtio_disk(kept, machine, wire, kind, kills):
    check_storm(kept("disk", wire, "blk", kills, kind, settings=f'image = "{machine.image()}"'), kills)


@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=pytest.mark.long)])
def test_ports_do_not_lie(kept, wire, kills, tmp_path):
    settings = f'max-ports = "4"\nport = "one,reconnect=handshake,listen:{tmp_path}/one"'
    check_storm(kept("ports", wire, "vmchannel", kills, tmp_path, settings=settings), kills)


@pytest.mark.parametrize("kills", [20, pytest.param(500, marks=pytest.mark.long)])
def test_streams(kept, wire, kills, tmp_path):
    settings = f'guest-cid = "42"\nhost-socket = "{tmp_path}/host"'
    check_storm(kept("streams", wire, "vsock", kills, tmp_path, settings=settings, lab="streamlab.py"), kills)


REPEAT = 0x100
# command, what it does in the first process: words 1 and 2 afterwards, and the letters of its effects.
CALLS = {
    "done": (3, 0, (0, 3), "e"),
    "reported, not begun": (3, 1, (1, 0), ""),
    "reported, begun": (3, 2, (1, 0), "e"),
    "repeated, not begun": (REPEAT, 1, (1, REPEAT), "r"),
    "repeated, begun": (REPEAT, 2, (1, REPEAT), "er"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_is_cut_short(kept, wire, name, tmp_path):
    """It is repeated or reported as its code says, and the state of the code has it once or not at all."""
    command, when, words, letters = CALLS[name]
    library, effects = build_door(tmp_path)
    done = kept("call", wire, "backdoor", command, when, settings=f'library = "{library}"')
    assert done.stdout == f"{words[0]} {words[1]}\n{words[0]} {words[1] + 7}\n", done.stderr
    assert effects.read_text() == letters + "e"
    assert done.stderr.count("restarts it") == (when > 0)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_of_a_plain_process(machine, name, tmp_path):
    """The same with libbackdoor over vfio-user; each line of the script is a process of its own."""
    command, when, words, letters = CALLS[name]
    library, effects = build_door(tmp_path)
    script = machine.script("calls", f"""
import subprocess, sys
def door(*words, data=None):
    done = subprocess.run(["{BACKDOOR}", *words], env={{"OUTBOARD_BACKDOOR": sys.argv[1]}}, input=data, check=True,
                          stdout=subprocess.PIPE)
    return done.stdout
door("write", "0", data=({when}).to_bytes(8, "little"))
door("call", "{command}")
door("write", "0", data=bytes(8))
door("call", "7")
told = door("read", "8", "16")
print(int.from_bytes(told[:8], "little"), int.from_bytes(told[8:], "little"))
""")
    machine.write(f"""
        [machine]
          program = "{script}"
          arguments = "%socket:device%"
        [device "device"]
          program = "backdoor"
          library = "{library}"
          {RESTARTS}
    """)
    done = machine.run()
    assert done.stdout == f"{words[0]} {words[1] + 7}\n", done.stderr
    assert effects.read_text() == letters + "e"
    assert done.stderr.count("restarts it") == (when > 0)


def test_code_that_does_not_say_what_becomes_of_its_calls(kept, tmp_path):
    source = tmp_path / "plain.c"
    source.write_text("void backdoor(unsigned long command, void *data) { (void)command, (void)data; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "plain.so", source], check=True)
    done = kept("call", "mpqemu", "backdoor", 1, 0, settings=f'library = "{tmp_path}/plain.so"')
    assert done.returncode == 3
    assert "the code has no function 'backdoor_cut' for calls that a process did not end" in done.stderr

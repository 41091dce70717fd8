# SPDX-License-Identifier: BSD-3-Clause
"""outboard run with on-death = "restart": a device is killed, another process goes on, and its VMM notices nothing."""
import os
import pathlib
import re

import pytest
from guestlab import paths
from restartlab import LAB_PATH, PLACES

EXAMPLES = paths.BUILD / "release/examples"
CRASHER = paths.BUILD / "release/tests/supervisor/crasher"
HEIR = paths.BUILD / "release/tests/supervisor/heir"
LAB = pathlib.Path(__file__).parent / "restartlab.py"


@pytest.fixture
def restarted(machine):
    """restarted(function of restartlab, wire, argument..., settings=...): the machine's end, with that VMM."""

    def run(name, wire, *arguments, settings="", program=EXAMPLES / "counter", control=False):
        arguments = [machine.folder / "control", *arguments] if control else arguments
        words = " ".join([str(LAB), name, wire, PLACES[wire], *map(str, arguments)])
        machine.write_restarted(words, program, settings)
        return machine.run(PYTHONPATH=LAB_PATH)

    return run


def check_storm(restarted, wire, kills):
    done = restarted("storm", wire, kills, settings='restart-limit = "100000"')
    assert done.stdout == f"counted through {kills}\n", done.stderr


@pytest.mark.parametrize("wire", PLACES)
def test_killed_while_a_vmm_counts(restarted, wire):
    check_storm(restarted, wire, 20)


@pytest.mark.long
@pytest.mark.parametrize("wire", PLACES)
def test_killed_500_times(restarted, wire):
    check_storm(restarted, wire, 500)


def test_a_program_without_a_state_says_so(restarted):
    done = restarted("storm", "mpqemu", 1, program=EXAMPLES / "led")
    assert done.returncode == 3
    assert "does not name its state (ob_vault_keep())" in done.stderr


def test_more_kills_than_the_limit_end_the_device(restarted):
    done = restarted("until_it_fails", "mpqemu", 4, settings='restart-limit = "2"')
    assert done.stdout == "gone\n", done.stderr
    assert done.returncode == 3
    assert "device: can't be restarted: got more than 2 restarts in a minute (restart-limit)" in done.stderr


def test_with_its_keeper_the_device_has_failed(restarted):
    done = restarted("kill_the_keeper", "mpqemu")
    assert done.stdout == "gone\n", done.stderr
    assert "device: can't be restarted: the process that keeps its descriptors has ended too" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can read the filters of a process")
def test_a_keeper_gives_descriptors_and_can_do_nothing_else(restarted):
    """Beside its calls it can only load a filter, which takes calls away."""
    told = restarted("tell_of_the_keeper", "mpqemu").stdout
    assert re.search(r"capabilities +none\n", told)
    assert re.search(r"own: user mnt net ipc uts cgroup;", told)
    assert set(re.search(r"system calls +(.*)", told)[1].split()) == {"recvmsg", "sendmsg", "exit_group", "restart_syscall", "rt_sigreturn"}
    assert re.search(r"by argument +(.*)", told)[1].split() == ["seccomp"]


@pytest.mark.parametrize(
    "settings, message",
    [
        ('on-death = "again"', "on-death: got 'again', expected restart or fail"),
        ('restart-limit = "0"', "restart-limit: got '0', expected restarts within a minute, from 1 to 1000000"),
    ],
)
def test_settings_that_are_wrong(machine, settings, message):
    machine.write(f'[machine]\nprogram = "true"\n[device "x"]\nprogram = "nvme"\n{settings}')
    done = machine.run()
    assert done.returncode != 0
    assert message in done.stderr


def test_a_device_that_makes_its_own_socket_is_not_restarted(machine):
    machine.write('[device "x"]\nprogram = "nvme"\nsocket-path = "x"\non-death = "restart"')
    assert "on-death: got 'restart', expected fail: a device with a socket-path" in machine.run().stderr


def test_the_descriptors_of_the_supervisor_are_its_own(machine):
    """A process of the device has its page of statistics (4), its socket of orders (5), its vault and its channel, and no other descriptor of the supervisor's."""
    machine.script("device", f"""
import os
fds = sorted(int(n) for n in os.listdir("/proc/self/fd"))
open("{machine.folder}/fds", "w").write(f"{{fds}} {{os.environ['OUTBOARD_VAULT']}}")
""")  # fmt: skip
    machine.write('[machine]\nprogram = "true"\narguments = "%fd:x%"\n[device "x"]\n'
                  'program = "{FOLDER}/device"\non-death = "restart"')  # fmt: skip
    machine.run()
    assert (machine.folder / "fds").read_text() == "[0, 1, 2, 3, 4, 5, 6, 7, 8] 6,7,-1,1,0,0"  # 8 is the folder's own
    assert os.environ.get("OUTBOARD_VAULT") is None


def test_an_alarm_rings_after_its_process_has_died(machine):
    machine.write(f"""
        [machine]
          program = "{{PYTHON}}"
          arguments = "{LAB} ring %socket:alarm%"
        [device "alarm"]
          program = "{EXAMPLES / "alarm"}"
          on-death = "restart"
    """)
    done = machine.run(PYTHONPATH=LAB_PATH)
    assert done.stdout == "rung\n", done.stderr
    assert "restarts it" in done.stderr


@pytest.mark.parametrize("wire", PLACES)
def test_a_message_that_kills_each_process_gets_an_error(restarted, wire):
    done = restarted("poison", wire, program=CRASHER)
    assert done.stdout == "poisoned\n", done.stderr
    assert done.stderr.count("was ended by signal 6 (Aborted); restarts it") == 3
    assert done.stderr.count(f"the process before died at this message, over {wire}:") == 3
    assert len(re.findall(r"got (BAR_READ|REGION_READ) .*\b(0xfe000008|0x8|8)\b", done.stderr)) == 3, done.stderr
    assert done.returncode == 0


def test_deaths_while_a_state_comes_in(restarted):
    done = restarted("load_through_deaths", "vfio-user", program=EXAMPLES / "alarm", settings='restart-limit = "1000"')
    assert done.stdout == "loaded\n", done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("kills", [20, pytest.param(500, marks=pytest.mark.long)])
def test_a_migration_with_deaths_in_it_copies_all_memory(machine, empty_image, kills):
    machine.write(f"""
        [machine]
          program = "{{PYTHON}}"
          arguments = "{LAB.parent / "disklab.py"} migrate %socket:device% {kills}"
        [device "device"]
          program = "nvme"
          image = "{empty_image}"
          on-death = "restart"
          restart-limit = "100000"
    """)
    done = machine.run(PYTHONPATH=LAB_PATH)
    assert done.stdout == f"copied True through {kills}\n", done.stderr


# Of a vault that its process has changed: the field's name, and its place in the file (src/device/vault.h).
FIELDS = {"magic": 0, "version": 4, "length": 8, "owner": 17}
TRIES = 5  # LIMIT_RESTART_LIVES


def check_refusals(done, field):
    """The supervisor knows by itself what is wrong with the owner. Processes tell of other fields."""
    if field == "owner":
        assert "its vault belongs to no process that there was" in done.stderr
    else:
        assert done.stderr.count("the vault: got version") == TRIES
        assert done.stderr.count("has refused to continue (status 1); tries another one") == TRIES - 1
        assert f"{TRIES} processes in a row have refused to continue, without having done anything" in done.stderr


@pytest.mark.parametrize("field", FIELDS)
def test_a_vault_that_was_changed_is_refused(restarted, field):
    done = restarted("change_the_vault", "mpqemu", FIELDS[field])
    assert done.stdout == "gone\n", done.stderr
    check_refusals(done, field)
    assert "device: can't be restarted: " in done.stderr
    assert done.returncode == 3


@pytest.mark.parametrize("field", FIELDS)
def test_a_device_that_listens_begins_afresh_without_a_vault_that_was_changed(restarted, field):
    done = restarted("begin_afresh", "vfio-user", FIELDS[field], settings='spare = "yes"' if field == "length" else "")
    assert done.stdout == "gone\nafresh\n", done.stderr
    check_refusals(done, field)
    assert "device: begins afresh for the next VMM: " in done.stderr
    assert done.returncode == 3  # the VMM has lost its device


@pytest.mark.parametrize("wire", PLACES)
def test_a_process_that_refuses_leaves_everything_to_the_next(machine, restarted, wire):
    (machine.folder / "heir-refuses-once").symlink_to(HEIR)
    done = restarted("be_refused_once", wire, program=machine.folder / "heir-refuses-once")
    assert done.stdout == "kept 11\n", done.stderr
    assert done.stderr.count("has refused to continue (status 1); tries another one") == 1
    assert done.returncode == 0


@pytest.mark.parametrize("wire", PLACES)
def test_the_keeper_dies_while_it_hands_over(restarted, wire):
    """Or with its process: the device has failed, and the supervisor says so."""
    done = restarted("kill_both", wire)
    assert done.stdout == "gone\n", done.stderr
    assert "keep" in done.stderr
    assert done.returncode == 3


def test_a_device_that_crashes_again_and_again_has_failed(restarted):
    done = restarted("kill_once", "mpqemu", program=CRASHER, settings='arguments = "--when-resumed"')
    assert done.stdout == "gone\n", done.stderr
    assert done.returncode == 3
    assert done.stderr.count("restarts it") == 5
    assert "device: can't be restarted: 5 processes in a row have died without having done anything" in done.stderr


@pytest.mark.parametrize("wire", PLACES)
def test_a_process_is_replaced_while_a_vmm_counts(restarted, wire):
    """By one of another program and of the first in turn."""
    done = restarted("upgrades", wire, 6, HEIR, EXAMPLES / "counter", control=True)
    assert done.stdout == "upgraded\n", done.stderr
    assert done.stderr.count("another process has taken its place") == 6
    assert done.returncode == 0


@pytest.mark.parametrize(
    "name, words, reason",
    [
        ("heir-refuses", "the new process has ended; the log of outboard run says why", "the state is refused"),
        ("heir-crashes", "the new process has ended; the log of outboard run says why", "is not upgraded"),
        ("heir-hangs", "the new process has not continued for 4 s", "is not upgraded"),
        ("none", "which is not there", ""),
    ],
)
def test_a_program_that_can_t_continue_leaves_the_old_process(machine, restarted, name, words, reason):
    if name != "none":
        (machine.folder / name).symlink_to(HEIR)
    done = restarted("refusals", "mpqemu", machine.folder / name, f"'{words}'", control=True)
    assert done.stdout == "refused\n", done.stderr
    assert reason in done.stderr and "has taken its place" not in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(
    "wire, name, outcome",
    [
        ("vfio-user", "heir-soon", "answered 5"),
        ("vfio-user", "heir-late", "ended"),  # QEMU 10.2 waits for 5 s
        ("mpqemu", "heir-late", "answered 5"),  # QEMU waits for any time
    ],
)
def test_an_answer_never_comes_too_late(machine, restarted, wire, name, outcome):
    (machine.folder / name).symlink_to(HEIR)
    done = restarted("wait_long", wire, program=machine.folder / name)
    assert done.stdout == f"{outcome}\nthen True\n", done.stderr
    assert done.returncode == 0
    told = "dropped the peer: no process has served the VMM for 4500 ms or more" in done.stderr
    assert told == (outcome == "ended"), done.stderr


@pytest.mark.parametrize("wire", PLACES)
def test_a_spare_process_is_the_next(restarted, wire):
    done = restarted("spares", wire, 4, control=True, settings='spare = "yes"')
    assert done.stdout == "spared\n", done.stderr
    assert "its spare process has ended" in done.stderr
    assert done.returncode == 0


def test_a_device_that_hangs_is_restarted(restarted):
    done = restarted("hang", "mpqemu", control=True, settings='watchdog-ms = "1000"')
    assert done.stdout == "continued\n", done.stderr
    assert "device: has given no sign of life for 1000 ms; sends SIGKILL" in done.stderr
    assert done.returncode == 0


@pytest.fixture
def disk_restarted(machine):
    """disk_restarted(function of disklab, kills): the machine's end, with a disk whose process is killed so often."""

    def run(name, kills, image, settings=""):
        machine.write(f"""
            [machine]
              program = "{{PYTHON}}"
              arguments = "{LAB.parent / "disklab.py"} {name} %fd:device% {kills}"
              control = "{{FOLDER}}/control"
            [device "device"]
              program = "nvme"
              image = "{image}"
              on-death = "restart"
              restart-limit = "100000"
              {settings}
        """)
        return machine.run(PYTHONPATH=LAB_PATH)

    return run


@pytest.fixture
def empty_image(machine):
    path = machine.folder / "disk.img"
    with open(path, "wb") as file:
        file.truncate(8 << 20)
    return path


@pytest.mark.parametrize("name", ["storm", "admin"])
def test_a_disk_is_killed_while_a_guest_uses_it(disk_restarted, empty_image, name):
    done = disk_restarted(name, 20, empty_image)
    assert done.stdout == "verified True through 20\n", done.stderr


def test_a_disk_s_process_is_replaced_while_a_guest_uses_it(disk_restarted, machine, empty_image):
    done = disk_restarted("upgrades", f"{machine.folder}/control 10", empty_image)
    assert done.stdout == "verified True, upgraded\n", done.stderr
    assert done.stderr.count("another process has taken its place") == 10


@pytest.mark.long
@pytest.mark.parametrize("name", ["storm", "admin"])
def test_a_disk_is_killed_500_times(disk_restarted, empty_image, name):
    done = disk_restarted(name, 500, empty_image)
    assert done.stdout == "verified True through 500\n", done.stderr


def test_without_restart_one_kill_ends_the_disk(disk_restarted, empty_image):
    done = disk_restarted("storm", 1, empty_image, settings='on-death = "fail"')
    assert "verified" not in done.stdout
    assert re.search("mpqemu.Gone|BrokenPipeError", done.stderr), done.stderr  # it receives or sends when the disk ends

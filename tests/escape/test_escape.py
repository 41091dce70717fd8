# SPDX-License-Identifier: BSD-3-Clause
"""What a device program that was taken over can't do in its cell, and can without one.

The deeds, and what a cell answers to each, are in deeds_*.c; the runner has a program do them (escape.h).
"""
import collections
import concurrent.futures
import contextlib
import ctypes
import os
import pathlib
import socket
import subprocess
import tempfile

import pytest
from escapelab import DEEDS, HOOK, INSTALLED, RELEASE, RUNNER, outcomes
from guestlab import paths

OUTBOARD = paths.BUILD / "root/bin/outboard"
LIBRARY = paths.BUILD / "root/share/outboard/examples/backdoor_library.so"

def landlock_version():
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.syscall(444, None, ctypes.c_size_t(0), 1)


# '@' is the runner's folder, and {nbd} the URI of an NBD server.
PROGRAMS = {
    "outboard-nvme": [INSTALLED / "outboard-nvme", "--image=@/image,readonly"],
    "outboard-nvme-nbd": [INSTALLED / "outboard-nvme", "--image={nbd}"],
    "outboard-backdoor": [INSTALLED / "outboard-backdoor", f"--library={LIBRARY}"],
    "outboard-rng": [INSTALLED / "outboard-rng"],
    "outboard-vmchannel": [INSTALLED / "outboard-vmchannel", "--port=org.example.0,listen:@/port", "--console=pty"],
    "outboard-blk": [INSTALLED / "outboard-blk", "--image=@/image,readonly"],
    "outboard-vsock": [INSTALLED / "outboard-vsock", "--guest-cid=5", "--host-socket=@/host", "--forward=80=tcp:127.0.0.1:1"],
    "alarm": [RELEASE / "examples/alarm"],
    "led": [RELEASE / "examples/led"],
    "sum": [RELEASE / "devices/sum"],
    "exercise": [RELEASE / "tests/wire/exercise"],
    "outboard-proxy": [OUTBOARD, "proxy", "--channel=unix-listen:@/channel", "--service=app=tcp:127.0.0.1:1", "-Lunix:@/forward:app"],
    "outboard-proxy-agent": [OUTBOARD, "proxy", "--channel=unix-listen:@/channel", "--allow-agent"],
    "outboard-inspect": [OUTBOARD, "inspect", "@/nobody"],
    "outboard-run": [OUTBOARD, "proxy", "run", "--control=@/stream", "true"],
}
# No devices: they are taken over when they wait in their cell. Without one, inspect does not wait for anybody here.
PROXY, WITH_AGENT, INSPECT, RUN = "outboard-proxy", "outboard-proxy-agent", "outboard-inspect", "outboard-run"
AT_WAIT = (PROXY, WITH_AGENT, INSPECT, RUN)
WITH_A_RING = "outboard-nvme"
ISOLATED = set(PROGRAMS) - {*AT_WAIT, "outboard-vmchannel", "outboard-vsock"}
NOWHERE = {"send to a socket by its path": "ENOENT", "send to an abstract socket": "EPERM"}
# What a program's own policy answers, as its reason there says. These of the proxy and of inspect list less than
# that of devices, and answer readlink(2) with an errno. The message of inspect is one by a datagram socket of its launcher.
OTHERWISE = {
    ("outboard-nvme", "make a pair of sockets"): "done",
    ("outboard-blk", "make a pair of sockets"): "done",
    ("outboard-nvme-nbd", "make a pair of sockets"): "done",
    **{(program, "read a link"): "ENOENT" for program in AT_WAIT},
    **{(program, "start a process by clone3(2)"): "killed clone3" for program in AT_WAIT if program != RUN},
    **{(program, "make descriptors without bound"): "killed eventfd2" for program in AT_WAIT if program != RUN},
    **{(program, "punch a hole by madvise(2)"): "killed mmap" for program in (PROXY, WITH_AGENT)},
    **{(program, "send a message to a socket by its path"): "ENOENT" for program in (INSPECT, RUN)},
    **{(program, "send a message to an abstract socket"): "EPERM" if landlock_version() >= 6 else "done" for program in (INSPECT, RUN)},
    # The policy allows an address where none leads out of the cell.
    **({(program, deed): answer for program in ISOLATED for deed, answer in NOWHERE.items()} if landlock_version() >= 6 else {}),
    (RUN, "look for the handler of a signal"): "done",
    (RUN, "make a pipe"): "done",
}

# Processes that programs keep outside their cells, with the options that give them their work.
CONNECTORS = {
    "vsock": [INSTALLED / "outboard-vsock", "--guest-cid=5", "--host-socket=@/host"],
    "vsock-tcp": [INSTALLED / "outboard-vsock", "--guest-cid=5", "--forward=80=tcp:127.0.0.1:1"],
    "vmchannel": [INSTALLED / "outboard-vmchannel", "--port=org.example.0,connect:@/stream"],
    "nbd": [INSTALLED / "outboard-nvme", "--image=nbd+unix:///?socket=@/stream"],
    "nbd-tcp": [INSTALLED / "outboard-nvme", "--image=nbd://127.0.0.1:1"],
    "proxy": [OUTBOARD, "proxy", "--channel=unix-listen:@/channel", "--service=app=tcp:127.0.0.1:1"],
}
TO_HOSTS = ("vsock-tcp", "nbd-tcp", "proxy")
# This one has all rights, for it starts commands.
WITH_COMMANDS = {"vmchannel-command": [INSTALLED / "outboard-vmchannel", "--port=org.example.0,command:true"]}
# What all others are refused.
FILES = """open a file, open a file by open(2), open a file by openat2(2), make a file, make a file by creat(2), make a file without a name,
    open the memory of a sibling, make a folder, make a symbolic link, make a second name, remove a file, rename a file, cut a file by its path,
    bind a socket to a path"""
CALLS = """change a mode, change an owner, watch a folder, make a raw IP socket, make a packet socket, make a socket of the kernel's ciphers,
    make a socket of IPsec's keys, make a TIPC socket, make a Bluetooth socket, make a CAN socket, make an XDP socket, make an RDS socket,
    start a process in a user namespace, execute a program, trace a sibling, attach to a sibling, read the memory of a sibling,
    write the memory of a sibling, take a descriptor of a sibling, limit a sibling, move a sibling to another processor, slow a sibling down,
    map executable memory, make memory executable, make memory executable by a key, share executable memory, have all memory executable,
    take System V memory without bound, mount, prepare a mount, copy a mount, change the root, make a user namespace, make a mount namespace,
    enter a namespace, name the host, use a keyring, add a key, make a map of BPF, count events, handle page faults, make a ring,
    watch a file system, read the kernel's log, reach ports of the machine, become another user, change capabilities, allow inspection again"""
SCOPED = """signal a sibling, signal a group, signal a thread of a sibling, abort a sibling, queue a signal, connect to an abstract socket,
    send to an abstract socket, send a message to an abstract socket"""


def outside(program):
    """The deeds that a process outside is refused on this kernel, and its answers."""

    def row(names, answer):
        return {" ".join(name.split()): answer for name in names.split(",")}

    found = row(CALLS, "EPERM")
    if landlock_version() >= 1:
        found |= row(FILES, "EACCES")
    if landlock_version() >= 4:
        found |= row("connect by TCP, listen at a TCP port", "EACCES")
    if landlock_version() >= 6:
        found |= row(SCOPED, "EPERM")
    allowed = []
    if program in TO_HOSTS:
        allowed += [name for name in found if "open a file" in name or "abstract" in name] + ["connect by TCP"]
    if program == "nbd-tcp":  # name services are libraries
        allowed += ["map executable memory", "make memory executable", "make memory executable by a key"]
    if program == "proxy":
        allowed += ["listen at a TCP port", "bind a socket to a path", "change a mode", "watch a folder"]
    if program in ("vsock", "proxy"):
        allowed += ["remove a file"]
    return found | dict.fromkeys(allowed, "done")


# Root's programs, and those of an ordinary user; an ordinary user has its own alone.
USERS = {"root": 0, "nobody": 65534} if os.geteuid() == 0 else {"user": os.geteuid()}
MORE_USERS = USERS | ({"another": 12345} if os.geteuid() == 0 else {})

# Batches wait for the kernel to take namespaces down, most of the time.
AT_ONCE = 4
BATCH_TIMEOUT_S = 600


def attempts(programs, users, only=None):
    for program in programs:
        for user in users:
            for deed, words in DEEDS.items():
                if (program == WITH_A_RING or "ring" not in words) and (not only or only in words):
                    yield pytest.param(program, user, deed, id=f"{program}-{user}-{deed}")


def serve_nbd(stack):
    """Starts an NBD server for everybody; the URI of its export."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ob-"))
    os.chmod(folder, 0o755)
    path = f"{folder}/nbd"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        os.chmod(path, 0o777)
        listening.listen()
        # The protocol of systemd: the socket is descriptor 3, and the variables name the process that is meant.
        script = f"LISTEN_PID=$$ LISTEN_FDS=1 exec nbdkit -f memory 1M 3<&{listening.fileno()}"
        server = stack.enter_context(subprocess.Popen(["bash", "-c", script], pass_fds=[listening.fileno()]))
    stack.callback(server.terminate)
    return f"nbd+unix:///?socket={path}"


def run_batch(program, user, test, names):
    """What became of each deed of the batch."""
    if any(not path.stat().st_mode & 1 for path in pathlib.Path(RUNNER).parents) and MORE_USERS[user] != os.geteuid():
        return f"user {MORE_USERS[user]} can't enter the folder of this tree"
    command = [RUNNER, f"--hook={HOOK}", *KINDS[test]]
    if program in AT_WAIT or program == "proxy":
        command.append("--at-wait")
    if MORE_USERS[user] != os.geteuid():
        command.append(f"--user={MORE_USERS[user]}")
    with contextlib.ExitStack() as stack:
        nbd = serve_nbd(stack) if "nbd" in program else ""
        arguments = (PROGRAMS | CONNECTORS | WITH_COMMANDS)[program]
        argv = [*command, ",".join(names), *(str(argument).format(nbd=nbd) for argument in arguments)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=BATCH_TIMEOUT_S)
    found = outcomes(done.stdout)
    assert set(found) == set(names), done.stderr
    return found


@pytest.fixture(scope="module")
def batches(request):
    """The deeds that the tests of this session want, by program, user and kind of cell; several batches run at once."""
    wanted = collections.defaultdict(list)
    for item in request.session.items:
        if item.module is request.module:
            parameters = item.callspec.params
            key = parameters["program"], parameters["user"], item.originalname
            wanted[key].append(parameters["deed"])
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        started = {key: pool.submit(run_batch, *key, names) for key, names in wanted.items()}
    return started  # all have ended


@pytest.fixture
def outcome(batches, request, program, user, deed):
    found = batches[program, user, request.node.originalname].result()
    if isinstance(found, str):
        pytest.skip(found)
    return found[deed]


@pytest.mark.parametrize(("program", "user", "deed"), [*attempts(PROGRAMS, USERS), *attempts([WITH_A_RING], set(MORE_USERS) - set(USERS))])
def test_a_cell_refuses(outcome, program, user, deed):
    if (program, deed) in OTHERWISE:
        assert outcome.text == OTHERWISE[program, deed]
    else:
        outcome.check_refused()


@pytest.mark.skipif(landlock_version() < 6, reason="needs Landlock's scopes (Linux 6.12)")
@pytest.mark.parametrize(("program", "user", "deed"), attempts([WITH_A_RING], MORE_USERS, "beneath"))
def test_beneath_the_policy_it_is_refused(outcome, program, user, deed):
    """The parts of a cell stand behind each other: paths, siblings and privileges are out of reach without the policy too."""
    outcome.check_refused()


@pytest.mark.parametrize(("program", "user", "deed"), [*attempts([WITH_A_RING], MORE_USERS), *attempts([PROXY], USERS)])
def test_without_a_cell_it_is_done(outcome, program, user, deed):
    outcome.check_done()


OUTSIDE = {program: outside(program) for program in CONNECTORS}


@pytest.mark.parametrize(("program", "user", "deed"), [(program, user, deed) for program in CONNECTORS for user in USERS for deed in OUTSIDE[program]])
def test_outside_a_cell_it_is_refused_too(outcome, program, user, deed):
    """A process outside a cell keeps what its work needs, and no more."""
    assert outcome.text == OUTSIDE[program][deed], outcome.details


# An executed program tells the runner of no end. The others take descriptors that the process has closed.
NOT_WITH_COMMANDS = ("execute a program", "take a descriptor of a sibling", "enter a namespace")


@pytest.mark.parametrize(("program", "user", "deed"), [(program, user, deed) for program in WITH_COMMANDS for user in USERS for deed in OUTSIDE["vsock"]
                                                       if deed not in NOT_WITH_COMMANDS])  # fmt: skip
def test_outside_with_commands_it_is_done(outcome, program, user, deed):
    outcome.check_done()


# By the name of the test.
KINDS = {
    "test_outside_a_cell_it_is_refused_too": ["--cell=default", "--outside"],
    "test_outside_with_commands_it_is_done": ["--cell=none", "--outside"],
    "test_a_cell_refuses": ["--cell=default"],
    "test_beneath_the_policy_it_is_refused": ["--cell=default", "--beneath"],
    "test_without_a_cell_it_is_done": ["--cell=none"],
}

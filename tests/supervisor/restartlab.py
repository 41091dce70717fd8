# SPDX-License-Identifier: BSD-3-Clause
"""What VMMs in test_restart.py have in common. Each is a script of Python under outboard run: it speaks a wire to
examples/counter, or another device, and kills that device's process meanwhile."""
import contextlib
import os
import pathlib
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time

TESTS = pathlib.Path(__file__).resolve().parent.parent
# What finds our modules and those that they need: here, and for a script that outboard run starts as its VMM.
LAB_FOLDERS = [*(str(TESTS / folder) for folder in ("wire", "supervisor", "nvme")), str(TESTS.parent / "tools")]
LAB_PATH = ":".join(LAB_FOLDERS)
sys.path[:0] = [folder for folder in LAB_FOLDERS if folder not in sys.path]

import migration  # noqa: E402
import mpqemu  # noqa: E402
import vfio_user  # noqa: E402
from controllab import Control, Refused  # noqa: E402
from guestlab import paths  # noqa: E402

BAR = 0xFE000000
PLACES = {"mpqemu": "%fd:device%", "vfio-user": "%socket:device%"}


def children(pid):
    return [int(child) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()]  # fmt: skip


def program_of(pid):
    """The path of the program that a process runs; "" of one that has ended."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except PermissionError:  # an ordinary user may not look at a process in a cell
        pass
    except (FileNotFoundError, ProcessLookupError):
        return ""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0]
    return ""


def device(name="counter"):
    """The process of the device, which our parent has started; waits for it."""
    while True:
        for pid in children(os.getppid()):
            if program_of(pid).endswith(f"/{name}"):
                return pid


def keeper(pid):
    return next(child for child in children(pid) if pathlib.Path(f"/proc/{child}/comm").read_text() == "keeper\n")


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Killer(threading.Thread):
    """Kills so many processes of the device, each at a random time after it was seen: two in a row maybe before they
    were ready, but then the device gets on, since one that does nothing again and again has failed."""

    def __init__(self, kills, name="counter"):
        super().__init__(daemon=True)
        self.kills, self.name = kills, name
        self.killed = set()  # the log folds its lines when there are many
        self.progress = threading.Event()  # set by the VMM
        self.done = 0
        self.start()

    def note_progress(self, done):
        """For a VMM that counts what is done."""
        if done != self.done:
            self.done = done
            self.progress.set()

    def wait_for_progress(self):
        self.progress.clear()
        self.progress.wait()

    def run(self):
        for number in range(self.kills):
            pid = device(self.name)
            end = os.pidfd_open(pid)
            if number % 3 == 0:
                self.wait_for_progress()
            select.select([end], [], [], random.uniform(0, 0.05))  # any moment of its life
            kill(pid)
            select.select([end], [], [])
            os.close(end)
            self.killed.add(pid)


class Asker(threading.Thread):
    """Calls deed(control) while the VMM gets on, and keeps what it returns."""

    def __init__(self, path, deed):
        super().__init__(daemon=True)
        self.path, self.deed, self.answer = path, deed, None
        self.progress = threading.Event()  # set by the VMM
        self.start()

    def run(self):
        with Control(self.path, None) as control:
            self.answer = self.deed(self, control)


def count_during(wire, place, control, deed):
    """Counts until the deed is done, and prints its answer."""
    registers = connect(wire, place)
    asker = Asker(control, deed)
    count(registers, asker)
    print(asker.answer)


def the_device(control):
    return control.ask("list", device="device")[0]


def upgrade_often(times, *programs):
    """A deed: upgrades so many times, to these programs in turn, with progress between. A busy machine may be late with
    one of them, not with each."""

    def deed(asker, control):
        drained = 0
        for number in range(times):
            before = the_device(control)["pid"]
            which = {"program": programs[number % len(programs)]} if programs else {}
            drained += control.ask("upgrade", device="device", **which)["drained"]
            assert the_device(control)["pid"] != before
            asker.progress.clear()
            asker.progress.wait()
        assert drained > 0
        return "upgraded"

    return deed


class Mpqemu:
    """The registers of BAR 0 over mpqemu, and memory that comes and goes."""

    def __init__(self, fd):
        self.proxy = mpqemu.Proxy(socket.socket(fileno=int(fd)))
        self.memory = mpqemu.memory_file(1 << 20)
        self.share()
        self.proxy.config_write(0x10, 4, BAR)
        self.proxy.config_write(4, 2, 6)

    def share(self):
        self.proxy.send(self.proxy.sysmem((0, 1 << 20, 0)), [self.memory])

    def read(self, offset):
        return self.proxy.bar_read(BAR + offset, 4)

    def write(self, offset, value):
        assert self.proxy.bar_write(BAR + offset, 4, value) == 0


class VfioUser:
    """The same over vfio-user."""

    def __init__(self, path):
        self.client = vfio_user.Client.connect(path)
        self.client.negotiate()
        self.memory = vfio_user.Memory(1 << 20)
        self.shared = False
        self.share()

    def share(self):
        if self.shared:
            self.client.unmap(0, 1 << 20)
        self.client.map(0, 1 << 20, [self.memory.fd])
        self.shared = True

    def read(self, offset):
        return int.from_bytes(self.client.read(0, offset, 4), "little")

    def write(self, offset, value):
        self.client.write(0, offset, value.to_bytes(4, "little"))


def connect(wire, place):
    return {"mpqemu": Mpqemu, "vfio-user": VfioUser}[wire](place)


def count(registers, killer):
    """Each write is done once, and each read is counted once."""
    total = rounds = 0
    while killer.is_alive():
        add = random.randrange(1, 100)
        registers.write(0, add)
        total += add
        assert registers.read(0) == total & 0xFFFFFFFF, f"round {rounds}: the sum"
        assert registers.read(4) == rounds, f"round {rounds}: the reads"
        if rounds % 50 == 0:
            registers.share()
        rounds += 1
        killer.progress.set()


class UntilThere:
    """For count(): alive until a path is there. Tells by a file beside it, which is made again, that the VMM gets on."""

    def __init__(self, path):
        self.path, self.counts, self.progress = pathlib.Path(path), pathlib.Path(f"{path}.counts"), self

    def is_alive(self):
        return not self.path.exists()

    def set(self):
        self.counts.touch()


def count_until(wire, place, path):
    count(connect(wire, place), UntilThere(path))
    pathlib.Path(f"{path}.done").write_text("counted")


def storm(wire, place, kills):
    registers = connect(wire, place)
    killer = Killer(int(kills))
    count(registers, killer)
    assert device() not in killer.killed
    print(f"counted through {len(killer.killed)}")


def upgrades(wire, place, control, times, *programs):
    registers = connect(wire, place)
    asker = Asker(control, upgrade_often(int(times), *programs))
    count(registers, asker)
    print(asker.answer)


def refusals(wire, place, control, program, words):
    """The old process continues for a program that can't, and is restarted as itself."""

    def deed(asker, control):
        before = the_device(control)
        try:
            control.ask("upgrade", device="device", program=program)
            return "upgraded"
        except Refused as refused:
            assert words in refused.args[1], refused
        assert the_device(control)["pid"] == before["pid"]
        control.want_events()
        kill(before["pid"])
        control.wait_for_event("DEVICE_READY")
        assert the_device(control)["program"] == before["program"]
        asker.progress.clear()
        asker.progress.wait()
        return "refused"

    count_during(wire, place, control, deed)


def spare_pid(control, *not_these):
    """The process that waits; it may still be on its way."""
    while (pid := the_device(control).get("spare-pid", 0)) in (0, *not_these):
        pass
    return pid


def spares(wire, place, control, times):
    """Each time that the process dies, the spare one is the next, and there is another spare one."""

    def deed(asker, control):
        control.want_events()
        for _ in range(int(times)):
            spare, old = spare_pid(control), the_device(control)["pid"]
            kill(old)
            control.wait_for_event("DEVICE_READY")
            assert the_device(control)["pid"] == spare
            asker.progress.clear()
            asker.progress.wait()
        idle = spare_pid(control, the_device(control)["pid"])
        kill(idle)
        spare_pid(control, idle)
        return "spared"

    count_during(wire, place, control, deed)


def hang(wire, place, control):
    """A process that stands still is killed, and the next continues."""

    def deed(asker, control):
        control.want_events()
        pid = the_device(control)["pid"]
        os.kill(pid, signal.SIGSTOP)
        for event in ("DEVICE_HUNG", "DEVICE_RESTARTS", "DEVICE_ALIVE", "DEVICE_READY"):
            control.wait_for_event(event)
        asker.progress.clear()
        asker.progress.wait()
        return "continued"

    count_during(wire, place, control, deed)


def until_it_fails(wire, place, kills):
    """The device's end is ours to see after so many kills."""
    registers = connect(wire, place)
    for _ in range(int(kills)):
        pid = device()
        kill(pid)
        try:
            registers.read(0)
        except (mpqemu.Gone, ConnectionError):
            print("gone")
            return
    print("still there")


def kill_the_keeper(wire, place):
    registers = connect(wire, place)
    pid = device()
    kill(keeper(pid))
    registers.write(0, 1)
    until_it_fails_now(registers, pid)


def tell_of_the_keeper(wire, place):
    """What the kernel tells of its cell."""
    registers = connect(wire, place)
    registers.write(0, 1)
    subprocess.run([paths.BUILD / "root/bin/outboard", "cells", str(keeper(device()))], check=True)


def change_the_vault(wire, place, at):
    """As a process that was taken over might: the supervisor's own descriptor has the same file."""
    registers = connect(wire, place)
    registers.write(0, 5)
    folder = pathlib.Path(f"/proc/{os.getppid()}/fd")
    vault = next(path for path in folder.iterdir() if "memfd:outboard-vault" in os.readlink(path))
    pid = device()
    os.kill(pid, signal.SIGSTOP)
    with open(vault, "r+b", buffering=0) as file:
        byte = os.pread(file.fileno(), 1, int(at))
        os.pwrite(file.fileno(), bytes([byte[0] ^ 0x40]), int(at))
    until_it_fails_now(registers, pid)


def kill_both(wire, place):
    """The keeper first, so that nobody can begin to take over in between."""
    registers = connect(wire, place)
    registers.write(0, 5)
    pid = device()
    os.kill(pid, signal.SIGSTOP)
    kill(keeper(pid))
    until_it_fails_now(registers, pid)


def until_it_fails_now(registers, pid):
    kill(pid)
    try:
        while True:
            registers.read(0)
    except (mpqemu.Gone, EOFError, ConnectionError):
        print("gone")


def poison(wire, place):
    """One message kills each process. It gets an error, and the device is there for the next."""
    registers = connect(wire, place)
    registers.write(0, 5)
    try:
        assert registers.read(8) == 0xFFFFFFFF or wire == "mpqemu", "what no device answers"
    except vfio_user.ServerError as error:
        assert error.errno == 5, error
    registers.write(0, 6)
    assert registers.read(0) == 11
    print("poisoned")


def wait_long(wire, place):
    """A process dies with a message at hand, and the next one takes its time. A late answer never comes: the connection
    ends instead, and the next VMM has the device."""
    registers = connect(wire, place)
    registers.write(0, 5)
    kill(device("heir"))
    try:
        print("answered", registers.read(0))
    except (EOFError, ConnectionError):
        print("ended")
        registers = connect(wire, place)
    print("then", registers.read(8) == 0x68656972)


def kill_once(wire, place):
    registers = connect(wire, place)
    registers.write(0, 5)
    until_it_fails_now(registers, device("crasher"))


def load_through_deaths(wire, place):
    """A process dies behind each piece of a state that a client writes, and the next one has what was written. A state that
    is not whole is refused as ever."""
    client = connect(wire, place).client
    client.write(1, 0, b"the state's")
    data = migration.save(client)
    migration.go(client, migration.RUNNING)
    client.write(1, 0, b"overwritten")
    migration.go(client, migration.RESUMING)
    for at in range(0, len(data), 3000):
        migration.write(client, data[at : at + 3000])
        kill(device("alarm"))
    migration.go(client, migration.RUNNING)
    kill(device("alarm"))
    assert client.read(1, 0, 11) == b"the state's"
    migration.go(client, migration.RESUMING)
    migration.write(client, data[:3000])
    kill(device("alarm"))
    try:
        migration.go(client, migration.RUNNING)
    except vfio_user.ServerError:
        print("loaded")


def lose_a_keeper(wire, place, control, maps):
    """The process dies, and its keeper on its own account while it hands over; then, if the device is still there, the
    next process. maps: so many ranges of memory have a descriptor each."""
    registers = connect(wire, place)
    for number in range(1, int(maps)):
        registers.client.map(number << 20, 1 << 20, [registers.memory.fd])
    registers.write(0, 5)
    try:
        for _ in range(2):
            kill(device())
            registers.write(0, 5)
        print("kept", registers.read(0))
    except (mpqemu.Gone, EOFError, ConnectionError):
        with Control(control, None) as asked:
            while the_device(asked)["state"] != "failed":
                pass
        print("gone")


def be_refused_once(wire, place):
    """The first successor refuses to continue; the next one has everything."""
    registers = connect(wire, place)
    registers.write(0, 5)
    kill(device("heir"))
    registers.write(0, 6)
    print("kept", registers.read(0))


def begin_afresh(wire, place, at):
    """A vault that no process takes ends the connection. The next VMM has the device, as new."""
    change_the_vault(wire, place, at)
    registers = connect(wire, place)
    registers.write(0, 6)
    assert registers.read(0) == 6
    kill(device())
    assert registers.read(0) == 6
    print("afresh")


def ring(place):
    """An alarm that was set before its process died rings after it, by the eventfd of before."""
    client = vfio_user.Client.connect(place)
    client.negotiate()
    memory, event = vfio_user.Memory(1 << 20), vfio_user.Event()
    client.map(0, 1 << 20, [memory.fd])
    client.set_irqs(vfio_user.INTX, vfio_user.EVENTFD | vfio_user.TRIGGER, 0, 1, fds=[event.fd])
    client.write(1, 0, b"kept in a BAR")
    client.write(0, 0, (int(time.time()) + 2).to_bytes(8, "little"))
    first = device("alarm")
    kill(first)
    assert client.read(1, 0, 13) == b"kept in a BAR"
    kill(device("alarm"))
    event.wait()
    client.read(0, 0, 8)  # the DMA follows the interrupt
    assert memory.read(2048, 4) == b"AAAA", "its DMA reaches the memory of before"
    print("rung")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

# SPDX-License-Identifier: BSD-3-Clause
"""Programs that ask a remote, against one that puts each animal of the zoo on a reply."""
import contextlib
import os
import pathlib
import select
import socket
import struct
import subprocess
import sys
import threading

import mpqemu
import pytest
import vfio_user
import vfio_user_server
import zoo
from guestlab import paths
from vfio_user import PATIENCE_S

ROOT = paths.BUILD / "root"
MMAP = 4

INSPECT = "inspect"
POKE = "poke"
BACKDOOR = "backdoor"
VMM = "vmm"

REPLIES = {
    "VERSION": vfio_user.VERSION,
    "GET_INFO": vfio_user.GET_INFO,
    "GET_REGION_INFO": vfio_user.GET_REGION_INFO,
    "GET_IRQ_INFO": vfio_user.GET_IRQ_INFO,
    "REGION_READ": vfio_user.REGION_READ,
    "REGION_WRITE": vfio_user.REGION_WRITE,
    "GET_REGION_IO_FDS": vfio_user.GET_REGION_IO_FDS,
}
ASKS = {
    INSPECT: ["VERSION", "GET_INFO", "GET_REGION_INFO", "GET_IRQ_INFO", "REGION_READ"],
    POKE: ["VERSION", "REGION_READ", "REGION_WRITE"],
    BACKDOOR: ["VERSION", "GET_REGION_INFO", "REGION_READ"],
    VMM: ["REGION_WRITE", "GET_REGION_IO_FDS"],
}


class Program:
    """A program with its end of a connection; what it says goes to a file."""

    def __init__(self, folder, name, wire="vfio-user"):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.text, self.name = b"", name
        argv, environment = self.command(folder, name, theirs.fileno(), wire)
        self.output, output = os.pipe()
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=[theirs.fileno()], env=environment
        )
        os.close(output)
        theirs.close()
        self.sock = ours
        if name == BACKDOOR:
            ours.close()
            self.sock = self.listener.accept()[0]
            self.listener.close()

    def command(self, folder, name, fd, wire):
        environment = dict(os.environ)
        if name == INSPECT:
            return [ROOT / "bin/outboard", "inspect", f"--wire={wire}", f"--fd={fd}"], environment
        if name == POKE:
            access = ["write", "cfg", "0x40", "4", "1", ",", "read", "cfg", "0"]
            return [ROOT / "bin/outboard", "poke", f"--wire={wire}", f"--fd={fd}", *access], environment
        if name == VMM:
            environment["PYTHONPATH"] = os.pathsep.join(sys.path)
            script = pathlib.Path(__file__).with_name("vmm.py")
            return [sys.executable, script, str(fd), wire], environment
        path = folder / "backdoor.sock"
        path.unlink(missing_ok=True)
        self.listener = socket.create_server(str(path), family=socket.AF_UNIX)
        self.listener.settimeout(PATIENCE_S)
        return [ROOT / "bin/backdoor", "info"], environment | {"OUTBOARD_BACKDOOR": str(path)}

    def said(self, until):
        """What it says until then, or until it and who has its output have ended."""
        while not until(self.text):
            assert select.select([self.output], [], [], PATIENCE_S)[0], f"it hangs, and has said {self.text!r}"
            some = os.read(self.output, 65536)
            if not some:
                break
            self.text += some
        return self.text

    def end(self, animals, heard):
        """It ends, having said something, and heard() is called then. A file that can't be closed holds up its end, but not
        what it says."""
        last = b"freed\n" if self.name == VMM else b"\n"
        assert self.said(lambda text: animals and text.endswith(last)).endswith(last)
        heard()
        for animal in animals:
            animal.close()
        self.process.wait(PATIENCE_S)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.sock.close()
        os.close(self.output)


class Waiting:
    """How long a program has kept us waiting at most, once it had an animal."""

    def __init__(self):
        self.watch, self.longest_s = None, 0

    def begins(self, watch):
        self.watch = watch

    def ends(self):
        """It has gone on, with the next request or with what it says. Or none has begun."""
        watch, self.watch = self.watch, None
        if watch:
            self.longest_s = max(self.longest_s, watch.waited_s())


class Remote(vfio_user_server.Server):
    """Puts an animal on each reply to a command."""

    def __init__(self, program, command, offer_to):
        super().__init__(program.sock)
        self.process, self.command, self.offer_to = program.process, command, offer_to
        self.offered, self.waiting = 0, Waiting()

    def carry_out(self, message):
        self.waiting.ends()
        super().carry_out(message)

    def reply(self, message, payload=b"", fds=(), **fields):
        if message.command != self.command:
            super().reply(message, payload, fds, **fields)
            return
        if message.command == vfio_user.GET_REGION_INFO:  # one that can be mapped
            argsz, flags, *rest = vfio_user.REGION_INFO.unpack(payload)
            payload = vfio_user.REGION_INFO.pack(argsz, flags | MMAP if flags else 0, *rest)
        if message.command == vfio_user.GET_REGION_IO_FDS:
            eventfd = struct.pack("<QQIIIIQ", 0, 8, 0, 0, 0, 0, 0)
            payload = vfio_user.FOUR.pack(16 + len(eventfd), 0, 0, 1) + eventfd
        with self.offer_to(self.process) as fd:
            super().reply(message, payload, [fd], **fields)
        self.offered += 1
        self.waiting.begins(self.offer_to.watch)


@pytest.fixture
def offer_to(animals, stopped):
    """offer_to(process): a context with a descriptor that the process alone has afterwards; offer_to.watch runs since."""

    @contextlib.contextmanager
    def offer(process):
        animal = animals()
        with stopped(process):
            yield animal.fd
            animal.let_go()
            offer.watch = zoo.Stopwatch(process.pid)

    return offer


def cases():
    return [(name, reply) for name, replies in ASKS.items() for reply in replies]


@pytest.mark.parametrize(("name", "reply"), cases(), ids=lambda value: value)
def test_a_reply_with_a_descriptor(tmp_path, name, reply, animals, offer_to, kind):
    def attempt():
        with Program(tmp_path, name) as program:
            remote = Remote(program, REPLIES[reply], offer_to)
            if name == VMM:
                remote.lies[vfio_user.SET_IRQS] = lambda server, message: take_and_signal(server, message)
            end_against(program, remote, animals, kind, remote.waiting)
        assert remote.offered, "the reply was never asked for"
        return remote.waiting.longest_s

    zoo.at_once(attempt)


def end_against(program, remote, animals, kind, waiting):
    """The program ends by itself while the thread `remote` answers it."""
    remote.start()
    try:
        program.end(animals.made if kind is zoo.fuse else [], waiting.ends)
    finally:
        program.process.kill()
        for animal in animals.made:
            animal.close()
        remote.join()


def take_and_signal(server, message):
    """A hostile device: fills both eventfds of INTx, which it has made to block."""
    for fd in message.fds:
        os.set_blocking(fd, True)
        os.eventfd_write(fd, 2**64 - 2)
    return b""


@pytest.mark.parametrize("name", [INSPECT, POKE])
def test_an_mpqemu_reply_with_a_descriptor(tmp_path, name, animals, offer_to, kind):
    def answer(program, waiting):
        unanswered = ("SYNC_SYSMEM", "SET_IRQFD")
        with contextlib.suppress(OSError, EOFError), mpqemu.Proxy(program.sock) as proxy:
            offered = False
            while True:
                asked = proxy.receive()
                waiting.ends()
                if asked.cmd in (proxy.dialect.numbers[word] for word in unanswered):
                    continue
                reply = proxy.message("RET", struct.pack("<Q", 0x10F01AF4))
                if offered:
                    proxy.send(reply)
                    continue
                with offer_to(program.process) as fd:
                    proxy.send(reply, [fd])
                waiting.begins(offer_to.watch)
                offered = True

    def attempt():
        waiting = Waiting()
        with Program(tmp_path, name, wire="mpqemu") as program:
            thread = threading.Thread(target=ignoring_the_end(lambda: answer(program, waiting)))
            end_against(program, thread, animals, kind, waiting)
        return waiting.longest_s

    zoo.at_once(attempt)


def ignoring_the_end(act):
    def run():
        with contextlib.suppress(mpqemu.Gone):
            act()

    return run

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

    def end(self, animals):
        """It ends, having said something. A file that can't be closed holds up its end, but not what it says."""
        last = b"freed\n" if self.name == VMM else b"\n"
        assert self.said(lambda text: animals and text.endswith(last)).endswith(last)
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


class Remote(vfio_user_server.Server):
    """Puts what offer() gives on the first replies to a command."""

    def __init__(self, sock, command, offer):
        super().__init__(sock)
        self.command, self.offer = command, offer

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
        with self.offer() as fd:
            super().reply(message, payload, [fd], **fields)


@pytest.fixture
def offer_to(animals, stopped):
    """offer_to(process): a context with a descriptor that the process alone has afterwards."""

    @contextlib.contextmanager
    def offer(process):
        animal = animals()
        with stopped(process):
            yield animal.fd
            animal.let_go()

    return offer


def cases():
    return [(name, reply) for name, replies in ASKS.items() for reply in replies]


@pytest.mark.parametrize(("name", "reply"), cases(), ids=lambda value: value)
def test_a_reply_with_a_descriptor(tmp_path, name, reply, animals, offer_to, kind):
    with Program(tmp_path, name) as program:
        made = []

        @contextlib.contextmanager
        def offer():
            with offer_to(program.process) as fd:
                made.append(fd)
                yield fd

        remote = Remote(program.sock, REPLIES[reply], offer)
        if name == VMM:
            remote.lies[vfio_user.SET_IRQS] = lambda server, message: take_and_signal(server, message)
        end_against(program, remote, animals, kind)
    assert made, "the reply was never asked for"


def end_against(program, remote, animals, kind):
    """The program ends by itself while the thread `remote` answers it."""
    remote.start()
    try:
        program.end(animals.made if kind is zoo.fuse else [])
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
    with Program(tmp_path, name, wire="mpqemu") as program:

        def answer():
            with contextlib.suppress(OSError, EOFError), mpqemu.Proxy(program.sock) as proxy:
                for turn in range(1000):
                    asked = proxy.receive()
                    if asked.cmd in (proxy.dialect.numbers["SYNC_SYSMEM"], proxy.dialect.numbers["SET_IRQFD"]):
                        continue
                    reply = proxy.message("RET", struct.pack("<Q", 0x10F01AF4))
                    if turn == 0:
                        with offer_to(program.process) as fd:
                            proxy.send(reply, [fd])
                    else:
                        proxy.send(reply)

        end_against(program, threading.Thread(target=ignoring_the_end(answer)), animals, kind)


def ignoring_the_end(act):
    def run():
        with contextlib.suppress(mpqemu.Gone):
            act()

    return run

# SPDX-License-Identifier: BSD-3-Clause
"""Ends of a channel, each a real process, and applications that talk through them."""
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile

from guestlab import paths

PROGRAM = paths.BUILD / "root/bin/outboard"
STATIC = paths.BUILD / "root/bin/outboard-proxy"
PATIENCE_S = 30  # for what takes milliseconds, on a machine with other things to do


class End:
    """One `outboard proxy`, running. name: also that of its control socket and its log."""

    def __init__(self, process, control):
        self.process = process
        self.control = control

    def ask(self, line):
        """One question of the control protocol, and the first line of its answer."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE_S)
            sock.connect(str(self.control))
            sock.sendall(line.encode() + b"\n")
            return sock.makefile("r").readline().rstrip("\n")

    def wait_up(self):
        """Waits for a session; its tag."""
        word, tag = self.ask("WAIT").split()
        assert word == "UP"
        return tag

    def wait_down(self, why):
        """Waits until the status gives this reason: a try to open the channel has come to its end."""
        while not self.ask("STATUS").startswith(f"down: {why}"):
            assert self.process.running

    def status(self):
        return json.loads(self.ask("STATUS json"))

    def rss_kib(self):
        """Memory that the process has, KiB."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1])

    def log(self):
        return self.process.log.read_text()

    def outboard(self, *words, **options):
        """Runs `outboard proxy WORDS` with this end's control socket; a CompletedProcess."""
        argv = [PROGRAM, "proxy", words[0], f"--control={self.control}", *words[1:]]
        return subprocess.run(argv, capture_output=True, timeout=PATIENCE_S, check=False, **options)


def allow_absence(_function, _path, error):
    """For rmtree: when a proxy was killed, its connector removes the sockets meanwhile."""
    if error[0] is not FileNotFoundError:
        raise error[1]


class Lab:
    """Starts ends, and gives paths and addresses for their forwards."""

    def __init__(self, spawn, cleanup):
        self._spawn = spawn
        self._cleanup = cleanup
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ob-"))  # a short path, for sockets
        cleanup.callback(shutil.rmtree, self.folder, onerror=allow_absence)
        self.channel = self.folder / "channel"
        self.count = 0

    def start(self, name, *options, inherit=(), before=(), program=(PROGRAM, "proxy")):
        """An End that stands ready: it listens at all of its addresses. before: words that start it."""
        self.count += 1
        control = self.folder / f"{name}.control"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.settimeout(PATIENCE_S)
            notify.bind(str(self.folder / f"notify-{self.count}"))
            process = self._spawn(
                [*before, *program, "--verbose", f"--control={control}", *options],
                name=f"{name}-{self.count}",
                env={"NOTIFY_SOCKET": notify.getsockname()},
                inherit=inherit,
            )
            assert b"READY=1" in notify.recv(100), process.log_tail()
        return End(process, control)

    def pair(self, host=(), guest=(), framing=""):
        """Both ends of a Unix socket, with a session between them: (host, guest)."""
        ends = (
            self.start("host", f"--channel=unix-listen:{self.channel}{framing}", *host),
            self.start("guest", f"--channel=unix:{self.channel}{framing}", *guest),
        )
        assert ends[0].wait_up() == ends[1].wait_up()
        return ends

    def listen(self, family=socket.AF_INET):
        """A listening socket of a test, which stands for an application's."""
        where = ("127.0.0.1", 0) if family == socket.AF_INET else str(self.folder / f"app-{os.urandom(4).hex()}")
        sock = self._cleanup.enter_context(socket.create_server(where, family=family, backlog=256))
        sock.settimeout(PATIENCE_S)
        return sock

    def accept(self, listener):
        sock = self._cleanup.enter_context(listener.accept()[0])
        sock.settimeout(PATIENCE_S)
        return sock

    def connect(self, where):
        """To a port of this machine, or to a path."""
        if isinstance(where, int):
            sock = socket.create_connection(("127.0.0.1", where), timeout=PATIENCE_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(PATIENCE_S)
            sock.connect(str(where))
        return self._cleanup.enter_context(sock)

    def joined(self, where, listener):
        """Two applications that are connected through the proxies: (here, there)."""
        here = self.connect(where)
        return here, self.accept(listener)


def free_port():
    """A TCP port of this machine that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]

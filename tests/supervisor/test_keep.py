# SPDX-License-Identifier: BSD-3-Clause
"""outboard keep: a device under a service manager that stores descriptors. A scripted one here."""
import array
import os
import socket
import subprocess
import threading

import pytest
from guestlab import paths
from machinelab import OUTBOARD
from restartlab import VfioUser, count

COUNTER = paths.BUILD / "release/examples/counter"


class Manager:
    """systemd as far as sd_notify(3), sd_listen_fds(3) and Restart=always go, with a socket unit."""

    def __init__(self, folder, *argv):
        self.folder, self.argv = folder, [OUTBOARD, "keep", *argv]
        self.socket_path = folder / "device"
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(self.socket_path))
        self.listening.listen()
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(folder / "notify"))
        self.log = open(folder / "log", "a")
        self.store = {}
        self.lock = threading.Lock()
        self.ready = threading.Event()
        self.environment = os.environ | {"NOTIFY_SOCKET": str(folder / "notify"), "RUNTIME_DIRECTORY": str(folder)}
        self.server = threading.Thread(target=self.serve, daemon=True)
        self.server.start()
        self.start()

    def serve(self):
        while True:
            data, control, _, _ = self.notify.recvmsg(4096, socket.CMSG_SPACE(64))
            fds = array.array("i")
            for _, _, content in control:
                fds.frombytes(content)
            if data == b"END":
                return
            words = dict(line.split("=", 1) for line in data.decode().splitlines() if "=" in line)
            with self.lock:
                self.handle(words, list(fds))

    def handle(self, words, fds):
        name = words.get("FDNAME")
        if "FDSTORE" in words:
            assert words["FDPOLL"] == "0" and len(fds) == 1 and name not in self.store
            self.store[name] = fds.pop()
        if "FDSTOREREMOVE" in words and name in self.store:
            os.close(self.store.pop(name))
        for fd in fds:
            os.close(fd)
        if "READY" in words:
            self.ready.set()

    def start(self):
        self.ready.clear()
        with self.lock:
            names = ["device.socket", *reversed(self.store)]
            fds = [self.listening.fileno(), *(self.store[name] for name in names[1:])]
            high = [os.dup(fd) for fd in fds]
        moves = " ".join(f"{3 + i}<&{fd}" for i, fd in enumerate(high))
        self.process = subprocess.Popen(
            ["python3", "-c", LAUNCH, ":".join(names), *map(str, high), "--", *map(str, self.argv)], env=self.environment,
            pass_fds=high, stderr=self.log,
        )  # fmt: skip
        for fd in high:
            os.close(fd)

    def restart(self):
        """After the death of the process."""
        self.process.wait()
        subprocess.run([OUTBOARD, "keep", "--settle"], env=self.environment, check=True)
        self.start()

    def close(self):
        self.process.kill()
        self.process.wait()
        subprocess.run([OUTBOARD, "keep", "--settle"], env=self.environment, check=True)
        self.notify.connect(str(self.folder / "notify"))
        self.notify.send(b"END")
        self.server.join()
        for fd in self.store.values():
            os.close(fd)
        self.log.close()
        self.notify.close()
        self.listening.close()


# Puts the descriptors where sd_listen_fds(3) has them.
LAUNCH = """
import fcntl, os, sys
names, *words = sys.argv[1:]
end = words.index("--")
fds = [fcntl.fcntl(int(word), fcntl.F_DUPFD, 200) for word in words[:end]]
for at, fd in enumerate(fds):
    os.dup2(fd, 3 + at)
    os.close(fd)
os.closerange(3 + len(fds), 200)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=names)
os.execv(words[end + 1], words[end + 1:])
"""


class Killer(threading.Thread):
    def __init__(self, manager, kills):
        super().__init__(daemon=True)
        self.manager, self.kills = manager, kills
        self.progress = threading.Event()
        self.start()

    def run(self):
        for _ in range(self.kills):
            self.progress.clear()
            self.progress.wait()
            self.manager.process.kill()
            self.manager.restart()


@pytest.fixture
def registers(manager):
    made = VfioUser(str(manager.socket_path))
    yield made
    made.client.close()
    made.memory.close()


@pytest.fixture
def manager(tmp_path):
    made = Manager(tmp_path, COUNTER)
    yield made
    made.close()


def test_a_device_is_killed_while_its_vmm_uses_it(manager, registers):
    """No reply is lost or doubled."""
    killer = Killer(manager, 10)
    count(registers, killer)
    killer.join()
    log = (manager.folder / "log").read_text()
    assert log.count("continues for the process before") == 10, log


def test_without_what_was_stored_the_vmm_sees_an_end(manager, registers):
    registers.write(0, 1)
    manager.process.kill()
    manager.process.wait()
    subprocess.run([OUTBOARD, "keep", "--settle"], env=manager.environment, check=True)
    with manager.lock:
        for fd in manager.store.values():
            os.close(fd)
        manager.store.clear()
    manager.start()
    assert registers.client.at_end()

# SPDX-License-Identifier: BSD-3-Clause
"""VMMs of test_upgrade.py: another process continues for a device that has requests in flight."""
import os
import pathlib
import sys
import threading

import driver
from barrierlab import Guest, contents
from controllab import Control, Refused
from disklab import READ as READ_COMMAND
from disklab import WRITE
from late_fs import ARM, BLOCK, HELD, RELEASE
from restartlab import device


class Upgrade(threading.Thread):
    """Asks for one, and keeps the answer; `control` is for questions meanwhile."""

    def __init__(self, path, **arguments):
        super().__init__(daemon=True)
        self.control = Control(path, None)
        self.path, self.arguments, self.answer = path, arguments, None
        self.start()

    def run(self):
        with Control(self.path, None) as control:
            try:
                self.answer = control.ask("upgrade", device="device", **self.arguments)
            except Refused as refused:
                self.answer = refused.args[1]

    def wait_for_stage(self, *stages):
        while self.is_alive() and self.control.ask("list")[0].get("upgrade") not in stages:
            pass

    def end(self):
        self.join()
        self.control.__exit__()
        return self.answer


class HeldGuest(Guest):
    """The file system beneath (late_fs.py) holds a write until release()."""

    def __init__(self, fd, folder, image):
        super().__init__(fd)
        self.folder, self.file, self.rounds = pathlib.Path(folder), os.open(image, os.O_WRONLY), 0

    def begin(self, version):
        self.write(ARM, version)
        self.machine.write(self.buffer, contents(version))
        command = self.start(WRITE, HELD, self.buffer)
        while not (self.folder / f"held-{self.rounds}").exists():
            pass
        self.rounds += 1
        return command

    def release(self):
        os.pwrite(self.file, bytes(BLOCK), RELEASE * BLOCK)

    def end(self, command, version):
        assert self.queue.wait(command).status == driver.SUCCESS
        self.run(READ_COMMAND, HELD, self.other)
        assert self.machine.read(self.other, BLOCK) == contents(version)


def held(fd, folder, image, control, *programs):
    """The write ends while the old process drains; twice."""
    guest = HeldGuest(fd, folder, image)
    answers = []
    for version in range(1, 3):
        command = guest.begin(version)
        upgrade = Upgrade(control, **({"program": programs[0]} if programs else {}))
        upgrade.wait_for_stage("draining")
        guest.release()
        answers.append(upgrade.end())
        guest.end(command, version)
    print(*answers, sep="\n")


def late(fd, folder, image, control):
    """The write ends when the new process serves."""
    guest = HeldGuest(fd, folder, image)
    command = guest.begin(1)
    before = device("outboard-nvme")
    answer = Upgrade(control).end()
    while device("outboard-nvme") == before:  # it was killed a moment ago
        pass
    guest.release()
    guest.end(command, 1)
    print(answer)


def call(wire, place, control, times):
    """Calls without a pause of code that is slow; each upgrade begins within one."""
    from keptlab import door  # needs tests/virtio

    read, write = door(wire, place)
    answers, calls = [], 0
    for _ in range(int(times)):
        upgrade = Upgrade(control)
        while upgrade.is_alive():
            write(0, 0, 8, 1)
            calls += 1
        answers.append(upgrade.end())
    assert read(1, 0, 8) == calls, "each call is done once"
    assert read(1, 8, 8) == 0, "no call was cut short"
    print(calls, *answers, sep="\n")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

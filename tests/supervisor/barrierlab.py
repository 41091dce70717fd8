# SPDX-License-Identifier: BSD-3-Clause
"""A VMM of test_barrier.py: its disk dies while a request is held by the file system beneath (late_fs.py), once a round."""
import os
import pathlib
import select
import struct
import sys

import driver
from disklab import READ, WRITE, OverMpqemu
from late_fs import ARM, BLOCK, HELD, RELEASE
from restartlab import device, kill


def contents(version):
    return struct.pack("<Q", version) * (BLOCK // 8)


class Guest:
    def __init__(self, fd):
        self.machine = OverMpqemu(fd)
        self.queue = driver.Controller(self.machine).create_queue()
        self.buffer, self.other = self.machine.pages(1), self.machine.pages(1)

    def start(self, opcode, block, buffer):
        return self.queue.submit(opcode, 1, buffer, 0, d10=block * 8, d12=BLOCK // 512 - 1)

    def run(self, opcode, block, buffer):
        assert self.queue.wait(self.start(opcode, block, buffer)).status == driver.SUCCESS

    def write(self, block, version):
        self.machine.write(self.other, contents(version))
        self.run(WRITE, block, self.other)

    def die_within(self, opcode, held):
        """The device's process is killed when the file system has the request, which then ends all the same."""
        command = self.start(opcode, HELD, self.buffer)
        while not held.exists():
            pass
        pid = device("outboard-nvme")
        end = os.pidfd_open(pid)
        kill(pid)
        select.select([end], [], [])
        os.close(end)
        assert self.queue.wait(command).status == driver.SUCCESS

    def write_round(self, version, held):
        """A write of the dead process does not land behind the next one."""
        self.machine.write(self.buffer, contents(version))
        self.die_within(WRITE, held)
        self.write(HELD, version + 1)
        self.write(RELEASE, version)
        self.run(READ, HELD, self.other)
        assert self.machine.read(self.other, BLOCK) == contents(version + 1), "an old write came last"

    def read_round(self, version, held):
        """A read of the dead process does not reach memory that has another use by now."""
        self.die_within(READ, held)
        self.machine.write(self.buffer, b"\x5a" * BLOCK)
        self.write(RELEASE, version)
        assert self.machine.read(self.buffer, BLOCK) == b"\x5a" * BLOCK, "an old read came last"


def rounds(fd, folder, count, first="write"):
    guest = Guest(fd)
    kinds = [guest.write_round, guest.read_round]
    for number in range(int(count)):
        guest.write(HELD, 2 * number)
        guest.write(ARM, number)
        kinds[(number + (first == "read")) % 2](2 * number + 1, pathlib.Path(folder) / f"held-{number}")
    print(f"in order {count} times")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

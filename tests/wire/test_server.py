# SPDX-License-Identifier: BSD-3-Clause
"""Two devices in one process and one poll loop: examples/two_devices.c."""
import contextlib
import socket
import struct
import subprocess

import mpqemu
import pytest
import vfio_user
from guestlab import count_descriptors, paths

TWO_DEVICES = paths.BUILD / "release/examples/two_devices"
BAR = 0xFEBF0000
WHITE, RED, BLUE = 0xFFFFFF, 0xFF0000, 0x0000FF


class Lamps:
    def __init__(self, folder):
        self.paths = [folder / "one", folder / "two"]
        self.log = folder / "log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [TWO_DEVICES, *self.paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout.readline() == "ready\n"

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(vfio_user.PATIENCE_S) == 0, self.log.read_text()
        self.process.stdout.close()
        assert not any(path.exists() for path in self.paths)


class VfioUser:
    """A lamp, as a client of vfio-user sees it."""

    def __init__(self, path):
        self.client = vfio_user.Client.connect(path)
        self.client.negotiate()

    def read(self, offset):
        return struct.unpack("<I", self.client.read(0, offset, 4))[0]

    def write(self, offset, value):
        self.client.write(0, offset, struct.pack("<I", value))

    def close(self):
        self.client.close()


class Mpqemu:
    """And as QEMU's proxy does."""

    def __init__(self, path):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(str(path))
        self.proxy = mpqemu.Proxy(sock)
        self.proxy.send(self.proxy.sysmem())
        self.proxy.config_write(0x10, 4, BAR)
        self.proxy.config_write(0x04, 2, 0x0002)

    def read(self, offset):
        return self.proxy.bar_read(BAR + offset, 4)

    def write(self, offset, value):
        self.proxy.bar_write(BAR + offset, 4, value)

    def close(self):
        self.proxy.sock.close()


@pytest.fixture
def lamps(tmp_path):
    lamps = Lamps(tmp_path)
    yield lamps
    lamps.end()


@pytest.fixture(params=[(VfioUser, VfioUser), (Mpqemu, Mpqemu), (Mpqemu, VfioUser)], ids=["vfio-user", "mpqemu", "one each"])
def vmms(request, lamps):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(contextlib.closing(kind(path))) for kind, path in zip(request.param, lamps.paths)]


def test_two_devices_are_served_at_the_same_time(vmms):
    one, two = vmms
    assert (one.read(0), two.read(0)) == (WHITE, WHITE)
    one.write(0, RED)
    two.write(0, BLUE)
    assert (one.read(0), two.read(0)) == (RED, BLUE)
    two.write(4, 0)  # the switch that they have in common
    assert (one.read(0), two.read(0)) == (0, 0)


@pytest.mark.parametrize("kind", [VfioUser, Mpqemu])
def test_one_goes_and_comes_again_while_the_other_is_served(lamps, kind):
    with contextlib.closing(kind(lamps.paths[1])) as other:
        other.write(0, BLUE)
        before = count_descriptors(lamps.process.pid)
        for colour in (RED, BLUE, RED):
            with contextlib.closing(kind(lamps.paths[0])) as vmm:
                vmm.write(0, colour)
                assert vmm.read(0) == colour
            assert other.read(0) == BLUE
        with contextlib.closing(kind(lamps.paths[0])) as vmm:
            assert vmm.read(0) == RED  # as it was left
        assert other.read(0) == BLUE  # answered when the loop has seen the one go: who comes before is told that it is busy
        with contextlib.closing(kind(lamps.paths[0])) as vmm:
            assert vmm.read(0) == RED
            assert count_descriptors(lamps.process.pid) <= before + 1
    assert "a VMM has gone: it hung up" in lamps.log.read_text()


def test_one_that_breaks_the_rules_does_not_end_the_other(lamps):
    with contextlib.closing(VfioUser(lamps.paths[1])) as other:
        bad = vfio_user.Client.connect(lamps.paths[0])
        bad.send_raw(b"\xff" * 64)
        assert bad.at_end()
        bad.close()
        assert other.read(0) == WHITE
        with contextlib.closing(Mpqemu(lamps.paths[0])) as vmm:
            assert vmm.read(0) == WHITE
    assert lamps.log.read_text().count("a VMM has gone") >= 1


def test_a_flood_to_one_does_not_stop_the_other(lamps):
    """A bounded number of messages is handled in a turn."""
    with contextlib.closing(Mpqemu(lamps.paths[0])) as flooding, contextlib.closing(VfioUser(lamps.paths[1])) as other:
        flooding.proxy.sock.setblocking(False)
        request = flooding.proxy.bar("BAR_READ", BAR, 4) * 1000
        with contextlib.suppress(BlockingIOError):
            while True:
                flooding.proxy.sock.send(request)
        for value in range(100):
            other.write(0, value)
            assert other.read(0) == value


def test_a_vmm_that_finds_the_lamp_taken_is_sent_away(lamps):
    with contextlib.closing(VfioUser(lamps.paths[0])) as vmm:
        assert vmm.read(0) == WHITE
        late = vfio_user.Client.connect(lamps.paths[0])
        assert late.at_end()
        late.close()
        assert vmm.read(0) == WHITE
    assert "a VMM is not served: the server has a VMM" in lamps.log.read_text()

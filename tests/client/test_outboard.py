# SPDX-License-Identifier: BSD-3-Clause
"""outboard inspect and outboard poke, by hand as a user has them."""
import json
import socket
import struct
import subprocess
import threading

import mpqemu
import pytest
from guestlab import paths

OUTBOARD = paths.BUILD / "root/bin/outboard"


def run(*arguments, sock=None):
    """The result of a run; the socket is given to it and closed here."""
    words = [str(word) for word in arguments]
    if sock:
        words.insert(1, f"--fd={sock.fileno()}")
    done = subprocess.run(
        [OUTBOARD, *words],
        capture_output=True,
        text=True,
        pass_fds=[sock.fileno()] if sock else [],
        timeout=mpqemu.PATIENCE_S,
        check=False,
    )
    if sock:
        sock.close()
    return done


def test_help_and_version_and_wrong_usage():
    done = run("--help")
    assert done.returncode == 0
    assert "inspect" in done.stdout and "poke" in done.stdout
    assert run("--version").stdout.startswith("outboard ")
    for command in ["inspect", "poke"]:
        assert run(command, "--help").returncode == 0
        assert run(command).returncode == 2
        assert run(command, "--nonsense", "socket").returncode == 2
        assert run(command, "--fd=x").returncode == 2
    assert run().returncode == 2
    assert run("explode").returncode == 2


WRONG = ["", "read", "read cfg", "read bar6 0", "read bar0 x", "read bar0 0 3", "read cfg 0 8", "read cfg 4096"]
WRONG += ["write bar0 0", "write bar0 0 1 256", "write bar0 0 4 1 1", "read bar0 0 , ", "peek bar0 0", "read barn 0"]


@pytest.mark.parametrize("access", WRONG)
def test_accesses_that_are_none_touch_nothing(access, backdoor):
    process, sock = backdoor()
    done = run("poke", *access.split(), sock=sock)
    assert done.returncode == 2
    assert "expected `read" in done.stderr
    assert process.wait() == 0
    assert "refused" not in process.log.read_text()


@pytest.mark.parametrize("wire", ["mpqemu", "mpqemu-v8"])
def test_inspect_prints_the_backdoor(backdoor, wire):
    process, sock = backdoor("--pages=2")
    lines = run("inspect", f"--wire={wire}", sock=sock).stdout.splitlines()
    assert lines[0] == "1af4:10f0 memory controller [0500] (rev 00) (prog-if 00)"
    assert lines[1] == "\tSubsystem: 1af4:1100"
    assert lines[2].startswith("\tControl: I/O- Mem- BusMaster- ")
    assert lines[4:] == [
        "\tRegion 0: Memory at 00000000 (32-bit, non-prefetchable) [size=4K]",
        "\tRegion 1: Memory at 00000000 (32-bit, non-prefetchable) [size=8K]",
    ]
    assert process.wait() == 0


def test_inspect_as_json(backdoor):
    _, sock = backdoor()
    found = json.loads(run("inspect", "--json", sock=sock).stdout)
    assert (found["vendor_id"], found["device_id"], found["class_code"]) == (0x1AF4, 0x10F0, 0x050000)
    assert [(bar["bar"], bar["kind"], bar["size"]) for bar in found["bars"]] == [(0, "mem32", 4096), (1, "mem32", 4096)]
    assert found["capabilities"] == []


def test_inspect_prints_what_qemu_serves(qemu):
    _, sock = qemu
    lines = run("inspect", sock=sock).stdout.splitlines()
    assert lines[0].startswith("1000:0012 mass storage controller [0100]")
    assert lines[4:] == [
        "\tInterrupt: pin A routed to IRQ 0",
        "\tRegion 0: I/O ports at 0000 [size=256]",
        "\tRegion 1: Memory at 00000000 (32-bit, non-prefetchable) [size=1K]",
        "\tRegion 2: Memory at 00000000 (32-bit, non-prefetchable) [size=8K]",
    ]


def test_poke_calls_code_of_the_host(backdoor):
    _, sock = backdoor()
    words = "write bar1 0 8 40 , write bar1 8 8 2 , write bar0 0 8 1 , read bar1 16 8 , read bar1 0x10 , read cfg 0 2"
    done = run("poke", *words.split(), sock=sock)
    assert done.stdout.splitlines() == ["0x000000000000002a", "0x0000002a", "0x1af4"]


def test_poke_reaches_ports_and_memory_of_qemus_device(qemu):
    _, sock = qemu
    words = "write bar1 0x1c 4 0x12345678 , read bar0 0x1d 1 , write bar0 0x1c 1 0xff , read bar1 0x1c 4"
    assert run("poke", *words.split(), sock=sock).stdout.splitlines() == ["0x56", "0x123456ff"]


def test_a_register_that_is_not_there(backdoor):
    _, sock = backdoor()
    done = run("poke", "read", "bar0", "4096", sock=sock)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "outboard: the device has no such register\n"


def test_nobody_there(tmp_path):
    done = run("inspect", tmp_path / "nobody")
    assert done.returncode == 1
    assert "No such file or directory" in done.stderr


class Bytes(threading.Thread):
    """A remote whose configuration space is these bytes, none of which can be written."""

    def __init__(self, sock, config):
        super().__init__()
        self.sock, self.config = sock, config

    def run(self):
        stream = self.sock.makefile("rwb")
        while len(header := stream.read(16)) == 16:
            number, _, size = mpqemu.HEADER.unpack(header)
            payload = stream.read(size)
            if number == mpqemu.SHIPPED.numbers["SYNC_SYSMEM"]:
                continue
            offset, _, length = mpqemu.CONFIG.unpack(payload)
            value = int.from_bytes(self.config[offset : offset + length], "little")
            stream.write(mpqemu.HEADER.pack(1, 0, 8) + struct.pack("<Q", value))
            stream.flush()
        stream.close()
        self.sock.close()


def inspect_bytes(config, *options):
    ours, theirs = socket.socketpair()
    remote = Bytes(theirs, config)
    remote.start()
    done = run("inspect", *options, sock=ours)
    remote.join()
    return done


def config_space(**registers):
    config = bytearray(256)
    config[0:4] = bytes.fromhex("f41af010")
    for name, value in registers.items():
        offset = int(name.removeprefix("at_"), 16)
        config[offset : offset + len(value)] = value
    return config


CAPABILITIES = {
    "at_06": b"\x10",
    "at_34": b"\x40",
    "at_40": bytes.fromhex("11 50 0f 80 00 20 00 00 00 30 00 00"),
    "at_50": bytes.fromhex("05 60 86 01"),
    "at_60": bytes.fromhex("10 70 02 00"),
    "at_70": bytes.fromhex("01 f0 03 00"),
}


def test_inspect_decodes_capabilities():
    done = inspect_bytes(config_space(**CAPABILITIES, at_f0=bytes.fromhex("fd 00")))
    assert [line for line in done.stdout.splitlines() if "Capabilities" in line] == [
        "\tCapabilities: [40] MSI-X: Enable+ Count=16 Masked-, vector table: BAR=0 offset=00002000, "
        "PBA: BAR=0 offset=00003000",
        "\tCapabilities: [50] MSI: Enable- Count=1/8 Maskable+ 64bit+",
        "\tCapabilities: [60] PCI Express: version 2, endpoint",
        "\tCapabilities: [70] power management: version 3, in D0",
        "\tCapabilities: [f0] unknown, id fd",
    ]
    found = json.loads(inspect_bytes(config_space(**CAPABILITIES), "--json").stdout)
    assert [(entry["offset"], entry["id"]) for entry in found["capabilities"]][:2] == [(0x40, 0x11), (0x50, 0x05)]
    assert found["status"] == ["Cap"]


@pytest.mark.parametrize("following", [0x40, 0x44, 0x10, 0xFC])
def test_inspect_follows_no_list_for_ever(following):
    config = config_space(at_06=b"\x10", at_34=b"\x40", at_40=bytes([9, following]), at_44=bytes([9, 0x40]))
    config[0xFC:] = bytes([0x11, 0xFF, 0xFF, 0xFF])
    done = inspect_bytes(config)
    assert done.returncode == 0
    assert 1 <= done.stdout.count("Capabilities:") <= 2


def test_inspect_says_what_qemu_would_stumble_over():
    done = inspect_bytes(config_space(at_28=b"\x10"))
    assert "offset 0x28 answers as a BAR does" in done.stdout


def test_inspect_over_vfio_user(backdoor):
    _, sock = backdoor(wire="vfio-user")
    lines = run("inspect", "--wire=vfio-user", sock=sock).stdout.splitlines()
    assert lines[0] == "1af4:10f0 memory controller [0500] (rev 00) (prog-if 00)"
    assert lines[4:] == [
        "\tRegion 0: Memory at 00000000 (32-bit, non-prefetchable) [size=4K]",
        "\tRegion 1: Memory at 00000000 (32-bit, non-prefetchable) [size=4K]",
        "\t\tMappable: 0-fff",
        "\tVectors: error 1, request 1",
        "\tMigration: its state can be saved and loaded",
    ]
    _, sock = backdoor(wire="vfio-user")
    found = json.loads(run("inspect", "--wire=vfio-user", "--json", sock=sock).stdout)
    assert found["bars"][1]["mappable"] == [{"offset": 0, "size": 4096, "sealed": True}]
    assert (found["migratable"], found["config_size"], found["vectors"]["MSI-X"]) == (True, 256, 0)


def test_poke_over_vfio_user(backdoor):
    _, sock = backdoor(wire="vfio-user")
    done = run("poke", "--wire=vfio-user", *"write bar1 8 4 7 , read bar1 8 , read cfg 0 2".split(), sock=sock)
    assert done.stdout.split() == ["0x00000007", "0x1af4"]

# SPDX-License-Identifier: BSD-3-Clause
"""Standard error and standard output: closed, full, without a reader, with a peer that wants to write the log."""
import os
import struct
import subprocess

import pytest
from guestlab import paths
from migration import RESUMING, STOP, go, write
from server import EXERCISE, Server
from stuck import assert_clean, drain, full_pipe, gone_reader, without
from vfio_user import DEVICE_RESET, PATIENCE_S, ServerError

LIBEXEC = paths.BUILD / "root/libexec/outboard"
OUTBOARD = paths.BUILD / "root/bin/outboard"
BACKDOOR = paths.BUILD / "root/bin/backdoor"
IMAGE = b"\x55" * (1 << 20)


@pytest.fixture(params=["outboard-backdoor", "outboard-nvme", "exercise"])
def program(request, tmp_path, library):
    """(program, arguments): each of ours, and an author's."""
    if request.param == "exercise":
        return EXERCISE, []
    if request.param == "outboard-backdoor":
        return LIBEXEC / request.param, [f"--library={library}"]
    image = tmp_path / "disk.img"
    image.write_bytes(IMAGE)
    return LIBEXEC / request.param, [f"--image={image},format=raw"]


def provoke(client, state=b"this is no state"):
    """Has the program log a line: a state that is refused."""
    go(client, RESUMING)
    write(client, state)
    with pytest.raises(ServerError):
        go(client, STOP)
    client.ask(DEVICE_RESET)


@pytest.mark.parametrize("closed", ["2", "012"])
def test_a_closed_descriptor_becomes_none_of_the_program(program, closed, tmp_path):
    argv, arguments = program
    server = Server(tmp_path, without(closed, tmp_path, argv), *arguments)
    for number in closed:
        assert os.readlink(f"/proc/{server.process.pid}/fd/{number}") == "/dev/null"
    provoke(server.client())
    server.end()
    for path in tmp_path.glob("*.img"):
        assert path.read_bytes() == IMAGE


def test_a_full_pipe_holds_nobody_up(program, tmp_path):
    argv, arguments = program
    with full_pipe() as (reading, writing):
        server = Server(tmp_path, argv, *arguments, stderr=writing)
        client = server.client()
        for _ in range(5):
            provoke(client)
        assert os.get_blocking(writing)  # whoever shares the pipe relies on it
        assert drain(reading) == ""
        provoke(client)
        told = drain(reading)
        assert " lines dropped\n" in told and "not a saved state" in told
        assert_clean(told, argv.name)
        server.end()


def test_a_reader_that_goes_ends_nobody(program, tmp_path):
    argv, arguments = program
    with gone_reader() as writing:
        server = Server(tmp_path, argv, *arguments, stderr=writing)
    client = server.client()
    for _ in range(3):
        provoke(client)
    server.end()


def test_a_peer_writes_no_line_and_fills_no_disk(program, tmp_path):
    argv, arguments = program
    server = Server(tmp_path, argv, *arguments)
    name = f"x'\n{argv.name}: forged\r\x1b]0;owned\x07\x1b[2J".encode() + b"\x9b\xff"
    state = struct.pack("<IIB", 0x5453424F, 1, len(name)) + name + struct.pack("<I", 1)
    client = server.client()
    for _ in range(300):
        provoke(client, state)
    assert 0 < len(server.messages().splitlines()) < 100
    server.end()
    assert_clean(server.messages(), argv.name)
    assert f"\n{argv.name}: forged" not in server.messages()
    assert " more like this: " in server.messages()


COMMANDS = {
    "inspect": ([OUTBOARD, "inspect", "/nowhere"], 1, "outboard"),
    "poke": ([OUTBOARD, "poke", "/nowhere", "read", "bar0", "0"], 1, "outboard"),
    "no command": ([OUTBOARD, "explode"], 2, "outboard"),
    "proxy": ([OUTBOARD, "proxy", "--nonsense"], 2, "outboard proxy"),
    "run": ([OUTBOARD, "proxy", "run", "--control=/nowhere", "id"], 255, "outboard proxy run"),
    "ping": ([OUTBOARD, "proxy", "ping", "--control=/nowhere"], 255, "outboard proxy ping"),
    "status": ([OUTBOARD, "proxy", "status", "--control=/nowhere"], 255, "outboard proxy status"),
    "guest's proxy": ([paths.BUILD / "root/bin/outboard-proxy", "--nonsense"], 2, "outboard proxy"),
    "device": ([LIBEXEC / "outboard-nvme", "--nonsense"], 2, "outboard-nvme"),
    "device's start": ([LIBEXEC / "outboard-nvme", "--fd=0", "--image=/nowhere"], 1, "outboard-nvme"),
    "backdoor": ([BACKDOOR, "info"], 3, "backdoor"),
    "backdoor's usage": ([BACKDOOR, "call"], 2, "backdoor"),
    "backdoor's number": ([BACKDOOR, "call", "five"], 2, "backdoor"),
}


def run(argv, **options):
    environment = {**os.environ, "OUTBOARD_BACKDOOR": "/nowhere"}
    return subprocess.run(argv, env=environment, timeout=PATIENCE_S, check=False, **options)


@pytest.mark.parametrize("case", COMMANDS.values(), ids=COMMANDS)
def test_a_command_ends_as_it_would_have(case, tmp_path):
    argv, status, prefix = case
    done = run(argv, stderr=subprocess.PIPE)
    assert done.returncode == status
    assert_clean(done.stderr.decode(), prefix)
    with full_pipe() as (_, writing):
        assert run(argv, stderr=writing).returncode == status
        assert os.get_blocking(writing)
    with gone_reader() as writing:
        assert run(argv, stderr=writing).returncode == status
    for closed in ("2", "012"):
        assert run([without(closed, tmp_path, argv[0]), *argv[1:]]).returncode == status


@pytest.mark.parametrize("case", COMMANDS.values(), ids=COMMANDS)
def test_words_of_the_command_line_are_printable_in_what_is_said(case):
    argv, _, prefix = case
    done = run([*argv, "--x\n\x1b[2J" + prefix + ": forged"], stderr=subprocess.PIPE)
    assert_clean(done.stderr.decode(), prefix)


PRINTING = {
    "help": ([OUTBOARD, "--help"], "outboard"),
    "version": ([OUTBOARD, "--version"], "outboard"),
    "inspect's help": ([OUTBOARD, "inspect", "--help"], "outboard"),
    "proxy's help": ([OUTBOARD, "proxy", "--help"], "outboard proxy"),
    "guest's proxy": ([paths.BUILD / "root/bin/outboard-proxy", "--version"], "outboard proxy"),
    "device's help": ([LIBEXEC / "outboard-nvme", "--help"], "outboard-nvme"),
    "device's version": ([LIBEXEC / "outboard-nvme", "--version"], "outboard-nvme"),
    "device's capabilities": ([LIBEXEC / "outboard-nvme", "--print-capabilities"], "outboard-nvme"),
    "backdoor's help": ([BACKDOOR, "--help"], "backdoor"),
    "backdoor's version": ([BACKDOOR, "--version"], "backdoor"),
}


def assert_loss_is_told(argv, prefix, status=1):
    """Output that can't be written is an error with a reason; a reader that has gone needs none."""
    for redirection in (">/dev/full", ">&-"):
        done = run(["sh", "-c", f'exec "$@" {redirection}', "sh", *argv], stderr=subprocess.PIPE)
        assert done.returncode == status
        assert_clean(done.stderr.decode(), prefix)
        assert b"can't write to standard output" in done.stderr
    with gone_reader() as writing:
        assert run(argv, stdout=writing, stderr=subprocess.DEVNULL).returncode != 0


@pytest.mark.parametrize("case", PRINTING.values(), ids=PRINTING)
def test_output_that_is_lost_is_an_error(case):
    assert_loss_is_told(*case)


@pytest.mark.parametrize("command", [["inspect"], ["inspect", "--json"], ["poke"]], ids=" ".join)
def test_what_a_device_says_is_not_lost_unseen(command, tmp_path):
    server = Server(tmp_path, EXERCISE)
    access = ["read", "cfg", "0"] if command == ["poke"] else []
    assert_loss_is_told([OUTBOARD, *command, server.path, *access], "outboard")
    server.end()

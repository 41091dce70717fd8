# SPDX-License-Identifier: BSD-3-Clause
"""The same programs in a guest, as plain processes, and under qemu-x86_64: they see the same."""
import re

FILL, CHECK, CRASH = 0xF111, 0xC4EC, 0xDEAD


def pattern(size, salt):
    """As programs/recorder.c."""
    return bytes((i * 7 + i // 251 + salt) & 0xFF for i in range(size))


def test_info(world):
    inside, _ = world()
    assert re.fullmatch(r"backdoor: (0000:00:0[1-9a-f]\.0|/\S+)\ndata: 4096 bytes\n", inside.run("backdoor info"))


def test_command_arrives_whole_and_in_order(world):
    inside, host = world()
    commands = [0, 1, 0x1122334455667788, 0xFFFFFFFF, 0xFFFFFFFF00000000, 2**64 - 1]
    inside.run("; ".join(f"backdoor call {command:#x}" for command in commands))
    inside.run("backdoor call 4660")
    assert host.commands == [*commands, 4660]
    assert host.lines[0] == "init 4096"
    assert sum(line.startswith("init") for line in host.lines) == 1


def test_data_both_ways_to_the_last_byte(world):
    inside, host = world("--pages=3")
    inside.run(f"backdoor call {FILL}")
    octets = inside.run("backdoor read | od -An -v -tu1").split()
    assert bytes(map(int, octets)) == pattern(12288, 0)
    theirs = pattern(12288, 100)
    for offset in range(0, len(theirs), 1024):
        octets = "".join(f"\\{byte:03o}" for byte in theirs[offset : offset + 1024])
        inside.run(f"printf '{octets}' | backdoor write {offset}")
    inside.run(f"backdoor call {CHECK}")
    assert host.lines[-1] == "wrong bytes: 0"


def test_parts_of_the_data(world):
    inside, _ = world()
    inside.run("printf 'abcdefghijklmnop' | backdoor write 3; printf X | backdoor write 4095")
    assert inside.run("backdoor read 3 16") == "abcdefghijklmnop"
    assert inside.run("backdoor read 5 1; backdoor read 18 1; backdoor read 4095") == "cpX"
    assert inside.run("backdoor read 0 0; backdoor read 4096; backdoor write 4096 </dev/null") == ""


def test_bench_shows_a_distribution(world):
    inside, host = world()
    output = inside.run("backdoor bench 50 7")
    assert output.startswith("50 calls of command 7 through ")
    times = [float(time) for time in re.findall(r" ([0-9.]+) us[,\n]", output)]
    assert len(times) == 5 and times == sorted(times)
    assert sum(int(count) for count in re.findall(r"and more: +(\d+)", output)) == 50
    assert host.commands == [7] * 50


def test_two_threads_call_at_once(world):
    inside, host = world()
    inside.run("threads 300")
    expected = {(thread << 16 | n) << 32 | thread << 16 | n for thread in (1, 2) for n in range(1, 301)}
    assert len(host.commands) == 600 and set(host.commands) == expected


def test_host_code_that_crashes(world):
    """It takes its own process with it, and nobody else; who calls is told."""
    inside, host = world()
    result = inside.attempt(f"backdoor call {CRASH}")
    assert result.status == 1 and "ended" in result.output
    assert host.process.wait() == -6  # SIGABRT
    result = inside.attempt("backdoor info")
    assert result.status == 3
    assert re.search("process on the host has ended|no process listens|which does not exist", result.output)
    assert inside.run("echo alive") == "alive\n"


def test_tool_refuses_what_does_not_fit(world):
    inside, host = world()
    for command, message in {
        "backdoor read 4097": "the data channel has 4096 bytes; got offset 4097, beyond its end",
        "backdoor read 18446744073709551615": "got offset 18446744073709551615, beyond its end",
        "backdoor read 4000 97": "the data channel has 96 bytes from offset 4000; got a length of 97",
        "backdoor read 0 18446744073709551615": "4096 bytes from offset 0; got a length of 18446744073709551615",
        "backdoor write 4097 </dev/null": ".*got offset 4097, beyond its end",
        "head -c 3 /dev/zero | backdoor write 4094": "more than the 2 bytes .* offset 4094; nothing was written",
        "backdoor bench 0": "bench: expected 1 to 10000000 calls",
        "backdoor read >/dev/full": "can't write to standard output: No space left on device",
    }.items():
        result = inside.attempt(command)
        assert result.status == 1, command
        assert re.fullmatch(f"backdoor: .*{message}\n", result.output)
    assert host.commands == []

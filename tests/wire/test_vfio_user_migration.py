# SPDX-License-Identifier: BSD-3-Clause
"""A device's state, saved by one process and loaded by another."""
import contextlib
import errno
import mmap
import struct

import pytest
import registers
from migration import (
    DATA_READ,
    DATA_WRITE,
    DEVICE_STATE,
    ERROR,
    FEATURE,
    GET,
    LOGGING_REPORT,
    LOGGING_START,
    LOGGING_STOP,
    MIGRATION,
    PRE_COPY,
    PROBE,
    RESUMING,
    RUNNING,
    RUNNING_P2P,
    SET,
    STOP,
    STOP_COPY,
    feature,
    go,
    load,
    read_all,
    read_some,
    save,
    state,
    write,
)
from registers import PAUSES, RAISE, WINDOW, command, get
from server import EXERCISE, Server
from vfio_user import CONFIG, DEVICE_RESET, EVENTFD, INTX, TRIGGER, Event, Memory, ServerError, close_all

@pytest.fixture
def other(tmp_path):
    """A second process with a device of the same kind."""
    (tmp_path / "other").mkdir()
    server = Server(tmp_path / "other", EXERCISE)
    yield server
    server.end()


def refusal(function, *arguments):
    with pytest.raises(ServerError) as caught:
        function(*arguments)
    return caught.value.errno


def test_what_a_device_can(exercise):
    client = exercise.client()
    assert feature(client, GET | MIGRATION) == struct.pack("<Q", 1 | 4)
    assert feature(client, PROBE | GET | MIGRATION) == b""
    assert feature(client, PROBE | GET | SET | DEVICE_STATE) == b""
    assert state(client) == RUNNING


def test_state_goes_from_one_process_to_another(exercise, other):
    source, target = exercise.client(), other.client()
    window, page = bytes(range(256)), bytes(reversed(range(256))) * 16
    source.write(0, WINDOW, window)
    source.write(2, 4096, page)
    source.write(3, 0x2000 + 16, b"a table entry...")
    source.write(CONFIG, 4, b"\x06\x04")
    source.write(CONFIG, 0x10, struct.pack("<I", 0xFEBF0000))
    command(source, RAISE)
    config = source.read(CONFIG, 0, 4096)
    load(target, save(source))
    assert target.read(CONFIG, 0, 4096) == config
    assert target.read(0, WINDOW, 256) == window
    assert target.read(2, 4096, 4096) == page
    assert target.read(3, 0x2000 + 16, 16) == b"a table entry..."
    event = Event()
    target.write(CONFIG, 4, b"\x06\x00")
    target.set_irqs(INTX, EVENTFD | TRIGGER, 0, 1, fds=[event.fd])
    assert event.take() == 1, "the level is up there, too"
    event.close()


def test_the_device_is_paused_and_resumed(exercise):
    client = exercise.client()
    go(client, STOP)
    go(client, STOP_COPY)
    assert get(client, PAUSES) == 1
    go(client, RUNNING)
    assert get(client, PAUSES) == 0x10001
    go(client, PRE_COPY)
    assert get(client, PAUSES) == 0x10001
    assert len(read_all(client)) > 4096
    assert get(client, PAUSES) == 0x10001, "what is read early is of a running device"
    go(client, STOP_COPY)
    assert get(client, PAUSES) == 0x10002
    assert len(read_all(client)) > 4096


def test_a_stopped_device_stays_so_until_a_client_begins_anew(exercise):
    client = exercise.client()
    save(client)
    client.close()
    client = exercise.client()
    assert (state(client), get(client, PAUSES)) == (RUNNING, 0x10001)


@pytest.mark.parametrize("wanted", [ERROR, RUNNING_P2P, 7, 2**32 - 1])
def test_states_that_do_not_exist(exercise, wanted):
    client = exercise.client()
    request = struct.pack("<IIII", 16, SET | DEVICE_STATE, wanted, 0)
    assert refusal(client.ask, FEATURE, request) == errno.EINVAL
    assert state(client) == RUNNING


def test_every_way_between_states(exercise):
    client = exercise.client()
    states = (STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY)
    for start in states:
        for wanted in states:
            client.ask(DEVICE_RESET)
            go(client, start)
            if (start, wanted) == (STOP_COPY, PRE_COPY):
                request = struct.pack("<IIII", 16, SET | DEVICE_STATE, wanted, 0)
                assert refusal(client.ask, FEATURE, request) == errno.EINVAL
                assert state(client) == STOP_COPY
            else:
                go(client, wanted)


def test_wrong_features(exercise):
    client = exercise.client()
    for flags in (GET, GET | 3, GET | 5, SET | 9, GET | 0xFFFF):
        assert refusal(feature, client, flags) == errno.ENOTSUP
    for flags, data in [
        (DEVICE_STATE, b""),
        (GET | LOGGING_START, b""),
        (SET | LOGGING_REPORT, bytes(24)),
        (SET | LOGGING_STOP, b"x"),
        (GET | SET | DEVICE_STATE, bytes(8)),
        (SET | DEVICE_STATE, b""),
        (SET | DEVICE_STATE, bytes(9)),
        (SET | MIGRATION, bytes(8)),
        (PROBE | SET | MIGRATION, b""),
        (GET | 1 << 19 | DEVICE_STATE, b""),
    ]:
        assert refusal(feature, client, flags, data) == errno.EINVAL
    assert refusal(feature, client, GET | DEVICE_STATE, b"", 15) == errno.EINVAL
    for length in range(8):
        assert refusal(client.ask, FEATURE, bytes(length)) == errno.EINVAL


def test_data_in_the_wrong_state(exercise):
    client = exercise.client()
    for wanted in (RUNNING, STOP, RESUMING):
        go(client, wanted)
        assert refusal(read_some, client, 10) == errno.EINVAL
    for wanted in (STOP, RUNNING, PRE_COPY, STOP_COPY):
        go(client, wanted)
        assert refusal(write, client, b"data") == errno.EINVAL


def test_data_of_wrong_sizes(exercise):
    client = exercise.client(offer={"capabilities": {"max_data_xfer_size": 100}})
    go(client, STOP_COPY)
    assert refusal(read_some, client, 101) == errno.E2BIG
    assert refusal(client.ask, DATA_READ, struct.pack("<II", 17, 10)) == errno.EINVAL
    assert read_some(client, 0) == b""
    go(client, RESUMING)
    assert refusal(write, client, bytes(101)) == errno.E2BIG
    assert refusal(client.ask, DATA_WRITE, struct.pack("<II", 8, 3) + b"xx") == errno.EINVAL


def test_more_data_than_any_state_has(exercise):
    client = exercise.client()
    go(client, RESUMING)
    assert refusal(write, client, bytes(1 << 20)) == errno.ENOSPC
    with pytest.raises(ServerError) as caught:
        while True:
            write(client, bytes(4096))
    assert caught.value.errno == errno.ENOSPC


def resume_with(client, data):
    """Gives a device a state that it refuses: on leaving, and maybe before."""
    go(client, RESUMING)
    with contextlib.suppress(ServerError):
        write(client, data)
    return refusal(client.ask, FEATURE, struct.pack("<IIII", 16, SET | DEVICE_STATE, STOP, 0))


NAME_AT = 9
VERSION_AT = NAME_AT + len("exercise")
CONFIG_AT = VERSION_AT + 8


@pytest.mark.parametrize(
    "at,data,says",
    [
        (0, b"xxxx", "not a saved state"),
        (4, b"\2", "format"),
        (NAME_AT, b"E", "another device"),
        (8, b"\xff", "another device"),
        (VERSION_AT, b"\x08", "version: got "),
        (VERSION_AT + 4, b"\1\0", "configuration space"),
        (CONFIG_AT, b"\xff", "configuration space"),
        (CONFIG_AT + 4096 + 1, b"\1", "MSI-X"),
        (VERSION_AT, b"\6", "version 6"),
    ],
)
def test_a_state_that_is_not_this_devices_is_refused_with_the_reason(exercise, at, data, says):
    client = exercise.client()
    saved = bytearray(save(client))
    saved[at : at + len(data)] = data
    client.ask(DEVICE_RESET)
    assert resume_with(client, bytes(saved)) == errno.EINVAL
    assert says in exercise.messages()
    assert state(client) == ERROR
    assert refusal(go, client, RUNNING) == errno.EINVAL
    client.ask(DEVICE_RESET)
    assert state(client) == RUNNING


def test_a_state_cut_short_is_refused_and_leaves_no_trace(exercise):
    client = exercise.client()
    client.write(0, WINDOW, b"precious")
    saved = save(client)
    client.ask(DEVICE_RESET)
    client.write(0, WINDOW, b"as it is")
    for length in [*range(1, 40), 4000, len(saved) - 4096, len(saved) - 257, len(saved) - 1]:
        assert resume_with(client, saved[:length]) == errno.EINVAL
        client.ask(DEVICE_RESET)
    assert resume_with(client, saved + b"x") == errno.EINVAL
    client.ask(DEVICE_RESET)
    assert client.read(0, WINDOW, 8) == b"as it is"
    load(client, saved)
    assert client.read(0, WINDOW, 8) == b"precious"


BLOCK = 512


def read_early(client, length=None):
    """What there is to read of a running device: all, or so many bytes."""
    go(client, PRE_COPY)
    return read_all(client) if length is None else read_some(client, length)


def test_what_is_read_early_tells_of_the_device_and_its_memory(exercise):
    client = exercise.client()
    client.write(2, 4096, b"in the memory of a BAR")
    early = read_early(client)
    assert len(early) % BLOCK == 0
    blocks = [early[at : at + BLOCK] for at in range(0, len(early), BLOCK)]
    assert all(block[:4] == b"OBSE" for block in blocks)
    told = b"".join(block[8 : 8 + struct.unpack("<I", block[4:8])[0]] for block in blocks)
    assert told[NAME_AT : NAME_AT + 8] == b"exercise"
    assert told[CONFIG_AT : CONFIG_AT + 4096] == client.read(CONFIG, 0, 4096)
    assert b"in the memory of a BAR" in told
    assert read_some(client, 100) == b"", "that was all"


@pytest.mark.parametrize("length", [0, 1, 511, 512, 513, 5 * BLOCK + 7, 1 << 20])
def test_the_state_loads_behind_whatever_was_read_early(exercise, other, length):
    source, target = exercise.client(), other.client()
    early = read_early(source, length)
    source.write(0, WINDOW, b"changed since")
    source.write(2, 4096, b"that too")
    load(target, early + save(source))
    assert target.read(0, WINDOW, 13) == b"changed since"
    assert target.read(2, 4096, 8) == b"that too"


def test_the_state_needs_nothing_that_was_read_early(exercise, other):
    source, target = exercise.client(), other.client()
    read_early(source, 4 * BLOCK)
    source.write(0, WINDOW, b"precious")
    load(target, save(source))
    assert target.read(0, WINDOW, 8) == b"precious"


def test_reading_early_begins_anew(exercise):
    client = exercise.client()
    early = read_early(client)
    go(client, RUNNING)
    assert read_early(client, 100) == early[:100]
    go(client, RUNNING)
    assert refusal(read_some, client, 10) == errno.EINVAL
    assert read_early(client) == early


def test_the_first_block_of_another_device_is_refused_at_once(exercise):
    client = exercise.client()
    early = bytearray(read_early(client, BLOCK))
    early[8 + NAME_AT] ^= 1
    go(client, RUNNING)
    go(client, RESUMING)
    write(client, bytes(early[:-1]))
    assert refusal(write, client, bytes(early[-1:])) == errno.EINVAL
    assert "another device" in exercise.messages()


@pytest.mark.parametrize(
    "at,data,says",
    [
        (0, b"x", "not a saved state"),
        (4, b"\0\0\0\0", "not a saved state"),
        (4, b"\xf9\1", "not a saved state"),
        (8 + VERSION_AT + 4, b"\1\0", "configuration space in front of the state"),
        (8 + CONFIG_AT + 2, b"\xff", "configuration space in front of the state"),
        (-BLOCK, b"OBST", "format"),
    ],
)
def test_blocks_that_are_not_this_devices_are_refused_with_the_reason(exercise, at, data, says):
    client = exercise.client()
    early = bytearray(read_early(client))
    saved = save(client)
    at %= len(early)
    early[at : at + len(data)] = data
    client.ask(DEVICE_RESET)
    assert resume_with(client, bytes(early) + saved) == errno.EINVAL
    assert says in exercise.messages()
    assert state(client) == ERROR


def test_blocks_alone_are_no_state(exercise):
    client = exercise.client()
    early = read_early(client)
    go(client, RUNNING)
    assert resume_with(client, early) == errno.EINVAL


def test_backdoor_migrates_with_its_data_channel(backdoor):
    client = backdoor.client()
    info, _, fds = client.region_info(1)
    with mmap.mmap(fds[0], info[4]) as channel:
        close_all(fds)
        channel[100:105] = b"guest"
        client.write(0, 0, b"\5")  # a part of a command
        saved = save(client)
        client.ask(DEVICE_RESET)
        channel[:] = bytes(len(channel))
        load(client, saved)
        assert channel[100:105] == b"guest"
        client.write(0, 1, bytes(7))
        assert struct.unpack("<Q", channel[:8])[0] == 6


PAGE = 4096


def start_logging(client, *ranges, page=PAGE):
    packed = b"".join(struct.pack("<QQ", *entry) for entry in ranges)
    control = struct.pack("<QII", page, len(ranges), 0) + packed
    assert feature(client, SET | LOGGING_START, control) == control


def report(client, start, length, page=PAGE):
    """The numbers of the pages that were written."""
    request = struct.pack("<QQQ", start, length, page)
    answer = feature(client, GET | LOGGING_REPORT, request)
    assert answer[:24] == request
    bits = int.from_bytes(answer[24:], "little")
    assert len(answer) == 24 + (length // page + 63) // 64 * 8
    return [number for number in range(length // page) if bits >> number & 1]


@pytest.fixture
def mapped(exercise):
    """A client that shares 130 pages at 0x100000."""
    client = exercise.client()
    memory = Memory(130 * PAGE)
    registers.enable_dma(client)
    client.map(0x100000, 130 * PAGE, [memory.fd])
    yield client
    memory.close()


def test_dma_logging(mapped):
    start_logging(mapped, (0x100000, 130 * PAGE))
    assert report(mapped, 0x100000, 130 * PAGE) == []
    command(mapped, registers.DMA_WRITE, 0x100000 + 3 * PAGE - 1, 2)
    command(mapped, registers.DMA_WRITE, 0x100000 + 129 * PAGE, 1)
    command(mapped, registers.DMA_READ, 0x100000 + 70 * PAGE, 1)
    assert report(mapped, 0x100000, 10 * PAGE) == [2, 3]
    assert report(mapped, 0x100000, 130 * PAGE) == [129]
    assert report(mapped, 0x100000, 130 * PAGE) == []


def test_mapped_memory_counts_as_written_while_it_is_mapped(mapped):
    start_logging(mapped, (0x100000, 130 * PAGE))
    command(mapped, registers.MAP, 0x100000 + 5 * PAGE, 2 * PAGE)
    assert report(mapped, 0x100000, 130 * PAGE) == [5, 6]
    command(mapped, registers.UNMAP)
    assert report(mapped, 0x100000, 130 * PAGE) == [5, 6]
    assert report(mapped, 0x100000, 130 * PAGE) == []


def test_logging_without_ranges_is_of_all_memory(mapped):
    start_logging(mapped)
    assert refusal(start_logging, mapped) == errno.EBUSY
    command(mapped, registers.DMA_WRITE, 0x100000 + 3 * PAGE - 1, 2)
    memory = Memory(PAGE)
    mapped.map(1 << 40, PAGE, [memory.fd])
    command(mapped, registers.DMA_WRITE, 1 << 40, 1)
    mapped.unmap(1 << 40, PAGE)
    memory.close()
    assert report(mapped, 0, 0x200000) == [0x102, 0x103]
    assert report(mapped, (1 << 40) - PAGE, 2 * PAGE) == [1], "mapped later, and gone by now"
    assert report(mapped, 0, 0x200000) == []
    for start, length in [(1, PAGE), (0, 0), (2**64 - PAGE, 2 * PAGE)]:
        assert refusal(report, mapped, start, length) == errno.EINVAL
    feature(mapped, SET | LOGGING_STOP, struct.pack("<QII", PAGE, 0, 0))
    assert refusal(report, mapped, 0x100000, PAGE) == errno.EINVAL


def test_a_report_has_to_fit_a_message(mapped):
    start_logging(mapped, (0, 1 << 35))
    command(mapped, registers.DMA_WRITE, 0x100000, 1)
    assert refusal(report, mapped, 0, 1 << 35) == errno.E2BIG, "its bits would, but not what goes before them"
    bits = feature(mapped, GET | LOGGING_REPORT, struct.pack("<QQQ", 0, 1 << 34, PAGE))[24:]
    assert len(bits) == (1 << 34) // PAGE // 8
    assert bits[32] == 1


def test_dma_logging_starts_and_stops(mapped):
    assert refusal(report, mapped, 0x100000, PAGE) == errno.EINVAL
    start_logging(mapped, (0x100000, 2 * PAGE), (0x180000, 4 * PAGE))
    assert refusal(start_logging, mapped, (0, PAGE)) == errno.EBUSY
    command(mapped, registers.DMA_WRITE, 0x100000, 1)
    feature(mapped, SET | LOGGING_STOP)
    feature(mapped, SET | LOGGING_STOP)
    start_logging(mapped, (0x100000, 0x4000), page=0x4000)
    assert report(mapped, 0x100000, 0x4000, page=0x4000) == []


def test_wrong_dma_logging(mapped):
    for ranges, page in [
        ([(0, PAGE)], 2048),
        ([(0, PAGE)], 6000),
        ([(0, PAGE)], 0),
        ([(0, 0)], PAGE),
        ([(1, PAGE)], PAGE),
        ([(0, PAGE + 1)], PAGE),
        ([(2**64 - PAGE, 2 * PAGE)], PAGE),
        ([(0, 2 * PAGE), (PAGE, PAGE)], PAGE),
    ]:
        with pytest.raises(ServerError) as caught:
            start_logging(mapped, *ranges, page=page)
        assert caught.value.errno == errno.EINVAL
    assert refusal(start_logging, mapped, (0, 2**63)) == errno.E2BIG
    assert refusal(start_logging, mapped, *[(at * PAGE, PAGE) for at in range(65)]) == errno.E2BIG
    assert refusal(feature, mapped, SET | LOGGING_START, struct.pack("<QII", PAGE, 1, 0)) == errno.EINVAL
    start_logging(mapped, (0x100000, 4 * PAGE))
    for start, length, page in [(0x100000, 5 * PAGE, PAGE), (0, PAGE, PAGE), (0x100000, 0, PAGE), (0x100001, PAGE, PAGE)]:
        assert refusal(report, mapped, start, length, page) == errno.EINVAL
    assert refusal(report, mapped, 0x100000, 4 * PAGE, 2 * PAGE) == errno.EINVAL


def test_a_client_that_comes_back_saves_what_the_last_one_left(exercise, other):
    """Without an access to the device, which stays dormant."""
    first = exercise.client()
    first.write(0, WINDOW, b"precious")
    first.close()
    target = other.client()
    load(target, save(exercise.client()))
    assert target.read(0, WINDOW, 8) == b"precious"


def test_a_log_of_pages_ends_with_its_client(exercise):
    first = exercise.client()
    feature(first, SET | LOGGING_START, struct.pack("<QIIQQ", 4096, 1, 0, 0, 4096))
    first.close()
    second = exercise.client()
    assert refusal(feature, second, GET | LOGGING_REPORT, struct.pack("<QQQ", 0, 4096, 4096)) == errno.EINVAL

# SPDX-License-Identifier: BSD-3-Clause
"""A device's state, saved by one process and loaded by another."""
import errno
import mmap
import struct

import pytest
import registers
from registers import PAUSES, RAISE, WINDOW, command, get
from server import EXERCISE, Server
from vfio_user import CONFIG, DEVICE_RESET, EVENTFD, INTX, TRIGGER, Event, Memory, ServerError, close_all

FEATURE, DATA_READ, DATA_WRITE = 16, 17, 18
GET, SET, PROBE = 1 << 16, 1 << 17, 1 << 18
MIGRATION, DEVICE_STATE, LOGGING_START, LOGGING_STOP, LOGGING_REPORT = 1, 2, 6, 7, 8
ERROR, STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY = range(7)


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


def feature(client, flags, data=b"", argsz=4096):
    payload = client.ask(FEATURE, struct.pack("<II", argsz, flags) + data).payload
    assert struct.unpack("<II", payload[:8]) == (len(payload), flags)
    return payload[8:]


def state(client):
    return struct.unpack("<II", feature(client, GET | DEVICE_STATE))[0]


def go(client, wanted):
    reached, fd = struct.unpack("<II", feature(client, SET | DEVICE_STATE, struct.pack("<II", wanted, 0)))
    assert reached == wanted


def read_some(client, size):
    payload = client.ask(DATA_READ, struct.pack("<II", 8 + size, size)).payload
    argsz, got = struct.unpack("<II", payload[:8])
    assert argsz == len(payload) == 8 + got
    return payload[8:]


def read_all(client, piece=1000):
    data = b""
    while part := read_some(client, piece):
        data += part
    return data


def write(client, data):
    assert client.ask(DATA_WRITE, struct.pack("<II", 8 + len(data), len(data)) + data).payload == b""


def save(client):
    go(client, STOP_COPY)
    data = read_all(client)
    go(client, STOP)
    return data


def load(client, data, piece=777):
    go(client, RESUMING)
    for at in range(0, len(data), piece):
        write(client, data[at : at + piece])
    go(client, RUNNING)


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
    assert read_some(client, 100) == b""
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
    go(client, RESUMING)
    write(client, data)
    return refusal(client.ask, FEATURE, struct.pack("<IIII", 16, SET | DEVICE_STATE, STOP, 0))


NAME_AT = 9
VERSION_AT = NAME_AT + len("exercise")
CONFIG_AT = VERSION_AT + 8


@pytest.mark.parametrize(
    "at,data,says",
    [
        (0, b"xxxx", "no saved state"),
        (4, b"\2", "format"),
        (NAME_AT, b"E", "another device"),
        (8, b"\xff", "another device"),
        (VERSION_AT, b"\x08", "newer"),
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
    feature(client, SET | LOGGING_START, struct.pack("<QII", page, len(ranges), 0) + packed)


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
        ([], PAGE),
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

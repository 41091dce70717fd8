# SPDX-License-Identifier: BSD-3-Clause
"""VERSION, and the life of a connection."""
import errno
import json
import os
import struct

import pytest
from vfio_user import (
    DEVICE_RESET,
    DMA_MAP,
    DMA_UNMAP,
    GET_INFO,
    GET_IRQ_INFO,
    GET_REGION_INFO,
    GET_REGION_IO_FDS,
    HEADER,
    NO_REPLY,
    QEMU_OFFER,
    REGION_READ,
    REGION_WRITE,
    REGION_WRITE_MULTI,
    SET_IRQS,
    TYPE_REPLY,
    VERSION,
    ServerError,
    close_all,
)

VERSION_0_0 = struct.pack("<HH", 0, 0)


def test_what_qemu_offers_is_taken(exercise):
    answer = exercise.connect().negotiate(QEMU_OFFER)["capabilities"]
    assert answer == {
        "max_msg_fds": 16,
        "max_data_xfer_size": 1048576,
        "pgsizes": 4096,
        "max_dma_maps": 65535,
        "write_multiple": False,
    }


def test_only_qemu_is_told_that_there_is_no_write_multi(exercise):
    """It has another use for the flag that it then sets: every access takes longer."""
    offer = {"capabilities": {name: value for name, value in QEMU_OFFER["capabilities"].items() if name != "migration"}}
    assert exercise.connect().negotiate(offer) == offer


@pytest.mark.parametrize(
    "offer",
    [
        QEMU_OFFER,
        {},
        {"capabilities": {}},
        {"capabilities": {"max_msg_fds": 1}},
        {"capabilities": {"write_multiple": False, "twin_socket": {"supported": True}}},
        {"capabilities": {"max_data_xfer_size": 1, "pgsizes": 4096 | 1 << 21, "max_dma_maps": 0}},
        {"capabilities": {"max_msg_fds": 2**62, "max_data_xfer_size": 2**62, "max_dma_maps": 2**62}},
    ],
)
def test_answer_is_a_subset_and_no_longer_than_the_offer(exercise, offer):
    client = exercise.connect()
    text = json.dumps(offer, separators=(",", ":")).encode() + b"\0"
    payload = client.ask(VERSION, VERSION_0_0 + text).payload
    assert payload[:4] == VERSION_0_0 and payload[-1:] == b"\0"
    assert len(payload) <= 4 + len(text)
    answered = json.loads(payload[4:-1]).get("capabilities", {})
    offered = offer.get("capabilities", {})
    assert answered.keys() <= offered.keys()
    assert all(answered[name] <= offered[name] for name in answered)


def test_client_without_json_gets_json(exercise):
    client = exercise.connect()
    assert client.negotiate(None) == {"capabilities": {}}
    assert client.device_info()[2] == 9


def test_lower_minor_version_is_answered(exercise):
    client = exercise.connect()
    payload = client.ask(VERSION, struct.pack("<HH", 0, 7) + b"{}\0").payload
    assert struct.unpack("<HH", payload[:4]) == (0, 0)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0\0\0",
        struct.pack("<HH", 1, 0),
        VERSION_0_0 + b"{}",
        VERSION_0_0 + b"[]\0",
        VERSION_0_0 + b"{\0",
        VERSION_0_0 + b'{"capabilities": 3}\0',
        VERSION_0_0 + b'{"capabilities": {"max_msg_fds": "8"}}\0',
        VERSION_0_0 + b'{"capabilities": {"max_msg_fds": -8}}\0',
        VERSION_0_0 + b'{"capabilities": {"write_multiple": 1}}\0',
        VERSION_0_0 + b'{"capabilities": {"pgsizes": 512}}\0',
        VERSION_0_0 + b'{"capabilities": {"max_data_xfer_size": 0}}\0',
        VERSION_0_0 + b"[" * 4000 + b"\0",
        VERSION_0_0 + b"x" * 5000 + b"\0",
    ],
)
def test_bad_version_is_told_and_ends_the_connection(exercise, payload):
    client = exercise.connect()
    with pytest.raises(ServerError) as caught:
        client.ask(VERSION, payload)
    assert caught.value.errno == errno.EINVAL
    assert client.at_end()
    assert exercise.client().device_info()[2] == 9


def test_second_version_is_refused_and_changes_nothing(exercise):
    client = exercise.client()
    with pytest.raises(ServerError) as caught:
        client.negotiate({"capabilities": {"max_data_xfer_size": 1}})
    assert caught.value.errno == errno.EINVAL
    assert len(client.read(7, 0, 256)) == 256


@pytest.mark.parametrize("command", [0, GET_INFO, DEVICE_RESET, 99])
def test_nothing_before_version(exercise, command):
    client = exercise.connect()
    client.send(command, bytes(16))
    assert client.at_end()
    assert "VERSION" in exercise.messages()


def test_version_may_come_in_pieces_of_one_byte(exercise):
    client = exercise.connect()
    text = VERSION_0_0 + json.dumps(QEMU_OFFER).encode() + b"\0"
    for byte in HEADER.pack(1, VERSION, 16 + len(text), 0, 0) + text:
        client.send_raw(bytes([byte]))
    assert client.receive().command == VERSION


@pytest.mark.parametrize("size", [0, 15, 16 + 16 + (1 << 20) + 1, 0xFFFFFFFF])
def test_impossible_length_ends_the_connection(exercise, size):
    client = exercise.client()
    client.send(GET_INFO, size=size)
    assert client.at_end()
    assert exercise.client().device_info()[2] == 9


@pytest.mark.parametrize("flags", [TYPE_REPLY, 0x2, 0xF])
def test_message_that_is_no_command_ends_the_connection(exercise, flags):
    client = exercise.client()
    client.send(GET_INFO, bytes(16), flags=flags)
    assert client.at_end()


@pytest.mark.parametrize("command", [0, 11, 12, 14, 19, 0xFFFF])
def test_unknown_command_is_answered(exercise, command):
    client = exercise.client()
    with pytest.raises(ServerError) as caught:
        client.ask(command, bytes(16))
    assert caught.value.errno == errno.ENOTSUP
    assert client.device_info()[2] == 9


def test_no_reply_means_none_even_to_an_error(exercise):
    client = exercise.client()
    client.send(DEVICE_RESET, flags=NO_REPLY)
    client.send(GET_INFO, b"short", flags=NO_REPLY)
    client.send(99, flags=NO_REPLY)
    assert client.device_info()[2] == 9


def test_replies_are_in_order_and_echo_the_id(exercise):
    client = exercise.client()
    ids = [client.send(GET_INFO, struct.pack("<IIII", 16, 0, 0, 0), id=id) for id in (7, 7, 0, 0xFFFF)]
    assert [client.receive().id for _ in ids] == ids


def test_the_next_client_finds_the_device_as_it_was(exercise):
    first = exercise.client()
    first.write(0, 0x8, b"\x11\x22\x33\x44")
    first.close()
    second = exercise.client()
    assert second.read(0, 0x8, 4) == b"\x11\x22\x33\x44"


MESSAGES = {
    "DMA_MAP": (DMA_MAP, struct.pack("<IIQQQ", 32, 3, 0, 0, 4096), 1),
    "DMA_UNMAP": (DMA_UNMAP, struct.pack("<IIQQ", 24, 2, 0, 0), 0),
    "GET_INFO": (GET_INFO, struct.pack("<IIII", 16, 0, 0, 0), 0),
    "GET_REGION_INFO": (GET_REGION_INFO, struct.pack("<IIIIQQ", 64, 0, 2, 0, 0, 0), 0),
    "GET_REGION_IO_FDS": (GET_REGION_IO_FDS, struct.pack("<IIII", 4096, 0, 0, 0), 0),
    "GET_IRQ_INFO": (GET_IRQ_INFO, struct.pack("<IIII", 16, 0, 0, 0), 0),
    "SET_IRQS": (SET_IRQS, struct.pack("<IIIII", 20, 0x24, 2, 0, 2), 2),
    "REGION_READ": (REGION_READ, struct.pack("<QII", 0, 7, 64), 0),
    "REGION_WRITE": (REGION_WRITE, struct.pack("<QIIQ", 0x100, 0, 8, 0), 0),
    "DEVICE_RESET": (DEVICE_RESET, b"", 0),
    "REGION_WRITE_MULTI": (REGION_WRITE_MULTI, struct.pack("<QQIIQ", 1, 0x100, 0, 8, 0), 0),
    "DEVICE_FEATURE": (16, struct.pack("<IIII", 16, 1 << 17 | 2, 6, 0), 0),
    "MIG_DATA_READ": (17, struct.pack("<II", 16, 8), 0),
    "MIG_DATA_WRITE": (18, struct.pack("<II8s", 16, 8, b""), 0),
}


@pytest.mark.parametrize("command,payload,num_fds", MESSAGES.values(), ids=MESSAGES)
def test_disconnect_at_every_byte_of_every_message(exercise, command, payload, num_fds):
    whole = HEADER.pack(1, command, 16 + len(payload), 0, 0) + payload
    fds = [os.eventfd(0) if command == SET_IRQS else os.memfd_create("guest") for _ in range(num_fds)]
    for fd in fds if command == DMA_MAP else []:
        os.ftruncate(fd, 4096)
    open_before = None
    for length in range(1, len(whole) + 1):
        client = exercise.client()
        client.send_raw(whole[:length], fds)
        client.close()
        client = exercise.client()
        client.device_info()
        open_before = open_before or exercise.descriptors()
        assert exercise.descriptors() == open_before
        client.close()
    close_all(fds)


def test_disconnect_at_every_byte_of_version(exercise):
    text = VERSION_0_0 + b'{"capabilities": {"max_msg_fds": 16}}\0'
    whole = HEADER.pack(1, VERSION, 16 + len(text), 0, 0) + text
    for length in range(len(whole) + 1):
        client = exercise.connect()
        client.send_raw(whole[:length] or b"\0")
        client.close()
    assert exercise.client().device_info()[2] == 9


def test_descriptors_that_nobody_asked_for_are_closed(exercise):
    client = exercise.client()
    client.device_info()
    before = exercise.descriptors()
    spare = [os.dup(0) for _ in range(16)]
    client.send(GET_INFO, struct.pack("<IIII", 16, 0, 0, 0), fds=spare)
    assert client.receive().error == errno.EINVAL
    close_all(spare)
    client.device_info()
    assert exercise.descriptors() == before


def test_more_descriptors_than_any_message_has_end_the_connection(exercise):
    client = exercise.client()
    before = exercise.descriptors()
    spare = [os.dup(0) for _ in range(40)]
    client.send(GET_INFO, struct.pack("<IIII", 16, 0, 0, 0), fds=spare)
    close_all(spare)
    assert client.at_end()
    client = exercise.client()
    assert exercise.descriptors() == before

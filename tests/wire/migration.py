# SPDX-License-Identifier: BSD-3-Clause
"""The messages by which a client of vfio-user moves a device's state: after version 2 of the kernel's interface,
<linux/vfio.h>."""
import struct

FEATURE, DATA_READ, DATA_WRITE = 16, 17, 18
GET, SET, PROBE = 1 << 16, 1 << 17, 1 << 18
MIGRATION, DEVICE_STATE, LOGGING_START, LOGGING_STOP, LOGGING_REPORT = 1, 2, 6, 7, 8
ERROR, STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY = range(7)


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
    assert argsz == 8 + got
    assert payload[argsz:] == bytes(size - got), "the reply is as long as was asked for"
    return payload[8:argsz]


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

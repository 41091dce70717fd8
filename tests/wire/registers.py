# SPDX-License-Identifier: BSD-3-Clause
"""The registers of exercise.c, as a client of any wire pokes them."""
import struct

BAR = 0
ADDRESS, LENGTH, RESULT, ENDED, RESETS, WRITES, PAUSES = 0x08, 0x10, 0x18, 0x20, 0x28, 0x30, 0x38
RINGS = 0x50
WINDOW = 0x100

DMA_READ, DMA_WRITE, MAP, UNMAP, RAISE, LOWER, SIGNAL, REPORT_ERROR, REQUEST_REMOVAL, DMA_CANCEL = range(1, 11)

VECTORS = 24
BUS_MASTER = 0x4
INTX_DISABLE = 0x400


def get(client, register):
    return struct.unpack("<q", client.read(BAR, register, 8))[0]


def put(client, register, value):
    client.write(BAR, register, struct.pack("<q", value))


def command(client, number, address=None, length=None):
    if address is not None:
        put(client, ADDRESS, address)
    if length is not None:
        put(client, LENGTH, length)
    put(client, 0, number)
    return get(client, RESULT)


def signal(client, vector):
    return command(client, SIGNAL, length=vector)


def enable_dma(client, bits=BUS_MASTER):
    client.write(7, 4, struct.pack("<H", bits))

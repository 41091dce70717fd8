# SPDX-License-Identifier: BSD-3-Clause
"""A server of vfio-user in the hands of a test: a device of one BAR that says what the test wants it to."""
import json
import struct
import threading

import vfio_user
from vfio_user import ACCESS, ERROR, FOUR, REGION_INFO, TYPE_REPLY

BAR_LEN = 4096
IDS = bytes.fromhex("f41af010")
CAPABILITIES = {"max_msg_fds": 8, "max_data_xfer_size": 65536, "pgsizes": 4096, "max_dma_maps": 64}


class Server(threading.Thread):
    """Serves one client until it goes. `lies` maps a command to what is done in place of the truth:
    lie(server, message) may send anything; what it returns is sent as the payload of the reply unless it is None."""

    def __init__(self, sock, lies=None, capabilities=None):
        super().__init__()
        self.speaker = vfio_user.Client(sock)
        self.lies = lies or {}
        self.capabilities = CAPABILITIES if capabilities is None else capabilities
        self.config = bytearray(IDS.ljust(256, b"\0"))
        self.bar = bytearray(BAR_LEN)
        self.seen = []
        self.replies = []  # of the client, to what was asked of it

    def run(self):
        try:
            while True:
                self.carry_out(self.speaker.receive())
        except (EOFError, ConnectionError):
            pass
        finally:
            self.speaker.close()

    def carry_out(self, message):
        if message.flags & 0xF == TYPE_REPLY:
            self.replies.append(message)
            return
        self.seen.append(message.command)
        act = self.lies.get(message.command, Server.truth)
        payload = act(self, message)
        vfio_user.close_all(message.fds)
        if payload is not None and not message.flags & vfio_user.NO_REPLY:
            self.reply(message, payload)

    def reply(self, message, payload=b"", fds=(), error=None, **header):
        """The reply to a message, or something like it."""
        flags = TYPE_REPLY | (ERROR if error is not None else 0)
        fields = {"id": message.id, "flags": flags, "error": error or 0, **header}
        self.speaker.send(fields.pop("command", message.command), payload, fds, **fields)

    def truth(self, message):
        """The payload of an honest reply."""
        return TRUTHS.get(message.command, lambda server, payload: b"")(self, message.payload)

    def version(self, payload):
        return struct.pack("<HH", 0, 0) + json.dumps({"capabilities": self.capabilities}).encode() + b"\0"

    def region_info(self, payload):
        index = REGION_INFO.unpack(payload)[2]
        size = {0: BAR_LEN, vfio_user.CONFIG: 256}.get(index, 0)
        return REGION_INFO.pack(32, 3 if size else 0, index, 0, size, 0)

    def irq_info(self, payload):
        index = FOUR.unpack(payload)[2]
        return FOUR.pack(16, 1, index, 1 if index == vfio_user.INTX else 0)

    def region(self, index):
        return self.config if index == vfio_user.CONFIG else self.bar

    def read(self, payload):
        offset, index, count = ACCESS.unpack(payload)
        return payload + bytes(self.region(index)[offset : offset + count])

    def write(self, payload):
        offset, index, count = ACCESS.unpack(payload[:16])
        self.region(index)[offset : offset + count] = payload[16:]
        return payload[:16]


TRUTHS = {
    vfio_user.VERSION: Server.version,
    vfio_user.GET_INFO: lambda server, payload: FOUR.pack(16, 3, 9, 5),
    vfio_user.GET_REGION_INFO: Server.region_info,
    vfio_user.GET_IRQ_INFO: Server.irq_info,
    vfio_user.REGION_READ: Server.read,
    vfio_user.REGION_WRITE: Server.write,
    vfio_user.DMA_UNMAP: lambda server, payload: payload,
}


# SPDX-License-Identifier: BSD-3-Clause
"""A virtio driver behind a front end of vhost-user: as virtio_driver.VirtioPci, as far as that wire goes."""
import os
import select

import vhost_user
from vhost_user import ADDR, PATIENCE_S, PROTOCOL_FEATURES, STATE, U64, USER, FrontEnd, table
from virtio_bus import MEMORY_LEN, Memory
from virtio_driver import EVENT_IDX, RING_PACKED, VERSION_1, PackedQueue, SplitQueue

FIRST_PACKED = 0x80008000  # both counters of wraps begin with 1


class VhostUserDriver:
    def __init__(self, sock):
        self.front_end = FrontEnd.__new__(FrontEnd)
        self.front_end.socket = sock
        sock.settimeout(PATIENCE_S)
        self.memory, self.queues, self.events = Memory(), [], []
        self.offered = U64.unpack(self.front_end.ask(vhost_user.GET_FEATURES))[0]
        self.front_end.send(vhost_user.SET_PROTOCOL_FEATURES, self.front_end.ask(vhost_user.GET_PROTOCOL_FEATURES))
        self.num_queues = U64.unpack(self.front_end.ask(vhost_user.GET_QUEUE_NUM))[0]

    def close(self):
        self.front_end.close()
        self.memory.close()
        for pair in self.events:
            for fd in pair:
                os.close(fd)

    def negotiate(self, features):
        """Whether the device takes them."""
        self.features = features
        return self.front_end.tell(vhost_user.SET_FEATURES, U64.pack(features | PROTOCOL_FEATURES))

    def make_queue(self, number, size=64):
        packed = bool(self.features & RING_PACKED)
        self.events.append((os.eventfd(0), os.eventfd(0, os.EFD_NONBLOCK)))
        kick, call = self.events[-1]
        queue = (PackedQueue if packed else SplitQueue)(
            self.memory, size, lambda _queue: os.eventfd_write(kick, 1), lambda: self.wait(call), bool(self.features & EVENT_IDX), number)
        tell = self.front_end.tell
        assert tell(vhost_user.SET_VRING_NUM, STATE.pack(number, size))
        assert tell(vhost_user.SET_VRING_BASE, STATE.pack(number, FIRST_PACKED if packed else 0))
        assert tell(vhost_user.SET_VRING_ADDR, ADDR.pack(number, 0, USER + queue.desc, USER + queue.device, USER + queue.driver, 0))
        assert tell(vhost_user.SET_VRING_CALL, U64.pack(number), [call])
        assert tell(vhost_user.SET_VRING_KICK, U64.pack(number), [kick])
        assert tell(vhost_user.SET_VRING_ENABLE, STATE.pack(number, 1))
        return queue

    def start(self, features=VERSION_1, size=64):
        assert self.negotiate(features)
        assert self.front_end.tell(vhost_user.SET_MEM_TABLE, table(MEMORY_LEN), [self.memory.fd])
        self.queues = [self.make_queue(number, size) for number in range(self.num_queues)]
        return self.queues

    @staticmethod
    def wait(call):
        assert select.select([call], [], [], PATIENCE_S)[0], "no interrupt"
        os.eventfd_read(call)

    def config(self, offset, size):
        payload = self.front_end.ask(vhost_user.GET_CONFIG, STATE.pack(offset, size) + bytes(4 + size))
        return int.from_bytes(payload[12:], "little")

# SPDX-License-Identifier: BSD-3-Clause
"""A device program and every message that carries descriptors, with each animal of the zoo on it."""
import contextlib
import os
import signal
import socket
import struct

import mpqemu
import pytest
import vfio_user
import zoo
from devicelab import wait_for
from server import EXERCISE, Server
from vfio_user import EVENTFD, MASK, NONE, TRIGGER, UNMASK

GONE = (mpqemu.Gone, EOFError, BrokenPipeError, ConnectionResetError)

# Payloads of messages that are whole but for the descriptors that they bring.
COMMANDS = {
    "VERSION": (vfio_user.VERSION, struct.pack("<HH", 0, 0)),
    "DMA_MAP": (vfio_user.DMA_MAP, vfio_user.MAP.pack(32, 3, 0, 0, zoo.LEN)),
    "DMA_UNMAP": (vfio_user.DMA_UNMAP, vfio_user.UNMAP.pack(24, 0, 0, zoo.LEN)),
    "GET_INFO": (vfio_user.GET_INFO, vfio_user.FOUR.pack(16, 0, 0, 0)),
    "GET_REGION_INFO": (vfio_user.GET_REGION_INFO, vfio_user.REGION_INFO.pack(32, 0, 0, 0, 0, 0)),
    "GET_REGION_IO_FDS": (vfio_user.GET_REGION_IO_FDS, vfio_user.FOUR.pack(16, 0, 0, 0)),
    "GET_IRQ_INFO": (vfio_user.GET_IRQ_INFO, vfio_user.FOUR.pack(16, 0, 0, 0)),
    "REGION_READ": (vfio_user.REGION_READ, vfio_user.ACCESS.pack(0, 0, 4)),
    "REGION_WRITE": (vfio_user.REGION_WRITE, vfio_user.ACCESS.pack(0, 7, 4) + bytes(4)),
    "DEVICE_RESET": (vfio_user.DEVICE_RESET, b""),
    "REGION_WRITE_MULTI": (vfio_user.REGION_WRITE_MULTI, struct.pack("<QQIIQ", 1, 0x1C, 0, 4, 0)),
    "DEVICE_FEATURE": (16, struct.pack("<II", 8, 0)),
    "MIG_DATA_READ": (17, struct.pack("<II", 8, 0)),
    "MIG_DATA_WRITE": (18, struct.pack("<II", 8, 0)),
    "nothing": (99, b""),
}
IRQS = {
    "INTx signalled": (vfio_user.INTX, TRIGGER),
    "INTx masked": (vfio_user.INTX, MASK),
    "INTx unmasked": (vfio_user.INTX, UNMASK),
    "MSI-X": (vfio_user.MSIX, TRIGGER),
    "error": (vfio_user.ERR, TRIGGER),
    "request": (vfio_user.REQ, TRIGGER),
}


def answered(client):
    """The reply, if it was not the end of the connection."""
    with contextlib.suppress(*GONE):
        return client.receive()
    return None


@pytest.fixture
def client(stopped):
    """client(device): a context with one that has negotiated; its `offer(animal, ...)` sends a message that the device
    alone has the animal of."""

    @contextlib.contextmanager
    def connect(device):
        made = vfio_user.Client.connect(device.server.path)
        made.negotiate()

        def offer(animals, command, payload):
            with stopped(device.process):
                made.send(command, payload, [animal.fd for animal in animals])
                for animal in animals:
                    animal.let_go()
                watch = zoo.Stopwatch(device.process.pid)
            reply = answered(made)
            made.waited_s = watch.waited_s()
            return reply

        made.offer = offer
        with contextlib.closing(made):
            yield made

    return connect


def test_vfio_user_messages(device, animals, client, kind):
    disk, all_of_them = device("vfio-user"), []

    def offer(number, payload):
        with client(disk) as vmm:
            all_of_them.append(animals())
            vmm.offer(all_of_them[-1:], number, payload)
            waited_s = vmm.waited_s
        with client(disk) as vmm:
            assert vmm.device_info()[2] == 9
        return waited_s

    for number, payload in COMMANDS.values():
        zoo.at_once(lambda number=number, payload=payload: offer(number, payload))
    disk.end(kind, all_of_them)


def test_vfio_user_interrupts(device, animals, client, kind):
    disk, all_of_them = device("vfio-user"), []
    is_event = kind in (zoo.full_eventfd, zoo.semaphore_eventfd)

    def offer(index, action):
        with client(disk) as vmm:
            all_of_them.append(animals())
            payload = vfio_user.IRQ_SET.pack(20, EVENTFD | action, index, 0, 1)
            reply = vmm.offer(all_of_them[-1:], vfio_user.SET_IRQS, payload)
            waited_s = vmm.waited_s
            assert bool(reply.flags & vfio_user.ERROR) != is_event
            watch = zoo.Stopwatch(disk.process.pid)
            if is_event and action == TRIGGER:
                vmm.set_irqs(index, NONE | TRIGGER, 0, 1)
            assert vmm.device_info()[2] == 9
            waited_s = max(waited_s, watch.waited_s())
            wait_for(disk.process, disk.is_asleep, "it spins")
        return waited_s

    for index, action in IRQS.values():
        zoo.at_once(lambda index=index, action=action: offer(index, action))
    disk.end(kind, all_of_them)


def test_an_interrupt_that_unmasks_itself(device, client, stopped):
    """Each signal would be followed by the next."""
    for order in ((TRIGGER, UNMASK), (UNMASK, TRIGGER)):
        event = os.eventfd(0)
        disk = device("vfio-user")
        with client(disk) as vmm:
            vmm.set_irqs(vfio_user.INTX, EVENTFD | order[0], 0, 1, fds=[event])
            with pytest.raises(vfio_user.ServerError):
                vmm.set_irqs(vfio_user.INTX, EVENTFD | order[1], 0, 1, fds=[event])
            assert vmm.device_info()[2] == 9
        os.close(event)
        disk.end(None, [])


@pytest.mark.parametrize("dialect", mpqemu.DIALECTS, ids=str)
def test_mpqemu_messages(device, animals, stopped, dialect, kind):
    disk, all_of_them = device("mpqemu"), []

    def offer(data_of, count, *others):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(disk.server.path))
        with mpqemu.Proxy(sock, dialect) as proxy, contextlib.suppress(*GONE):
            proxy.send(proxy.sysmem())
            proxy.config_read(0, 4)
            offered = [animals() for _ in range(count)]
            all_of_them.extend(offered)
            with stopped(disk.process):
                proxy.send(data_of(proxy), [*(animal.fd for animal in offered), *others])
                for animal in offered:
                    animal.let_go()
                watch = zoo.Stopwatch(disk.process.pid)
            with contextlib.suppress(*GONE):
                proxy.config_read(0, 4)
            return watch.waited_s()
        raise AssertionError("the device has ended the connection before an animal came")

    event = os.eventfd(0)
    for name in dialect.numbers:
        zoo.at_once(lambda name=name: offer(lambda proxy: proxy.message(name), 1))
    zoo.at_once(lambda: offer(lambda proxy: proxy.sysmem((0, zoo.LEN, 0)), 1))
    zoo.at_once(lambda: offer(lambda proxy: proxy.message("SET_IRQFD"), 1, event))
    zoo.at_once(lambda: offer(lambda proxy: proxy.message("SET_IRQFD"), 2))
    os.close(event)
    disk.end(kind, all_of_them)


def test_descriptors_beyond_any_limit(device, animals, client, kind):
    """As many as a message can carry, and some that nobody ever receives."""
    disk, all_of_them = device("vfio-user"), [animals()]
    with client(disk) as vmm:
        vmm.offer(all_of_them * 253, *COMMANDS["GET_INFO"])
    unheard = animals()
    all_of_them.append(unheard)
    with client(disk) as vmm:
        os.kill(disk.process.pid, signal.SIGSTOP)
        vmm.send(*COMMANDS["nothing"])  # which ends the connection, with what is behind it
        vmm.send(*COMMANDS["GET_INFO"], [unheard.fd])
        waiting = socket.socket(socket.AF_UNIX)
        waiting.connect(str(disk.server.path))
        unaccepted = animals()
        all_of_them.append(unaccepted)
        vfio_user.Client(waiting).send(*COMMANDS["GET_INFO"], [unaccepted.fd])
        unheard.let_go()
        unaccepted.let_go()
        waiting.close()
        os.kill(disk.process.pid, signal.SIGCONT)
        answered(vmm)
    disk.end(kind, all_of_them)


@pytest.mark.parametrize("make_memory", [zoo.huge_pages, zoo.unsealed_memory], ids=lambda kind: kind.__name__)
def test_memory_that_is_cut(tmp_path, make_memory):
    """The device reads where nothing is any more: its VMM is dropped, and it serves the next."""
    try:
        animal = zoo.make(make_memory)
    except zoo.Missing as missing:
        pytest.skip(str(missing))
    server = Server(tmp_path, EXERCISE)
    vmm = server.client()
    vmm.write(vfio_user.CONFIG, 4, struct.pack("<H", 4))
    vmm.map(0, zoo.LEN if make_memory is zoo.unsealed_memory else zoo.HUGE, [animal.fd])
    os.ftruncate(animal.fd, 0)
    vmm.write(0, 8, struct.pack("<qq", 4096, 16))
    vmm.send(vfio_user.REGION_WRITE, vfio_user.ACCESS.pack(0, 0, 8) + struct.pack("<q", 1))
    while answered(vmm):
        pass
    assert server.client().device_info()[2] == 9
    assert "truncated its memory" in server.messages()
    animal.close()
    server.end()

# SPDX-License-Identifier: BSD-3-Clause
"""VMMs of test_save.py, which end with SIGUSR1. Each is a script of Python under outboard run.

The first one's guest uses a device and is saved; the second one's guest is the same one, with the same memory, and goes on."""
import json
import pathlib
import signal
import socket
import sys

import driver
import mpqemu
import vfio_user

PAGES = 64


def wait_for_signal(folder, name):
    """Says that the guest stands still, and waits until the test lets it go on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    (pathlib.Path(folder) / name).touch()
    signal.sigwait({signal.SIGUSR1})


def contents(page):
    return bytes([page]) * driver.PAGE


def new_machine(fd):
    machine = driver.Machine(mpqemu.Proxy(socket.socket(fileno=int(fd))))
    machine.map([(0, driver.MEMORY_LEN, 0)])
    machine.proxy.send(machine.proxy.message("SET_IRQFD"), [machine.irq, machine.resample])
    return machine


def disk_before(fd, folder):
    """Commands are in flight when the device is saved: their completions are found by the next one's guest."""
    machine = new_machine(fd)
    machine.place()
    queue = driver.Controller(machine).create_queue(entries=PAGES * 2)
    buffers = machine.pages(PAGES)
    for page in range(PAGES):
        machine.write(buffers + page * driver.PAGE, contents(page))
        queue.put(1, 1, buffers + page * driver.PAGE, 0, d10=page * 8, d12=7)
    queue.ring()
    wait_for_signal(folder, "first")
    (pathlib.Path(folder) / "memory").write_bytes(machine.memory)
    fields = ("number", "entries", "sq", "cq", "tail", "head", "phase", "next_id", "submitted", "completed")
    (pathlib.Path(folder) / "guest").write_text(json.dumps({name: getattr(queue, name) for name in fields} | {"free": machine.free}))


def disk_after(fd, folder):
    machine = new_machine(fd)
    guest = json.loads((pathlib.Path(folder) / "guest").read_text())
    machine.memory[:] = (pathlib.Path(folder) / "memory").read_bytes()
    machine.free = guest.pop("free")
    wait_for_signal(folder, "second")
    queue = driver.Queue.__new__(driver.Queue)
    queue.__dict__.update(guest, machine=machine, early={})
    while queue.completed < queue.submitted:
        queue.take()
    assert all(completion.status == driver.SUCCESS for completion in queue.early.values()) and len(queue.early) == PAGES
    queue.early.clear()
    page = machine.pages(1)
    for number in range(PAGES):
        assert queue.run(2, 1, page, 0, d10=number * 8, d12=7).status == driver.SUCCESS
        assert machine.read(page, driver.PAGE) == contents(number)
    print("verified")


DOOR = 0xFE000000
DATA = 0xFD000000


def new_proxy(fd):
    proxy = mpqemu.Proxy(socket.socket(fileno=int(fd)))
    proxy.send(proxy.sysmem((0, 1 << 20, 0)), [mpqemu.memory_file(1 << 20)])
    return proxy


def place_door(proxy):
    proxy.config_write(0x10, 4, DOOR)
    proxy.config_write(0x14, 4, DATA)
    proxy.config_write(4, 2, 6)


def door_before(fd, folder):
    proxy = new_proxy(fd)
    place_door(proxy)
    for offset in range(0, 4096, 8):
        proxy.bar_write(DATA + offset, 8, offset * 0x0101)
    wait_for_signal(folder, "first")


def door_after(fd, folder):
    proxy = new_proxy(fd)
    wait_for_signal(folder, "second")
    for offset in range(0, 4096, 8):
        assert proxy.bar_read(DATA + offset, 8) == offset * 0x0101
    assert proxy.config_read(4, 2) == 6
    print("verified")


def door_after_over_vfio_user(path, folder):
    """Its restored state does not depend on the wire."""
    client = vfio_user.Client.connect(path)
    client.negotiate()
    wait_for_signal(folder, "second")
    assert client.read(1, 0, 4096) == b"".join((offset * 0x0101).to_bytes(8, "little") for offset in range(0, 4096, 8))
    assert client.read(vfio_user.CONFIG, 4, 2) == b"\x06\x00"
    print("verified")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:4])

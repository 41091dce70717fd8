# SPDX-License-Identifier: BSD-3-Clause
"""Images that stop answering: everything but their own I/O goes on, within a bound."""
import errno
import os
import signal
import socket
import struct
import time

import hung_fs
import pytest
import vfio_user
from driver import (
    CC, CFS, CSTS, ENABLE, IMAGE_LEN, INVALID_OPCODE, MEMORY_LEN, PAGE, RDY, SUCCESS, Controller, Disk, pattern,
)  # fmt: skip
from migration import DEVICE_STATE, FEATURE, RUNNING, SET, STOP, go, state

READ, WRITE, FLUSH, ABORT, IDENTIFY, ZEROES = 0x02, 0x01, 0x00, 0x08, 0x06, 0x08
INTERNAL = 0x006
SHUTDOWN = 1 << 14

# Longer than any of the bounds, shorter than the 10 s after which the harness gives a process up.
BOUND_S = 8
SHORT = "--timeout-ms=400"


@pytest.fixture
def bounded():
    """Fails a test that takes longer than the bounds that the manual tells, several times over."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 3 * BOUND_S


class HungNbd:
    """An NBD server that is stopped by a signal, as one on a machine that hangs would be."""

    def __init__(self, serve):
        self.serve = serve
        self.option, self.process = serve()

    def hang(self):
        self.process.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)  # all threads have stopped

    def go_on(self):
        self.process.signal(signal.SIGCONT)

    def replace(self):
        """What its operator does; nbdkit of Debian 12 does not always survive that its client has given it up."""
        self.process.kill()
        self.serve()


@pytest.fixture
def hung_nbd(nbdkit, image):
    return HungNbd(lambda: nbdkit("file", image))


@pytest.fixture
def hung_file(tmp_path):
    """Ask for it behind what starts processes: it must go on before they can be ended."""
    reason = hung_fs.why_not()
    if reason:
        pytest.skip(f"a file system that hangs can't be made here: {reason}")
    folder = tmp_path / "mount"
    folder.mkdir()
    made = hung_fs.HungFs(folder, pattern(0, IMAGE_LEN))
    made.option = made.path
    yield made
    made.close()


@pytest.fixture(params=["nbd", "file"])
def hung(request):
    """An image that hang() stops and go_on() lets go on; option: its name."""
    return request.getfixturevalue(f"hung_{request.param}")


def start_io(nvme, hung, count=8):
    """Reads and writes that are with the image when it hangs."""
    disk = Disk(nvme.create_queue())
    assert disk.read(0, PAGE) == pattern(0, PAGE)
    assert disk.flush() == SUCCESS
    hung.hang()
    address = disk.machine.pages(2 * count)
    return disk, [disk.start((READ, WRITE)[i % 2], 64 * i, address + 2 * PAGE * i, 2 * PAGE) for i in range(count)]


def test_registers_and_admin_commands_go_on(controller, hung, bounded):
    nvme = controller(hung.option)
    disk, commands = start_io(nvme, hung)
    for _ in range(3):
        assert nvme.identify(1) and nvme.identify(0, 1)
        assert nvme.machine.register(CSTS) == RDY
    assert nvme.admin.run(0x7F).status == INVALID_OPCODE
    other = nvme.create_queue(2)
    assert nvme.delete_sq(other.number) == nvme.delete_cq(other.number) == SUCCESS
    assert nvme.admin.run(ABORT, d10=commands[0] << 16 | 1).result == 1
    hung.go_on()
    assert {disk.queue.wait(command).status for command in commands} == {SUCCESS}


def test_the_end_by_sigterm(controller, hung_nbd, bounded):
    nvme = controller(hung_nbd.option)
    start_io(nvme, hung_nbd)
    assert nvme.machine.process.terminate() == 0


def test_the_vmm_goes(controller, hung_nbd, bounded):
    nvme = controller(hung_nbd.option)
    start_io(nvme, hung_nbd)
    nvme.machine.proxy.sock.shutdown(socket.SHUT_RDWR)
    assert nvme.machine.process.wait() == 0


def test_the_end_by_sigterm_with_a_file_that_hangs(controller, hung_file, bounded):
    """The kernel keeps a process whose I/O it can't call back, but the VMM is let go."""
    nvme = controller(hung_file.option)
    start_io(nvme, hung_file)
    sock, process = nvme.machine.proxy.sock, nvme.machine.process
    process.signal(signal.SIGTERM)
    sock.settimeout(BOUND_S)
    assert sock.recv(1) == b""
    hung_file.go_on()
    assert process.wait() == 0


def test_the_vmm_goes_while_a_file_hangs(controller, hung_file, bounded):
    nvme = controller(hung_file.option)
    start_io(nvme, hung_file)
    nvme.machine.proxy.sock.shutdown(socket.SHUT_RDWR)
    log = nvme.machine.process.log
    while "the peer has gone" not in log.read_text():
        assert nvme.machine.process.running
    hung_file.go_on()
    assert nvme.machine.process.wait() == 0


def test_a_server_that_hangs_is_given_up(controller, hung_nbd, bounded):
    nvme = controller(hung_nbd.option, options=[SHORT])
    disk, commands = start_io(nvme, hung_nbd)
    assert {disk.queue.wait(command).status for command in commands} == {INTERNAL}
    assert "has not answered for 400 ms" in nvme.machine.process.log.read_text()
    hung_nbd.replace()
    while disk.run(READ, 0, disk.machine.pages(1), PAGE) != SUCCESS:
        pass  # until the connection has been made again
    assert disk.read(0, 2 * PAGE) == pattern(0, 2 * PAGE)


def test_disable_with_a_server_that_hangs(controller, hung_nbd, bounded):
    nvme = controller(hung_nbd.option, options=[SHORT])
    start_io(nvme, hung_nbd)
    nvme.machine.set_register(CC, 0)
    nvme.wait_status(RDY, 0)


def test_shutdown_with_a_server_that_hangs(controller, hung_nbd, bounded):
    nvme = controller(hung_nbd.option, options=[SHORT])
    start_io(nvme, hung_nbd)
    nvme.machine.set_register(CC, ENABLE | SHUTDOWN)
    nvme.wait_status(0xC, 0x8)


def test_reset_with_a_server_that_hangs(controller, hung_nbd, bounded):
    nvme = controller(hung_nbd.option)
    start_io(nvme, hung_nbd)
    machine = nvme.machine
    machine.proxy.ask(machine.proxy.reset())
    machine.place()
    assert machine.register(CSTS) == 0
    hung_nbd.replace()
    nvme = Controller(machine)
    disk = Disk(nvme.create_queue())
    assert disk.read(0, PAGE) == pattern(0, PAGE)


def test_memory_is_taken_back_while_a_server_hangs(controller, hung_nbd, bounded):
    nvme = controller(hung_nbd.option)
    start_io(nvme, hung_nbd)
    nvme.machine.map([(0, MEMORY_LEN // 2, 0)])
    assert nvme.machine.register(CSTS) & RDY


def test_disable_while_the_kernel_has_the_memory(controller, hung_file, bounded):
    """RDY stays up as long as the guest's memory may be written; CFS tells the guest not to wait for it."""
    nvme = controller(hung_file.option, options=[SHORT])
    machine = nvme.machine
    start_io(nvme, hung_file)
    machine.set_register(CC, 0)
    assert nvme.wait_status(CFS, CFS) & RDY
    assert "commands stay outstanding" in machine.process.log.read_text()
    hung_file.go_on()
    nvme.wait_status(RDY | CFS, 0)
    nvme.admin = nvme.enable()
    assert Disk(nvme.create_queue()).read(8192, PAGE) == pattern(8192 * 512, PAGE)


def test_reset_while_the_kernel_has_the_memory(controller, hung_file, bounded):
    nvme = controller(hung_file.option, options=[SHORT])
    machine = nvme.machine
    disk, _ = start_io(nvme, hung_file)
    machine.proxy.ask(machine.proxy.reset())
    machine.place()
    assert machine.register(CSTS) == RDY | CFS
    machine.set_register(CC, ENABLE)
    assert machine.register(CSTS) == RDY | CFS
    machine.set_register(CC, 0)
    completions = machine.read(disk.queue.cq, 64 * 16)
    hung_file.go_on()
    nvme.wait_status(RDY | CFS, 0)
    assert machine.read(disk.queue.cq, 64 * 16) == completions, "nothing is completed behind a reset"
    nvme.admin = nvme.enable()
    assert Disk(nvme.create_queue()).read(0, 512) == pattern(0, 512)


def test_commands_of_a_file_that_hangs_end_when_it_goes_on(controller, hung_file, bounded):
    nvme = controller(hung_file.option, options=[SHORT])
    disk, commands = start_io(nvme, hung_file)
    page = nvme.machine.pages(1)
    while "has not answered" not in nvme.machine.process.log.read_text():
        assert nvme.admin.run(IDENTIFY, prp1=page, d10=1).status == SUCCESS
        assert not disk.queue.peek()
    hung_file.go_on()
    assert {disk.queue.wait(command).status for command in commands} == {SUCCESS}
    while "answers again" not in nvme.machine.process.log.read_text():
        nvme.machine.register(CSTS)


def test_a_controller_that_can_not_stop_says_so_and_runs_on(guest_of, hung_file, bounded):
    machine = guest_of(f"--image={hung_file.option}", SHORT)
    disk, commands = start_io(Controller(machine), hung_file)
    with pytest.raises(vfio_user.ServerError) as caught:
        machine.client.ask(FEATURE, struct.pack("<IIII", 16, SET | DEVICE_STATE, STOP, 0))
    assert caught.value.errno == errno.ETIMEDOUT
    assert "does not answer" in machine.process.log.read_text()
    assert state(machine.client) == RUNNING
    hung_file.go_on()
    assert {disk.queue.wait(command).status for command in commands} == {SUCCESS}
    go(machine.client, STOP)


def test_a_controller_stops_though_a_server_hangs(guest_of, hung_nbd, bounded):
    """What the server was asked for is given up, parked, and done when the controller runs again."""
    machine = guest_of(f"--image={hung_nbd.option}", "--timeout-ms=1000")
    disk, commands = start_io(Controller(machine), hung_nbd)
    go(machine.client, STOP)
    assert not disk.queue.peek()
    hung_nbd.replace()
    go(machine.client, RUNNING)
    assert {disk.queue.wait(command).status for command in commands} == {SUCCESS}


def test_unmapping_waits_until_the_kernel_has_let_go(guest_of, hung_file, bounded):
    machine = guest_of(f"--image={hung_file.option}", SHORT)
    start_io(Controller(machine), hung_file)
    client = machine.client
    id = client.send(vfio_user.DMA_UNMAP, vfio_user.UNMAP.pack(24, 0, 0, MEMORY_LEN))
    client.socket.settimeout(1)
    with pytest.raises(TimeoutError):
        client.receive()
    client.socket.settimeout(vfio_user.PATIENCE_S)
    hung_file.go_on()
    assert client.receive().id == id


def test_zeroes_of_a_file_system_that_has_none_are_written(controller, hung_file, bounded):
    """All are asked for before the first answer says that there is no such thing."""
    disk = Disk(controller(hung_file.option).create_queue())
    hung_file.hang()
    disk.start(READ, 0, disk.machine.pages(1), 512)
    commands = [disk.queue.submit(ZEROES, 1, d10=64 * i, d12=63) for i in range(16)]
    hung_file.go_on()
    assert {disk.queue.wait(command).status for command in commands} == {SUCCESS}
    assert disk.read(0, 512 << 10) == bytes(512 << 10)


@pytest.mark.parametrize("end", ["reset", "sigterm"])
def test_nothing_waits_for_all_that_a_slow_file_has_to_do(controller, hung_file, bounded, end):
    """What completes meanwhile does not renew the wait. All of it would take a minute."""
    nvme = controller(hung_file.option)
    machine, disk = nvme.machine, Disk(nvme.create_queue())
    hung_file.slow_down(0.125)
    for i in range(60):
        disk.queue.submit(ZEROES, 1, d10=2048 * (i % 8), d12=2047)
    machine.register(0)
    if end == "reset":
        machine.proxy.ask(machine.proxy.reset())
        machine.place()
        assert machine.register(CSTS) in (0, RDY | CFS)
    else:
        machine.process.signal(signal.SIGTERM)
        machine.proxy.sock.settimeout(BOUND_S)
        assert machine.proxy.sock.recv(1) == b""
    assert hung_file.writes < 60 * 8 // 2
    hung_file.hurry.set()

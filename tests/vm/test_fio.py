# SPDX-License-Identifier: BSD-3-Clause
"""fio writes the NVMe disk of a guest under stock QEMU and verifies it, while the device's process is killed."""
import importlib.util
import os
import pathlib
import signal

import pytest
from guestlab import initramfs
from guestlab.machine import OVERRIDE

# Another folder has a test_restart.py too.
_spec = importlib.util.spec_from_file_location("vm_restart", pathlib.Path(__file__).with_name("test_restart.py"))
restart = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(restart)
vm = restart.vm

FIO = "/usr/bin/fio"
# Each pass writes every block of the disk in an order of its own, then reads and verifies every block. Between the two
# are reads that verify: a block that a dead process's request changed behind that is found as well.
PASS = (
    f"{FIO} --name=storm --filename=/dev/nvme0n1 --size=2m --bs=4k --rw=randwrite --direct=1 --ioengine=libaio"
    " --iodepth=8 --randrepeat=0 --verify=crc32c --verify_fatal=1 --verify_backlog=64 --thread"
)
COMMANDS = f"""
until [ -b /dev/nvme0n1 ]; do usleep 10000; done
exec 3<&0
(read line <&3; : >/stop) &
passes=0
echo begins
while ! [ -e /stop ]; do
    {PASS} >/fio.log 2>&1 || {{ cat /fio.log; echo fio failed; break; }}
    ! grep -iE 'error|verify:|bad ' /fio.log | grep -v 'err= 0' || {{ echo fio failed; break; }}
    passes=$((passes + 1))
    echo "progress: pass $passes"
done
echo "passes $passes"
"""


def boot(vm, folder, settings):
    """A machine whose guest runs fio."""
    image = folder / "disk.img"
    with open(image, "wb") as file:
        file.truncate(2 << 20)
    # A death that is noticed need not be waited for so long.
    machine = vm(None, restart.NVME, f'{settings}\nimage = "{image}"', command=COMMANDS, modules=["nvme"],
                 files=initramfs.with_libraries(FIO), memory="512M", append="nvme_core.io_timeout=5")  # fmt: skip
    machine.read_until("begins")
    machine.read_until("progress")
    return machine


def run(vm, folder, kills):
    machine = boot(vm, folder, restart.RESTARTS)
    machine.storm(kills, machine.wait_for_io)
    machine.wait_for_progress()  # a whole pass behind the last death
    machine.stop()
    passes = int(machine.read_until("passes").split()[1])
    assert "fio failed\n" not in machine.console
    machine.end()
    assert len(machine.killed) == kills
    print(f"fio --verify: {passes} passes of 2 MiB, each written and verified, through {kills} deaths: no error, no time-out, no reset")


def check_that_a_death_is_seen(vm, folder):
    """What the checks of run() would say of a disk that does not continue."""
    machine = boot(vm, folder, 'on-death = "fail"')
    os.kill(machine.device(), signal.SIGKILL)
    machine.read_until("fio failed")
    machine.read_until("COMPLAINT")


@pytest.mark.irqfd
def test_fio_finds_no_error_while_the_disk_is_killed(vm, tmp_path):
    run(vm, tmp_path, 20)


@pytest.mark.irqfd
@pytest.mark.long
def test_fio_finds_no_error_through_500_kills(vm, tmp_path):
    run(vm, tmp_path, 500)


@pytest.mark.irqfd
@pytest.mark.long
def test_fio_sees_a_death_without_a_vault(vm, tmp_path):
    check_that_a_death_is_seen(vm, tmp_path)


if OVERRIDE in os.environ:  # a QEMU of 10.1 or later, whose interrupts need no KVM

    def test_fio_over_vfio_user(vm, tmp_path):
        run(vm, tmp_path, 20)

    @pytest.mark.long
    def test_fio_over_vfio_user_through_500_kills(vm, tmp_path):
        run(vm, tmp_path, 500)

    def test_fio_over_vfio_user_sees_a_death_without_a_vault(vm, tmp_path):
        check_that_a_death_is_seen(vm, tmp_path)

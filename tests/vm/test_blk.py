# SPDX-License-Identifier: BSD-3-Clause
"""A disk of outboard-blk's behind a stock QEMU's vhost-user-blk-pci, with a stock kernel and driver."""
import re
import signal



import pytest
from blklab import PATIENCE_S, Disk, complaints, guest_options
from nvmelab import MIB, assert_sound, file_of

FILES = 4
WRITE = f"""
    cd /mnt && for file in $(seq {FILES}); do
        dd if=/dev/urandom of=$file bs=1M count=4 2>/dev/null || exit
    done
    sha256sum [0-9]* >sums && sync && cd /
"""
VERIFY = "cd /mnt && sha256sum -c sums && cd /"
MAKE = "/sbin/mke2fs -t ext4 -q /dev/vda && mount /dev/vda /mnt"


@pytest.fixture
def disk(spawn, tmp_path, make_image):
    """disk(option..., trace=): a blklab.Disk whose first process runs."""

    def start(*options, mib=128, **more):
        return Disk(spawn, tmp_path, make_image(mib=mib), *options, **more).start()

    return start


def test_ext4_survives_a_reboot(boot, disk):
    """Made, written, and verified after a reset of the machine with the file system mounted."""
    made = disk()
    guest = boot( **guest_options(made.arguments()))
    assert guest.read("/sys/block/vda/serial") == "BLK"
    guest.run(MAKE + WRITE, PATIENCE_S)
    guest.reboot()
    guest.run("mount /dev/vda /mnt\n" + VERIFY, PATIENCE_S)
    guest.run("umount /mnt")
    assert complaints(guest) == ""
    assert guest.shutdown() == 0
    assert_sound(made.image)
    assert made.process.running  # it waits for the next VMM


def test_one_guest_after_another(boot, disk):
    """A VMM that is killed, and then another one at the same process."""
    made = disk()
    for number in range(3):
        guest = boot(f"guest-{number}", **guest_options(made.arguments()))
        guest.run(f"[ {number} = 0 ] && /sbin/mke2fs -t ext4 -q /dev/vda; mount /dev/vda /mnt && ls /mnt", PATIENCE_S)
        guest.run(f"[ {number} = 0 ] || grep -q {number - 1} /mnt/number; echo {number} >/mnt/number && sync", PATIENCE_S)
        assert complaints(guest) == ""
        guest.kill()
    assert made.process.running


def test_each_processor_has_a_queue(boot, disk):
    made = disk("--queues=2")
    guest = boot(cpus=2, **guest_options(made.arguments("num-queues=2")))
    assert guest.run("ls /sys/block/vda/mq").split() == ["0", "1"]
    guest.run(MAKE)
    for processor in (0, 1):
        guest.run(f"taskset {1 << processor} sh -c 'dd if=/dev/urandom of=/mnt/{processor} bs=64k count=64 && sync'")
    told = guest.run("grep virtio0-req /proc/interrupts").splitlines()
    assert len(told) == 2 and all(sum(map(int, line.split()[1:3])) > 0 for line in told)
    assert complaints(guest) == ""
    assert guest.shutdown() == 0
    assert_sound(made.image)


def test_the_guest_discards_zeroes_switches_the_cache_and_sees_a_new_size(boot, disk):
    made = disk(trace=True)
    guest = boot(**guest_options(made.arguments(), files={}))
    queue = "/sys/block/vda/queue"
    assert int(guest.read(f"{queue}/discard_max_bytes")) > 0
    assert int(guest.read(f"{queue}/write_zeroes_max_bytes")) > 0
    assert guest.read(f"{queue}/physical_block_size") == "4096"
    guest.run("dd if=/dev/urandom of=/dev/vda bs=1M count=16 oflag=direct 2>/dev/null")
    before = made.image.stat().st_blocks
    guest.run("blkdiscard -l 8M /dev/vda")
    assert made.image.stat().st_blocks <= before - 8 * MIB // 512
    assert made.image.read_bytes()[: 8 * MIB].count(0) == 8 * MIB

    cache = "/sys/block/vda/cache_type"
    assert guest.read(cache) == "write back"
    guest.run(f"echo 'write through' >{cache}; dd if=/dev/zero of=/dev/vda bs=4k count=1 oflag=direct 2>/dev/null")
    assert guest.read(cache) == "write through"
    assert "SET_CONFIG" in made.trace()

    with open(made.image, "r+b") as file:
        file.truncate(160 * MIB)
    guest.run(f"until [ $(cat /sys/block/vda/size) = {160 * MIB // 512} ]; do usleep 10000; done")
    assert complaints(guest) == ""
    assert guest.shutdown() == 0


@pytest.mark.parametrize("packed", ["off", "on"])
def test_a_killed_process_is_replaced_and_no_request_is_lost(boot, disk, packed):
    """QEMU connects again and hands the successor the requests that were in flight; the guest waits meanwhile."""
    made = disk(trace=True)
    guest = boot(**guest_options(made.arguments(f"packed={packed}", chardev=["reconnect=1"])))
    assert guest.read("/sys/bus/virtio/devices/virtio0/features")[34] == str(int(packed == "on"))
    guest.run(MAKE)
    guest.run("(" + WRITE + ") >/tmp/log 2>&1; echo $? >/tmp/status &")
    for _ in range(3):
        guest.run("set -- $(cat /sys/block/vda/stat); from=$5; until set -- $(cat /sys/block/vda/stat);"
                  " [ $5 -gt $((from + 20)) ] || [ -f /tmp/status ]; do :; done")  # fmt: skip
        while "got SET_VRING_ENABLE" not in made.trace():
            pass  # QEMU 7.2 never connects again after a back end that dies while it is being asked for its features
        made.process.signal(signal.SIGKILL)
        made.process.wait()
        made.start()
    guest.run("until [ -s /tmp/status ]; do usleep 10000; done; cat /tmp/log; [ $(cat /tmp/status) = 0 ]", PATIENCE_S)
    guest.run("echo 3 >/proc/sys/vm/drop_caches\n" + VERIFY, PATIENCE_S)
    guest.run("umount /mnt")
    assert complaints(guest) == ""
    assert guest.shutdown() == 0
    assert_sound(made.image)


def test_behind_an_iommu_of_the_guest(boot, disk):
    """Addresses are IOVAs: each page is asked for, and invalidated when the driver has done with it.

    iommu.strict: QEMU 7.2 tells back ends of invalidations page by page only, and not of a whole domain's.
    """
    made = disk(trace=True)
    arguments = made.arguments("iommu_platform=on", "disable-legacy=on")
    guest = boot(**guest_options(["-device", "intel-iommu"], arguments, flavour="full",
                                 append="intel_iommu=on iommu=nopt iommu.strict=1"))  # fmt: skip
    guest.run(MAKE + WRITE, PATIENCE_S)
    guest.run("umount /mnt; mount /dev/vda /mnt\n" + VERIFY + "; umount /mnt", PATIENCE_S)
    assert guest.run("cat /sys/kernel/iommu_groups/*/type | sort -u") == "DMA\n"
    assert guest.shutdown() == 0
    assert_sound(made.image)
    kinds = re.findall(r"IOTLB_MSG .* type (\d)", made.trace())
    assert kinds.count("2") > 100 and kinds.count("3") > 100
    assert made.process.log_tail().count("did not translate") == 0



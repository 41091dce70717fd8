# SPDX-License-Identifier: BSD-3-Clause
"""A guest moves between two stock QEMUs while its disk, outboard-blk over vhost-user, is busy.

Each QEMU has a device process of its own. Both have the same NBD export, which two processes may have at once.
"""
import contextlib
import shutil

import pytest
from blklab import PATIENCE_S, Disk, complaints, guest_options
from nvmelab import assert_sound

PAGE = 4096
SLOW = 96 << 20  # bytes a second: several rounds of copying

# QEMU 7.2 loses pages that TCG's processors have written, with a disk of its own too, but none in memory that is no
# multiple of 256 KiB, where it does not look for dirty pages in whole words of its bitmap.
MEMORY_MIB = 384 + 8 / 1024

# Reads have the device write into pages all over the memory; writes have it write rings and states.
LOAD = """
    /sbin/mke2fs -t ext4 -q /dev/vda && mount /dev/vda /mnt && mkdir /mnt/first && cd /mnt/first || exit
    for file in $(seq 8); do
        dd if=/dev/urandom of=$file bs=1M count=2 2>/dev/null || exit
    done
    sha256sum [0-9]* >sums && sync && cd /
    (
        round=0
        until [ -f /tmp/end ]; do
            echo 3 >/proc/sys/vm/drop_caches
            cd /mnt/first && sha256sum -c sums >/tmp/verified || { echo read >/tmp/failed; exit; }
            cp -r /mnt/first /mnt/copy-$((round % 2)) || { echo write >/tmp/failed; exit; }
            round=$((round + 1))
            echo $round >/tmp/round
        done
        sync
        touch /tmp/ended
    ) >/dev/null 2>&1 &
    until [ -s /tmp/round ]; do usleep 10000; done
"""


def differences(left, right):
    """Pages that differ between two guests' memory."""
    with contextlib.closing(left.memory()) as one, contextlib.closing(right.memory()) as other:
        found, number = [], 0
        while piece := one.read(1 << 20):
            against = other.read(1 << 20)
            if piece != against:
                found += [number + at // PAGE for at in range(0, len(piece), PAGE)
                          if piece[at : at + PAGE] != against[at : at + PAGE]]  # fmt: skip
            number += len(piece) // PAGE
    return found


@pytest.fixture
def export(spawn, tmp_path, make_image):
    """An NBD URI, and the file that it serves."""
    image, path = make_image(mib=128), tmp_path / "nbd"
    server = spawn([shutil.which("qemu-nbd"), "--persistent", "--shared=4", "-f", "raw", "-k", path, image], name="nbd")
    while not path.exists():
        assert server.running, server.log_tail()
    return f"nbd+unix:///?socket={path}", image


def test_a_guest_moves_while_its_disk_is_busy(boot, spawn, tmp_path, export):
    uri, image = export
    ends = [Disk(spawn, tmp_path, uri, name=name, trace=True).start() for name in ("there", "here")]
    options = [guest_options(end.arguments("num-queues=1"), memory_mib=MEMORY_MIB) for end in ends]
    for option in options:  # a device has the same place and name on both sides
        option["arguments"] = [word.replace("id=there", "id=disk").replace("id=here", "id=disk") for word in option["arguments"]]
    source = boot("source", **options[0])
    target = boot("target", incoming=True, **options[1])
    source.run(LOAD, PATIENCE_S)
    source.migrate_to(target, SLOW, PATIENCE_S)
    assert differences(source, target) == []
    source.kill()
    target.qmp.execute("cont")
    target.run("round=$(cat /tmp/round); until [ $(cat /tmp/round) -gt $((round + 1)) ] || [ -f /tmp/failed ]; do usleep 10000; done;"
               " touch /tmp/end; until [ -f /tmp/ended ] || [ -f /tmp/failed ]; do usleep 10000; done; [ ! -f /tmp/failed ]",
               PATIENCE_S)  # fmt: skip
    target.run("cd /mnt/first && echo 3 >/proc/sys/vm/drop_caches && sha256sum -c sums && cd / && umount /mnt", PATIENCE_S)
    assert complaints(target) == ""
    assert target.shutdown() == 0
    assert_sound(image)
    assert "SET_LOG_BASE" in ends[0].trace()

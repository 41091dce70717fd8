# SPDX-License-Identifier: BSD-3-Clause
"""outboard-rng, driven over each wire through the branches of the rings."""
import pytest
from guestlab import paths
from virtio_driver import EVENT_IDX, INDIRECT_DESC, NOTIFICATION_DATA, RING_PACKED, VERSION_1, WRITE

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-rng"


@pytest.fixture
def rng(attach, wire):
    return attach(wire, PROGRAM)


@pytest.mark.parametrize("packed", [0, RING_PACKED], ids=["split", "packed"])
@pytest.mark.parametrize("extra", [0, EVENT_IDX, INDIRECT_DESC | EVENT_IDX | NOTIFICATION_DATA], ids=["plain", "event", "all"])
def test_random_bytes_come(rng, packed, extra):
    """Three times around the ring, with chains of one to three descriptors, direct, indirect and mixed."""
    (queue,) = rng.start(VERSION_1 | packed | extra)
    seen = set()
    for turn in range(3 * queue.size):
        pieces = [(rng.memory.take(32), 32, WRITE) for _ in range(1 + turn % 3)]
        if extra & INDIRECT_DESC and turn % 2:
            token = queue.add(pieces[:1], tail=pieces[1:]) if len(pieces) > 1 else queue.add(pieces, indirect=True)
        else:
            token = queue.add(pieces)
        queue.kick()
        assert queue.wait() == (token, 32 * len(pieces))
        seen |= {rng.memory.read(address, 32) for address, _, _ in pieces}
    assert bytes(32) not in seen
    assert len(seen) == sum(1 + turn % 3 for turn in range(3 * queue.size)), "no bytes came twice"


def test_the_example_of_the_documentation_is_the_device():
    page = (paths.TREE / "docs/your-virtio-device.md").read_text()
    source = (paths.TREE / "devices/rng/main.c").read_text()
    assert page.split("```c\n")[1].split("```")[0] in source
    assert len(source.splitlines()) < 120

# SPDX-License-Identifier: BSD-3-Clause
"""Admin commands of outboard-nvme."""
import os
import struct
import uuid

import pytest
from driver import (
    ABORTED, CQ_INVALID, DOORBELLS, EVENT_LIMIT, IMAGE_LEN, INVALID_FIELD, INVALID_NAMESPACE, INVALID_OPCODE,
    LBA_RANGE, LOG_PAGE, MEMORY_LEN, NOT_SAVEABLE, PAGE, PRP_OFFSET, QUEUE_DELETION, QUEUE_ID, QUEUE_SIZE, SEQUENCE,
    SUCCESS, VECTOR, DATA_TRANSFER, Disk, Queue, pattern,
)  # fmt: skip

SET, GET, EVENT, ABORT, IDENTIFY, GET_LOG = 0x09, 0x0A, 0x0C, 0x08, 0x06, 0x02
QUEUES, CACHE, TEMPERATURE, EVENTS = 7, 6, 4, 0x0B
NOTICES = 1 << 8


@pytest.fixture
def nvme(controller, image):
    return controller(image)


def u16(data, at):
    return struct.unpack_from("<H", data, at)[0]


def u32(data, at):
    return struct.unpack_from("<I", data, at)[0]


def u64(data, at):
    return struct.unpack_from("<Q", data, at)[0]


@pytest.mark.parametrize("options, vendor", [((), 0x1AF4), (("--pci-id=1b36:10",), 0x1B36)], ids=["default", "--pci-id"])
def test_identify_has_the_vendor_of_configuration_space(controller, image, options, vendor):
    assert u16(controller(image, options=options).identify(1), 0) == vendor


def test_identify_controller(controller, image):
    data = controller(f"{image},serial=DISK-0001").identify(1)
    assert data[4:24] == b"DISK-0001".ljust(20)
    assert data[24:64].startswith(b"Outboard")
    assert u32(data, 80) == 0x00010400
    assert data[77] == 7 and data[111] == 1
    assert (data[512], data[513]) == (0x66, 0x44)
    assert u32(data, 516) == 1
    assert data[525] & 1
    assert data[768:].startswith(b"nqn.2014-08.org.nvmexpress:") and data[768 + 255] == 0


def test_identify_namespaces(controller, image, tmp_path):
    other = tmp_path / "other.img"
    other.write_bytes(bytes(PAGE * 3 + 512))
    nvme = controller(image, f"{other},block-size=4096,readonly,serial=other")
    assert u32(nvme.identify(1), 516) == 2
    first, second = nvme.identify(0, 1), nvme.identify(0, 2)
    assert u64(first, 0) == u64(first, 8) == IMAGE_LEN // 512
    assert first[99] == 0 and first[130] == 9
    assert u64(second, 0) == 3 and second[99] == 1 and second[130] == 12
    assert struct.unpack("<1024I", nvme.identify(2)) == (1, 2, *[0] * 1022)
    assert struct.unpack("<1024I", nvme.identify(2, 1)) == (2, *[0] * 1023)
    ids = []
    for nsid in (1, 2):
        data = nvme.identify(3, nsid)
        assert data[:2] == b"\x03\x10" and data[20:] == bytes(PAGE - 20)
        ids.append(uuid.UUID(bytes=data[4:20]))
    assert ids[0] != ids[1] and all(found.variant == uuid.RFC_4122 for found in ids)


def test_identify_of_the_command_set(controller, image, tmp_path):
    """What Linux asks from 5.15 on at each enabling; a driver takes the limits from there, and the error log stays as it is."""
    other = tmp_path / "other.img"
    other.write_bytes(bytes(PAGE))
    nvme = controller(image, f"{other},readonly")
    of_controller = nvme.identify(6)
    write_zeroes, ranges, blocks_of_range, blocks = struct.unpack_from("<xBxBIQ", of_controller)
    assert PAGE << write_zeroes == 65536 * 512
    assert (ranges, blocks_of_range, blocks) == (255, 2**32 - 1, 255 * (2**32 - 1))
    assert of_controller[0] == of_controller[2] == 0 and not any(of_controller[16:])
    for nsid, readonly in ((1, 0), (2, 1)):
        assert nvme.identify(5, nsid) == bytes(PAGE)
        assert nvme.identify(8, nsid) == bytes((0,) * 8 + (readonly,) + (0,) * 5 + (1,)).ljust(PAGE, b"\0")
    assert struct.unpack("<1024I", nvme.identify(7, 1)) == (2, *[0] * 1023)
    assert nvme.identify(0x1C) == bytes((1,)).ljust(PAGE, b"\0")
    assert u64(nvme.log_page(2, 512), 176) == 0


def test_limits_of_write_zeroes_and_dataset_hold(nvme):
    """The most of each that Identify promises is carried out in one command."""
    write_zeroes, ranges = struct.unpack_from("<xBxB", nvme.identify(6))
    blocks = IMAGE_LEN // 512
    assert blocks <= PAGE << write_zeroes
    disk = Disk(nvme.create_queue())
    assert disk.queue.run(0x08, 1, d12=blocks - 1).status == SUCCESS
    assert disk.read(0, PAGE) == disk.read(blocks - 8, PAGE) == bytes(PAGE)
    page = nvme.machine.pages(1)
    nvme.machine.write(page, b"".join(struct.pack("<IIQ", 0, 8, 8 * i) for i in range(ranges)))
    assert disk.queue.run(0x09, 1, page, d10=ranges - 1, d11=4).status == SUCCESS


def test_a_disk_keeps_its_identity(controller, image):
    first, second = (controller(f"{image},readonly") for _ in range(2))
    assert first.identify(3, 1) == second.identify(3, 1)
    assert first.identify(1)[4:24] == second.identify(1)[4:24]


@pytest.mark.parametrize(
    "cns, nsid, status",
    [(0, 0, INVALID_NAMESPACE), (0, 2, INVALID_NAMESPACE), (0, 2**32 - 1, INVALID_NAMESPACE), (3, 9, INVALID_NAMESPACE),
     (2, 2**32 - 1, INVALID_NAMESPACE), (2, 2**32 - 2, INVALID_NAMESPACE), (0x10, 1, INVALID_FIELD), (0xFF, 1, INVALID_FIELD),
     (5, 0, INVALID_NAMESPACE), (5, 2, INVALID_NAMESPACE), (7, 2**32 - 1, INVALID_NAMESPACE), (8, 2, INVALID_NAMESPACE)],
)  # fmt: skip
def test_identify_what_does_not_exist(nvme, cns, nsid, status):
    assert nvme.admin.run(IDENTIFY, nsid=nsid, prp1=nvme.machine.pages(1), d10=cns).status == status


@pytest.mark.parametrize("cns", [5, 6, 7])
def test_identify_of_other_command_sets(nvme, cns):
    for csi in (1, 2, 0xFF):
        assert nvme.admin.run(IDENTIFY, nsid=1, prp1=nvme.machine.pages(1), d10=cns, d11=csi << 24).status == INVALID_FIELD


def test_identify_into_nowhere(nvme):
    run = nvme.admin.run
    assert run(IDENTIFY, prp1=MEMORY_LEN, d10=1).status == DATA_TRANSFER
    assert run(IDENTIFY, prp1=nvme.machine.pages(1) + 2, d10=1).status == PRP_OFFSET
    page = nvme.machine.pages(2)
    assert run(IDENTIFY, prp1=page + 2048, prp2=page + PAGE + 8, d10=1).status == PRP_OFFSET
    assert run(IDENTIFY, prp1=page + 2048, prp2=page + PAGE, d10=1).status == SUCCESS
    assert nvme.machine.read(page + 2048, PAGE) == nvme.identify(1)


def test_commands_that_do_not_exist(nvme):
    for opcode in (0x03, 0x07, 0x0B, 0x0D, 0x10, 0x18, 0x7F, 0x80, 0xC0, 0xFF):
        done = nvme.admin.run(opcode, nsid=1, prp1=nvme.machine.pages(1))
        assert (done.status, done.do_not_retry) == (INVALID_OPCODE, True)
    for flags in (0x01, 0x02, 0x40, 0xC0):
        assert nvme.admin.run(IDENTIFY, prp1=nvme.machine.pages(1), d10=1, flags=flags).status == INVALID_FIELD


def test_all_queues_work(nvme):
    """64 queue pairs, each with a command of its own at the same time."""
    assert nvme.admin.run(SET, d10=QUEUES, d11=0x003F003F).result == 0x003F003F
    disks = [Disk(nvme.create_queue(number, entries=8)) for number in range(1, 65)]
    started = [(disk, disk.start(0x02, i, nvme.machine.pages(1), 512)) for i, disk in enumerate(disks)]
    for disk, command in started:
        assert disk.queue.wait(command).status == SUCCESS
    assert nvme.create_cq(Queue(nvme.machine, 65, 8)) == QUEUE_ID
    for number in range(1, 65):
        assert nvme.delete_sq(number) == SUCCESS
        assert nvme.delete_cq(number) == SUCCESS
    assert Disk(nvme.create_queue(64)).read(0, 512) == pattern(0, 512)


def test_the_longest_queue(nvme):
    disk = Disk(nvme.create_queue(1, entries=4096))
    address = nvme.machine.pages(1)
    commands = [disk.queue.put(0x02, 1, address, d10=i % 8, d12=0) for i in range(4095)]
    disk.queue.ring()
    assert all(disk.queue.wait(command).status == SUCCESS for command in commands)


@pytest.mark.parametrize(
    "fields, status",
    [({"number": 0}, QUEUE_ID), ({"number": 65}, QUEUE_ID), ({"number": 0xFFFF}, QUEUE_ID), ({"size": 0}, QUEUE_SIZE),
     ({"size": 4096}, QUEUE_SIZE), ({"size": 0xFFFF}, QUEUE_SIZE), ({"flags": 2}, INVALID_FIELD),
     ({"base": 0x100200}, PRP_OFFSET), ({"vector": 65}, VECTOR), ({"vector": 0xFFFF}, VECTOR)],
)  # fmt: skip
def test_completion_queues_that_can_not_be(nvme, fields, status):
    assert nvme.create_cq(Queue(nvme.machine, 1), **fields) == status


@pytest.mark.parametrize(
    "fields, status",
    [({"number": 0}, QUEUE_ID), ({"number": 65}, QUEUE_ID), ({"size": 0}, QUEUE_SIZE), ({"size": 4096}, QUEUE_SIZE),
     ({"flags": 0}, INVALID_FIELD), ({"base": 0x100008}, PRP_OFFSET), ({"cq": 0}, QUEUE_ID), ({"cq": 65}, QUEUE_ID),
     ({"cq": 2}, CQ_INVALID)],
)  # fmt: skip
def test_submission_queues_that_can_not_be(nvme, fields, status):
    queue = Queue(nvme.machine, 1)
    assert nvme.create_cq(queue) == SUCCESS
    assert nvme.create_sq(queue, **fields) == status


def test_order_of_creation_and_deletion(nvme):
    queue = nvme.create_queue(1)
    assert nvme.create_cq(queue) == QUEUE_ID
    assert nvme.create_sq(queue) == QUEUE_ID
    assert nvme.delete_cq(1) == QUEUE_DELETION
    assert nvme.delete_sq(0) == nvme.delete_cq(0) == QUEUE_ID
    assert nvme.delete_sq(2) == nvme.delete_cq(2) == QUEUE_ID
    assert nvme.delete_sq(1) == SUCCESS
    assert nvme.delete_sq(1) == QUEUE_ID
    assert nvme.delete_cq(1) == SUCCESS
    assert nvme.delete_cq(1) == QUEUE_ID


def test_two_submission_queues_share_a_completion_queue(nvme):
    queue, second = nvme.create_queue(1), Queue(nvme.machine, 2)
    assert nvme.create_sq(second, cq=1) == SUCCESS
    command = second.submit(0x02, 1, nvme.machine.pages(1), d12=0)
    done = queue.wait(command)
    assert (done.status, done.sq_id) == (SUCCESS, 2)
    assert nvme.delete_sq(1) == SUCCESS
    assert nvme.delete_cq(1) == QUEUE_DELETION
    assert nvme.delete_sq(2) == SUCCESS
    assert nvme.delete_cq(1) == SUCCESS


def test_queues_need_entry_sizes(controller, image):
    nvme = controller(image)
    nvme.disable()
    nvme.admin = nvme.enable(cc=1)
    assert nvme.create_cq(Queue(nvme.machine, 1)) == QUEUE_SIZE


def test_features(nvme):
    def get(feature, select=0, d11=0):
        return nvme.admin.run(GET, d10=feature | select << 8, d11=d11)

    for feature in (1, 2, 4, 5, 6, 7, 8, 9, 0x0A, 0x0B):
        assert get(feature).status == SUCCESS
        assert get(feature, 3).result == 4  # changeable, not saveable, not per namespace
    for feature in (0, 3, 0x0C, 0x80, 0xFF):
        assert get(feature).status == INVALID_FIELD
    assert get(CACHE, 4).status == INVALID_FIELD
    assert nvme.admin.run(SET, d10=0x0C).status == INVALID_FIELD
    assert nvme.admin.run(SET, d10=CACHE | 1 << 31, d11=1).status == NOT_SAVEABLE
    assert get(CACHE).result == 1
    assert nvme.admin.run(SET, d10=CACHE, d11=0).status == SUCCESS
    assert (get(CACHE).result, get(CACHE, 1).result) == (0, 1)
    assert nvme.admin.run(SET, d10=TEMPERATURE, d11=1 << 20 | 280).status == SUCCESS
    assert (get(TEMPERATURE, d11=1 << 20).result, get(TEMPERATURE).result) == (280, 343)
    assert nvme.admin.run(SET, d10=2, d11=1).status == INVALID_FIELD
    assert nvme.admin.run(SET, d10=9, d11=1 << 16 | 64).status == SUCCESS
    assert (get(9, d11=64).result, get(9, d11=63).result) == (1 << 16 | 64, 63)
    assert nvme.admin.run(SET, d10=9, d11=65).status == get(9, d11=65).status == INVALID_FIELD
    assert nvme.admin.run(SET, d10=QUEUES, d11=0xFFFF).status == INVALID_FIELD
    assert nvme.admin.run(SET, d10=QUEUES, d11=0).result == 0x003F003F
    nvme.create_queue(1)
    assert nvme.admin.run(SET, d10=QUEUES, d11=0).status == SEQUENCE
    nvme.disable()
    nvme.admin = nvme.enable()
    assert get(CACHE).result == 1


def test_error_log(nvme):
    disk = Disk(nvme.create_queue(3))
    before = u64(nvme.log_page(2, 512), 176)
    slba = 2**40
    failed = disk.queue.submit(0x02, 1, nvme.machine.pages(1), d10=slba, d11=slba >> 32, d12=0)
    assert disk.queue.wait(failed).status == LBA_RANGE
    entry = nvme.log_page(1, 64)
    assert u64(entry, 0) == before + 1
    assert (u16(entry, 8), u16(entry, 10), u16(entry, 12) >> 1 & 0x7FF) == (3, failed, LBA_RANGE)
    assert (u64(entry, 16), u32(entry, 24)) == (slba, 1)
    for _ in range(70):
        nvme.admin.run(0xFF)
    newest = nvme.log_page(1, PAGE)
    assert [u64(newest, 64 * i) for i in range(64)] == list(range(before + 71, before + 7, -1))


def test_smart_log(nvme):
    disk = Disk(nvme.create_queue(1))
    for i in range(3):
        disk.read(i, 512 << 10)
    assert disk.write(0, bytes(512)) == SUCCESS
    data = nvme.log_page(2, 512)
    assert data[0] == 0
    assert 273 < u16(data, 1) < 343
    assert (u64(data, 32), u64(data, 48)) == (4, 1)  # thousands of 512 bytes, rounded up
    assert (u64(data, 64), u64(data, 80)) == (3, 1)


def test_other_log_pages(nvme):
    assert nvme.log_page(3, 512)[0] == 1
    assert nvme.log_page(4, PAGE) == bytes(PAGE)
    effects = nvme.log_page(5, PAGE)
    assert u32(effects, 4 * IDENTIFY) == 1
    assert u32(effects, 1024 + 4 * 1) == 3 and u32(effects, 1024 + 4 * 2) == 1 and u32(effects, 1024 + 4 * 3) == 0
    assert nvme.log_page(5, 2048, offset=1024) == effects[1024:3072]
    get = nvme.admin.run
    for page in (6, 0x70, 0xFF):
        assert get(GET_LOG, prp1=nvme.machine.pages(1), d10=page | 127 << 16).status == LOG_PAGE
    assert get(GET_LOG, prp1=nvme.machine.pages(1), d10=2 | 127 << 16, d12=512).status == INVALID_FIELD
    assert get(GET_LOG, prp1=nvme.machine.pages(1), d10=2 | 127 << 16, d12=2).status == INVALID_FIELD


def test_a_log_page_never_writes_beyond_itself(nvme):
    page = nvme.machine.pages(2)
    nvme.machine.write(page, b"\xaa" * 2 * PAGE)
    done = nvme.admin.run(GET_LOG, prp1=page, prp2=page + PAGE, d10=2 | 0xFFFF << 16, d11=0xFFFF)
    assert done.status == SUCCESS
    assert nvme.machine.read(page + 512, 2 * PAGE - 512) == b"\xaa" * (2 * PAGE - 512)


def test_events_wait_and_can_be_aborted(nvme):
    events = [nvme.admin.submit(EVENT) for _ in range(4)]
    assert nvme.admin.run(EVENT).status == EVENT_LIMIT
    assert nvme.admin.run(ABORT, d10=events[2] << 16).result == 0
    assert nvme.admin.wait(events[2]).status == ABORTED
    assert nvme.admin.run(ABORT, d10=events[2] << 16).result == 1
    assert nvme.admin.run(ABORT, d10=7 << 16 | 1).result == 1
    assert not nvme.admin.early


@pytest.mark.parametrize(
    "register, value, info",
    [(DOORBELLS + 8 * 9, 0, 0), (DOORBELLS + 8 * 9 + 4, 0, 0), (DOORBELLS + 8 * 65, 1, 0), (0x3FF8, 1, 0),
     (DOORBELLS + 8, 64, 1), (DOORBELLS + 8, 0xFFFF, 1), (DOORBELLS + 12, 1, 1), (DOORBELLS + 12, 64, 1)],
)  # fmt: skip
def test_doorbells_that_can_not_be_meant(nvme, register, value, info):
    disk = Disk(nvme.create_queue(1))
    event = nvme.admin.submit(EVENT)
    nvme.machine.set_register(register, value)
    assert nvme.admin.wait(event).result == info << 8 | 1 << 16
    # Silent until the log page has been read, then told again.
    event = nvme.admin.submit(EVENT)
    nvme.machine.set_register(register, value)
    nvme.log_page(1, 64, retain=True)
    assert event not in nvme.admin.early
    nvme.log_page(1, 64)
    assert nvme.admin.wait(event).result == info << 8 | 1 << 16
    assert disk.read(0, 512) == pattern(0, 512)


def test_a_tail_beyond_the_head_is_refused(nvme):
    """Eight entries, six of them taken: two more tails can be meant, not three."""
    queue = nvme.create_queue(1, entries=8)
    for _ in range(6):
        assert queue.run(0x00, 1).status == SUCCESS
    event = nvme.admin.submit(EVENT)
    nvme.machine.set_register(DOORBELLS + 8, 8)
    assert nvme.admin.wait(event).result == 1 << 8 | 1 << 16


@pytest.mark.parametrize("blocks", [IMAGE_LEN // 512 + 4096, IMAGE_LEN // 512 // 2])
def test_a_resized_image_is_announced(nvme, image, blocks):
    disk = Disk(nvme.create_queue(1))
    assert nvme.admin.run(SET, d10=EVENTS, d11=NOTICES).status == SUCCESS
    event = nvme.admin.submit(EVENT)
    os.truncate(image, blocks * 512)
    assert nvme.admin.wait(event).result == 2 | 4 << 16
    assert struct.unpack("<1024I", nvme.log_page(4, PAGE)) == (1, *[0] * 1023)
    assert nvme.log_page(4, PAGE) == bytes(PAGE)
    assert u64(nvme.identify(0, 1), 0) == blocks
    assert disk.queue.run(0x02, 1, nvme.machine.pages(1), d10=blocks, d12=0).status == LBA_RANGE
    assert len(disk.read(blocks - 1, 512)) == 512


def test_features_of_the_controller_are_of_no_namespace(nvme):
    assert nvme.admin.run(SET, nsid=1, d10=CACHE, d11=0).status == 0x10F
    assert nvme.admin.run(GET, d10=CACHE).result == 1
    for nsid in (0, 0xFFFFFFFF):
        assert nvme.admin.run(SET, nsid=nsid, d10=CACHE, d11=1).status == SUCCESS
    assert nvme.admin.run(SET, nsid=1, d10=5, d11=7).status == SUCCESS


def test_the_health_log_is_of_no_namespace(nvme):
    page = nvme.machine.pages(1)
    assert nvme.admin.run(GET_LOG, nsid=1, prp1=page, d10=2 | 127 << 16).status == INVALID_FIELD
    for nsid in (0, 0xFFFFFFFF):
        assert nvme.admin.run(GET_LOG, nsid=nsid, prp1=page, d10=2 | 127 << 16).status == SUCCESS


def test_the_log_pages_that_there_are(nvme):
    supported = struct.unpack("<256I", nvme.log_page(0, 1024))
    assert [page for page in range(256) if supported[page]] == list(range(6))
    for page in range(256):
        status = nvme.admin.run(GET_LOG, nsid=0xFFFFFFFF, prp1=nvme.machine.pages(1), d10=page).status
        assert status == (SUCCESS if supported[page] else LOG_PAGE)

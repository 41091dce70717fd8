# SPDX-License-Identifier: BSD-3-Clause
"""SET_IRQS, and the interrupts that follow."""
import errno
import os
import struct

import pytest
import registers
from registers import LOWER, RAISE, command, signal
from vfio_user import (
    BOOL,
    CONFIG,
    DEVICE_RESET,
    ERR,
    EVENTFD,
    INTX,
    IRQ_SET,
    MASK,
    MSI,
    MSIX,
    NONE,
    REQ,
    SET_IRQS,
    TRIGGER,
    UNMASK,
    Event,
    ServerError,
)

PBA = 0x2000 + registers.VECTORS * 16
COUNTS = {INTX: 1, MSI: 4, MSIX: 24, ERR: 1, REQ: 1}


@pytest.fixture
def client(exercise):
    return exercise.client()


@pytest.fixture
def events():
    made = [Event() for _ in range(16)]
    yield made
    for event in made:
        event.close()


def refuse(client, *arguments, **keywords):
    with pytest.raises(ServerError) as caught:
        client.set_irqs(*arguments, **keywords)
    assert caught.value.errno == errno.EINVAL


def assign(client, index, start, *events):
    client.set_irqs(index, EVENTFD | TRIGGER, start, len(events), fds=[event.fd for event in events])


def pending(client):
    return struct.unpack("<Q", client.read(3, PBA, 8))[0]


def test_intx_is_a_level_that_masks_itself(client, events):
    assign(client, INTX, 0, events[0])
    command(client, RAISE)
    assert events[0].take() == 1
    command(client, LOWER)
    command(client, RAISE)
    assert events[0].take() == 0, "the guest has not ended the first interrupt"
    client.set_irqs(INTX, NONE | UNMASK, 0, 1)
    assert events[0].take() == 1, "it is still raised"
    command(client, LOWER)
    client.set_irqs(INTX, BOOL | UNMASK, 0, 1, b"\1")
    assert events[0].take() == 0
    command(client, RAISE)
    assert events[0].take() == 1


def test_intx_status_bit(client):
    assert client.read(CONFIG, 6, 1)[0] & 8 == 0
    command(client, RAISE)
    assert client.read(CONFIG, 6, 1)[0] & 8
    client.ask(DEVICE_RESET)
    assert client.read(CONFIG, 6, 1)[0] & 8 == 0


def test_intx_that_was_up_before_it_was_wanted(client, events):
    command(client, RAISE)
    assign(client, INTX, 0, events[0])
    assert events[0].take() == 1


def test_intx_masked_by_the_client_and_by_the_guest(client, events):
    assign(client, INTX, 0, events[0])
    client.set_irqs(INTX, NONE | MASK, 0, 1)
    command(client, RAISE)
    assert events[0].take() == 0
    registers.enable_dma(client, registers.INTX_DISABLE)
    client.set_irqs(INTX, NONE | UNMASK, 0, 1)
    assert events[0].take() == 0
    registers.enable_dma(client, 0)
    assert events[0].take() == 1


def test_intx_ended_and_masked_by_eventfd(client, events):
    trigger, mask, unmask = events[:3]
    assign(client, INTX, 0, trigger)
    client.set_irqs(INTX, EVENTFD | UNMASK, 0, 1, fds=[unmask.fd])
    client.set_irqs(INTX, EVENTFD | MASK, 0, 1, fds=[mask.fd])
    command(client, RAISE)
    assert trigger.take() == 1
    unmask.signal()
    assert trigger.wait() == 1, "raised still, so signalled again"
    command(client, LOWER)
    unmask.signal()
    client.device_info()
    mask.signal()
    while unmask.take() or mask.take():  # both are drained once the server has seen them
        client.device_info()
    client.device_info()


def test_qemu_sequence_with_kvm(client, events):
    trigger, resample = events[:2]
    client.set_irqs(INTX, NONE | TRIGGER, 0, 0)
    assign(client, INTX, 0, trigger)
    client.set_irqs(INTX, NONE | MASK, 0, 1)
    client.set_irqs(INTX, EVENTFD | UNMASK, 0, 1, fds=[resample.fd])
    client.set_irqs(INTX, NONE | UNMASK, 0, 1)
    command(client, RAISE)
    assert trigger.take() == 1
    client.set_irqs(INTX, EVENTFD | UNMASK, 0, 1)  # no descriptor: taken away
    client.set_irqs(INTX, EVENTFD | TRIGGER, 0, 1)
    client.set_irqs(INTX, NONE | UNMASK, 0, 1)
    assert trigger.take() == 0


def test_msix_vectors_are_signalled_by_their_own_eventfds(client, events):
    assign(client, MSIX, 0, *events)
    for vector, event in enumerate(events):
        assert signal(client, vector) == 0
        assert [other.take() for other in events] == [int(other is event) for other in events]


def test_set_eventfd_is_permission_although_the_table_says_masked(client, events):
    assert client.read(3, 0x2000 + 12, 4) == b"\1\0\0\0"
    assign(client, MSIX, 0, events[0])
    assert signal(client, 0) == 0
    assert events[0].take() == 1


def test_msix_table_holds_what_is_written_and_pending_bits_do_not(client):
    entry = os.urandom(16)
    client.write(3, 0x2000 + 16 * 23, entry)
    assert client.read(3, 0x2000 + 16 * 23, 16) == entry
    client.write(3, PBA, b"\xff" * 8)
    assert pending(client) == 0


def test_msix_on_without_a_vector(client, events):
    client.set_irqs(MSIX, EVENTFD | TRIGGER, 0, 1)
    assert signal(client, 0) == -errno.ENOTCONN
    msix = config_capability(client, 0x11)
    client.write(CONFIG, msix + 2, b"\x00\x80")
    assert signal(client, 3) == 0
    assert pending(client) == 1 << 3
    assign(client, MSIX, 3, events[0])
    assert events[0].take() == 1
    assert pending(client) == 0


def config_capability(client, id):
    config = client.read(CONFIG, 0, 256)
    at = config[0x34]
    while config[at] != id:
        at = config[at + 1]
    return at


def test_masked_vector_stays_pending(client, events):
    assign(client, MSIX, 8, events[0], events[1])
    client.set_irqs(MSIX, BOOL | MASK, 8, 2, b"\0\1")
    assert signal(client, 8) == 0 and signal(client, 9) == 0 and signal(client, 9) == 0
    assert (events[0].take(), events[1].take()) == (1, 0)
    assert pending(client) == 1 << 9
    client.set_irqs(MSIX, NONE | UNMASK, 8, 2)
    assert (events[0].take(), events[1].take()) == (0, 1)
    assert pending(client) == 0


def test_msi_with_granted_vectors_and_guest_masks(client, events):
    msi = config_capability(client, 0x05)
    assert signal(client, 0) == -errno.ENOTCONN
    client.write(CONFIG, msi + 2, b"\x11\0")  # on, two vectors
    assign(client, MSI, 0, events[0], events[1])
    for vector in (0, 1, 2, 3):
        assert signal(client, vector) == 0
    assert (events[0].take(), events[1].take()) == (2, 2)
    client.write(CONFIG, msi + 16, b"\2\0\0\0")
    assert signal(client, 1) == 0
    assert events[1].take() == 0
    assert client.read(CONFIG, msi + 20, 4) == b"\2\0\0\0"
    client.write(CONFIG, msi + 16, b"\0\0\0\0")
    assert events[1].take() == 1
    assert client.read(CONFIG, msi + 20, 4) == bytes(4)


def test_no_such_vector(client):
    assert signal(client, registers.VECTORS) == -errno.EINVAL
    assert signal(client, 2**31) == -errno.EINVAL


@pytest.mark.parametrize("number,index", [(registers.REPORT_ERROR, ERR), (registers.REQUEST_REMOVAL, REQ)])
def test_error_and_removal(client, events, number, index):
    assert command(client, number) == -errno.ENOTCONN
    assign(client, index, 0, events[0])
    assert command(client, number) == 0
    assert events[0].take() == 1


@pytest.mark.parametrize("index", COUNTS)
def test_loopback(client, events, index):
    assign(client, index, 0, events[0])
    client.set_irqs(index, NONE | TRIGGER, 0, 1)
    client.set_irqs(index, BOOL | TRIGGER, 0, 1, b"\0")
    client.set_irqs(index, BOOL | TRIGGER, 0, 1, b"\1")
    assert events[0].take() == 2


@pytest.mark.parametrize("index", COUNTS)
def test_disable_all(client, exercise, events, index):
    before = exercise.descriptors()
    assign(client, index, 0, *events[: COUNTS[index]])
    assert exercise.descriptors() == before + min(COUNTS[index], 16)
    client.set_irqs(index, NONE | TRIGGER, 0, 0)
    assert exercise.descriptors() == before
    client.set_irqs(index, NONE | TRIGGER, 0, COUNTS[index])
    assert sum(event.take() for event in events) == 0


@pytest.mark.parametrize("index", [MSI, MSIX])
def test_some_are_taken_away(client, events, index):
    assign(client, index, 0, *events[:4])
    client.set_irqs(index, EVENTFD | TRIGGER, 1, 2)
    client.set_irqs(index, NONE | TRIGGER, 0, 4)
    assert [event.take() for event in events[:4]] == [1, 0, 0, 1]


def test_every_wrong_combination_of_flags(client):
    for flags in range(0x100):
        data, action = flags & 7, flags & 0x38
        is_right = data in (NONE, BOOL) and action in (MASK, UNMASK, TRIGGER) and flags < 0x40
        is_right = is_right or flags in (EVENTFD | MASK, EVENTFD | UNMASK, EVENTFD | TRIGGER)
        payload = b"\0" if data == BOOL else b""
        if is_right:
            client.set_irqs(INTX, flags, 0, 1, payload)
        else:
            refuse(client, INTX, flags, 0, 1, payload)
    for flags in (2**31, NONE | TRIGGER | 2**31):
        refuse(client, INTX, flags, 0, 1)


@pytest.mark.parametrize("index", COUNTS)
def test_wrong_ranges(client, index):
    count = COUNTS[index]
    for start, wrong in [(0, count + 1), (count, 1), (2**32 - 1, 1), (1, 2**32 - 1), (2**32 - 1, 2**32 - 1)]:
        refuse(client, index, NONE | TRIGGER, start, wrong)
    for flags in (BOOL | TRIGGER, EVENTFD | TRIGGER, NONE | MASK, NONE | UNMASK):
        refuse(client, index, flags, 0, 0)


def test_wrong_lengths_and_indexes(client):
    refuse(client, 5, NONE | TRIGGER, 0, 0)
    refuse(client, 2**32 - 1, NONE | TRIGGER, 0, 0)
    refuse(client, MSIX, BOOL | TRIGGER, 0, 3, b"\1\1")
    refuse(client, MSIX, BOOL | TRIGGER, 0, 3, bytes(4))
    refuse(client, MSIX, NONE | TRIGGER, 0, 3, bytes(3))
    refuse(client, MSIX, EVENTFD | TRIGGER, 0, 1, bytes(4))
    for length in range(20):
        with pytest.raises(ServerError):
            client.ask(SET_IRQS, bytes(length))
    with pytest.raises(ServerError):
        client.ask(SET_IRQS, IRQ_SET.pack(19, NONE | TRIGGER, MSIX, 0, 1))


def test_mask_of_vectors_by_eventfd_is_for_intx_only(client, events):
    for index in (MSI, MSIX, ERR, REQ):
        refuse(client, index, EVENTFD | MASK, 0, 1, fds=[events[0].fd])
        refuse(client, index, EVENTFD | UNMASK, 0, 1, fds=[events[0].fd])


def test_descriptors_that_do_not_fit_are_closed(client, exercise, events):
    fds = [event.fd for event in events]
    before = exercise.descriptors()
    refuse(client, MSIX, EVENTFD | TRIGGER, 0, 2, fds=fds[:1])
    refuse(client, MSIX, EVENTFD | TRIGGER, 0, 1, fds=fds[:2])
    refuse(client, MSIX, NONE | TRIGGER, 0, 1, fds=fds[:1])
    refuse(client, MSIX, BOOL | TRIGGER, 0, 1, b"\1", fds=fds[:1])
    refuse(client, MSIX, EVENTFD | TRIGGER, 20, 5, fds=fds[:5])
    assert exercise.descriptors() == before


def test_all_or_none_when_one_is_no_eventfd(client, exercise, events):
    reading, writing = os.pipe()
    before = exercise.descriptors()
    refuse(client, MSIX, EVENTFD | TRIGGER, 0, 3, fds=[events[0].fd, reading, events[1].fd])
    refuse(client, INTX, EVENTFD | UNMASK, 0, 1, fds=[writing])
    client.set_irqs(MSIX, NONE | TRIGGER, 0, 3)
    assert events[0].take() == 0
    assert exercise.descriptors() == before
    os.close(reading)
    os.close(writing)


def test_an_eventfd_that_blocks_and_is_full_does_not_stop_the_server(client):
    event = Event()
    os.set_blocking(event.fd, True)
    os.eventfd_write(event.fd, 2**64 - 2)
    assign(client, MSIX, 0, event)
    assert signal(client, 0) == 0
    event.close()


def test_a_client_that_goes_takes_its_interrupts_with_it(client, exercise, events):
    before = exercise.descriptors()
    assign(client, MSIX, 0, *events)
    client.set_irqs(INTX, EVENTFD | UNMASK, 0, 1, fds=[events[0].fd])
    command(client, RAISE)
    client.close()
    client = exercise.client()
    assert exercise.descriptors() == before
    assert signal(client, 0) == -errno.ENOTCONN
    event = Event()
    assign(client, INTX, 0, event)
    assert event.take() == 1, "the level is still up"
    event.close()


def test_eventfds_that_come_late(client, events):
    """A message in two pieces, whose descriptors ride on the second."""
    request = IRQ_SET.pack(20, EVENTFD | TRIGGER, MSIX, 0, 2)
    header = struct.pack("<HHIII", 1, SET_IRQS, 16 + len(request), 0, 0)
    client.send_raw(header + request[:5])
    client.send_raw(request[5:], [events[0].fd, events[1].fd])
    assert client.receive().flags == 1
    assert signal(client, 1) == 0
    assert events[1].take() == 1

# SPDX-License-Identifier: BSD-3-Clause
"""A device's own state over vhost-user (DEVICE_STATE), with a front end that was written from QEMU's specification alone."""
import os

import pytest
import vhost_user
from guestlab import paths
from server import Server
from vhost_user import STATE, U64, FrontEnd

PROGRAMS = paths.BUILD / "root/libexec/outboard"
SAVE, LOAD = 0, 1
NO_FD = 0x100


@pytest.fixture
def device(cleanup, tmp_path):
    """device(program): a front end of a device that runs."""

    def start(program):
        options = ()
        folder = tmp_path / f"{program}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        if program == "vsock":
            options = ("--guest-cid=3", f"--host-socket={folder / 'host'}")
        server = Server(folder, PROGRAMS / f"outboard-{program}", *options, wire="vhost-user")
        cleanup.callback(server.end)
        front_end = FrontEnd(server.path)
        cleanup.callback(front_end.close)
        assert front_end.negotiate() & 1 << vhost_user.DEVICE_STATE
        return front_end

    return start


def transfer(front_end, direction, fd):
    """The answer, and what the pipe's other end has not to wait for."""
    answer = U64.unpack(front_end.ask(vhost_user.SET_DEVICE_STATE_FD, STATE.pack(direction, 0), [fd]))[0]
    os.close(fd)
    return answer


def is_good(front_end):
    return front_end.ask(vhost_user.CHECK_DEVICE_STATE) == U64.pack(0)


def save(front_end):
    ours, theirs = os.pipe()
    assert transfer(front_end, SAVE, theirs) == NO_FD
    with open(ours, "rb") as file:
        state = file.read()
    assert is_good(front_end)
    return state


def load(front_end, state):
    theirs, ours = os.pipe()
    assert transfer(front_end, LOAD, theirs) == NO_FD
    with open(ours, "wb") as file:
        file.write(state)
    return is_good(front_end)


def test_a_state_moves_to_another_process(device):
    state = save(device("vsock"))
    assert load(device("vsock"), state)


def test_a_device_without_a_state_of_its_own_has_one_too(device):
    state = save(device("rng"))
    assert load(device("rng"), state)


def test_a_state_of_another_device_is_refused(device):
    front_end = device("vsock")
    for wrong in (b"", b"x", save(device("rng")), save(front_end) + b"x", bytes(100000)):
        try:
            assert not load(front_end, wrong)
        except BrokenPipeError:  # it reads no more than a state has
            assert not is_good(front_end)
    assert load(front_end, save(front_end))


def test_nothing_but_a_pipe_is_taken(device):
    front_end = device("vsock")
    for fd in (os.memfd_create("state"), os.eventfd(0), os.open("/dev/null", os.O_RDWR)):
        assert transfer(front_end, SAVE, fd) == NO_FD | 1
        assert not is_good(front_end)
    assert front_end.negotiate(), "it goes on"


def test_a_reader_that_has_gone_is_no_signal(device):
    front_end = device("vsock")
    ours, theirs = os.pipe()
    os.close(ours)
    assert transfer(front_end, SAVE, theirs) == NO_FD
    assert not is_good(front_end)
    assert save(front_end)

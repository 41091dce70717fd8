# SPDX-License-Identifier: BSD-3-Clause
"""A VMM on the client library under valgrind, which must have nothing to say of what the library does, nor of what it leaves when
its last client has gone."""
import shutil
import socket

import pytest
from guestlab import paths

EXERCISE = paths.BUILD / "release/tests/wire/exercise"
VISITOR = paths.BUILD / "release/tests/client/visitor"
FOUND = 99  # the exit status when valgrind has found an error
PATIENCE_S = 120


@pytest.fixture
def device(spawn, cleanup):
    """device(): a socket to one more device."""

    def start():
        ours, theirs = socket.socketpair()
        cleanup.enter_context(ours)
        spawn([EXERCISE, f"--fd={theirs.fileno()}"], inherit=[theirs])
        return ours

    return start


@pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed: ./dev setup")
@pytest.mark.parametrize("count", [1, 3])
def test_nothing_is_left_of_the_last_client(spawn, device, tmp_path, count):
    log = tmp_path / "valgrind"
    kinds = "--errors-for-leak-kinds=definite,indirect,possible"
    valgrind = ["valgrind", "-q", f"--error-exitcode={FOUND}", "--leak-check=full", kinds, f"--log-file={log}"]
    sockets = [device() for _ in range(count)]
    vmm = spawn([*valgrind, VISITOR, *(str(sock.fileno()) for sock in sockets)], inherit=sockets)
    status = vmm.wait(PATIENCE_S)
    assert log.read_text() == ""
    assert status == 0, vmm.log_tail()

# SPDX-License-Identifier: BSD-3-Clause
"""A proxy that has no descriptors left goes on with what it has, tells its status, and recovers."""
import os
import resource

import pytest

from apps import receive

# The limit of a process in a cell can't be changed by another one. test_cell.py has a small one from the start.
NO_CELL = "--cell=none"


def exhaust(end, left):
    """Lets a process have so many descriptors more, and no further."""
    held = {int(name) for name in os.listdir(f"/proc/{end.process.pid}/fd")}
    free = [number for number in range(len(held) + left + 1) if number not in held]
    before = resource.prlimit(end.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(end.process.pid, resource.RLIMIT_NOFILE, (free[left], before[1]))
    return before


@pytest.mark.parametrize("kind", ["tcp", "unix", "socks", "remote"])
def test_every_listener_rests_and_status_works(lab, free_port, kind):
    app, port = lab.listen(), free_port()
    path = lab.folder / "forward"
    service = f"--service=app=tcp:127.0.0.1:{app.getsockname()[1]}"
    forward = {"tcp": f"-L{port}:app", "unix": f"-Lunix:{path}:app", "socks": f"-D{port}", "remote": f"-L{port}:app"}
    if kind == "remote":
        end, peer = lab.pair(["--trust-peer", service, NO_CELL], [f"-R{port}:app", service])
        while "listens at" not in peer.log():
            pass
    else:
        _, end = lab.pair([service], [forward[kind], NO_CELL])
    where = path if kind == "unix" else port
    if kind != "socks":
        first = lab.joined(where, app)
    before = exhaust(end, 3)
    waiting = [lab.connect(where) for _ in range(8)]
    while "can't accept a connection" not in end.log():
        pass
    assert "session" in end.ask("STATUS")
    assert end.ask("OPEN app").startswith("REFUSED 6")
    assert "session" in end.ask("STATUS")
    if kind != "socks":  # what stands goes on
        first[0].sendall(b"still here")
        assert receive(first[1], 10) == b"still here"
    assert end.log().count("can't accept a connection") == 1
    resource.prlimit(end.process.pid, resource.RLIMIT_NOFILE, before)
    if kind == "socks":
        for client in waiting:
            client.sendall(b"\5\1\0")
            assert receive(client, 2) == b"\5\0"
    else:
        for client in waiting:
            lab.accept(app)


def test_a_channel_that_listens_rests_too(lab):
    host = lab.start("host", f"--channel=unix-listen:{lab.channel}", NO_CELL)
    before = exhaust(host, 1)
    clients = [lab.connect(lab.channel) for _ in range(8)]
    while "can't accept a connection" not in host.log():
        pass
    assert host.ask("STATUS").startswith("down: ")
    resource.prlimit(host.process.pid, resource.RLIMIT_NOFILE, before)
    assert receive(clients[-1], 2) == b"\1\0"  # a HELLO begins so

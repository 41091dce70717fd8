# SPDX-License-Identifier: BSD-3-Clause
"""Alice, Bob, Mary and Joe: who does not read stops nobody but himself."""
import itertools
import resource
import socket

import pytest

from apps import CHUNK, Transfer, pattern, receive, send_until_blocked

MUCH = 64_000_000
RSS_KIB = 24_000  # the program, its buffers, and a window or two


@pytest.fixture
def scene(lab, free_port):
    """Connections by name, each (guest's application, host's), and the two proxies."""
    app, port = lab.listen(), free_port()
    ends = lab.pair([f"--service=app=tcp:127.0.0.1:{app.getsockname()[1]}"], [f"-L{port}:app"])
    return {name: lab.joined(port, app) for name in ("alice", "bob", "mary", "joe")}, ends


def check_everything_arrives(sink, size):
    """What send_until_blocked() has sent, and no byte else."""
    whole = pattern("blocked", CHUNK)
    data = receive(sink, size)
    assert len(data) == size
    assert all(data[at : at + CHUNK] == whole[: size - at] for at in range(0, size, CHUNK))


@pytest.mark.parametrize("direction", ["to the host", "to the guest"])
def test_joe_stops_reading(scene, direction):
    people, ends = scene
    order = (0, 1) if direction == "to the host" else (1, 0)
    before = [end.rss_kib() for end in ends]
    joe = [people["joe"][side] for side in order]
    sent = send_until_blocked(joe[0])
    transfers = []
    for name in ("mary", "bob"):
        transfers.append(Transfer(*people[name], pattern(name, MUCH)))
        transfers.append(Transfer(*people[name][::-1], pattern(name, MUCH)))
    for transfer in transfers:
        transfer.check(120)
    for end, rss in zip(ends, before):
        assert end.rss_kib() < RSS_KIB, f"{rss} KiB before"
    check_everything_arrives(joe[1], sent)
    Transfer(joe[0], joe[1], pattern("joe", MUCH)).check(60)


@pytest.mark.parametrize("blocked", itertools.combinations(["alice", "bob", "mary", "joe"], 2), ids="-".join)
def test_any_two_stop_in_both_directions_at_once(scene, blocked):
    people, ends = scene
    sent = {(name, side): send_until_blocked(people[name][side]) for name in blocked for side in (0, 1)}
    for name in people.keys() - set(blocked):
        transfers = [Transfer(*people[name], pattern(name, 4_000_000))]
        transfers += [Transfer(*people[name][::-1], pattern(name, 4_000_000))]
        for transfer in transfers:
            transfer.check(60)
    assert all(end.rss_kib() < RSS_KIB for end in ends)
    for (name, side), size in sent.items():
        check_everything_arrives(people[name][1 - side], size)


@pytest.fixture
def many_descriptors():
    """Two for each stream, here."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_thousand_of_which_half_stop(lab, many_descriptors):
    # Unix sockets: the kernel's buffers for them are small, so that it is the proxies who hold what nobody reads.
    app, path = lab.listen(socket.AF_UNIX), lab.folder / "forward"
    ends = lab.pair(["--window=16384", f"--service=app=unix:{app.getsockname()}"],
                    ["--window=16384", f"-Lunix:{path}:app"])  # fmt: skip
    people = [lab.joined(path, app) for _ in range(1000)]
    sent = [(send_what_is_taken(here), send_what_is_taken(there)) for here, there in people[:500]]
    for number, (here, there) in enumerate(people[500:]):
        data = pattern(number, 5_000)
        for source, sink in ((here, there), (there, here)):
            source.sendall(data)
            assert receive(sink, len(data)) == data
    Transfer(*people[-1], pattern("free", MUCH)).check(120)
    assert all(end.rss_kib() < RSS_KIB + 500 * (32 + 2 * 16) for end in ends)
    for (here, there), (up, down) in zip(people, sent):
        assert len(receive(there, up)) == up
        assert len(receive(here, down)) == down


def send_what_is_taken(sock):
    """Sends until the kernel takes no more at once: how many bytes it took."""
    sent, before = 0, sock.gettimeout()
    sock.settimeout(0)
    try:
        while True:
            sent += sock.send(bytes(CHUNK))
    except BlockingIOError:
        sock.settimeout(before)
        return sent

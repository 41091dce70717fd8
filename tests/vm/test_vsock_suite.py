# SPDX-License-Identifier: BSD-3-Clause
"""Linux's own tests of AF_VSOCK (tools/testing/vsock of Debian's kernel) between two guests, each with an outboard-vsock.
Both ends of that suite need AF_VSOCK, so its control connection is TCP over a network between the guests."""
import contextlib
import pathlib
import re
import socket
import tempfile

import pytest
from guestlab import Guest, Process, paths, vsock_suite
from guestlab.initramfs import with_libraries

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-vsock"
MODULES = ["virtio_pci", "virtio_net", "vmw_vsock_virtio_transport", "vsock_diag"]
CIDS = (41, 42)
PATIENCE_S = 120
CASES = [
    "SOCK_STREAM connection reset", "SOCK_STREAM bind only", "SOCK_STREAM client close", "SOCK_STREAM server close",
    "SOCK_STREAM multiple connections", "SOCK_STREAM MSG_PEEK", "SOCK_SEQPACKET msg bounds", "SOCK_SEQPACKET MSG_TRUNC flag",
    "SOCK_SEQPACKET timeout", "SOCK_SEQPACKET invalid receive buffer", "SOCK_STREAM poll() + SO_RCVLOWAT"]  # fmt: skip
DIAG_CASES = ["No sockets", "Listen socket", "Connect"]

# The suite measures how soon a read(2) returns whose time limit is over. A busy host makes a guest late.
LATE = "too much time in read(2)"
TRIES = 5


class Pair:
    """Two guests with a socket device each, and a network between them."""

    def __init__(self, stack, logs):
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="outboard-")))
        ends = [stack.enter_context(end) for end in socket.socketpair()]
        self.guests, self.done = [], {}
        for number, (cid, end) in enumerate(zip(CIDS, ends)):
            path = folder / f"device{cid}"
            argv = [PROGRAM, f"--socket-path={path}", f"--guest-cid={cid}", f"--guests={folder / 'guests'}",
                    f"--allow-guest={CIDS[1 - number]}"]  # fmt: skip
            process = stack.enter_context(Process(argv, logs / f"device{cid}.log"))
            while not path.exists():
                assert process.running, process.log_tail()
            arguments = ["-chardev", f"socket,id=vsock,path={path}", "-device", "vhost-user-vsock-pci,chardev=vsock",
                         "-netdev", f"socket,id=net,fd={end.fileno()}",
                         "-device", f"virtio-net-pci,netdev=net,romfile=,mac=52:54:00:00:00:{cid}"]  # fmt: skip
            guest = Guest(logs / f"guest{cid}", modules=MODULES, files=with_libraries(*map(str, vsock_suite.programs())),
                          arguments=arguments, inherit=[end], boot_timeout=PATIENCE_S)  # fmt: skip
            self.guests.append(stack.enter_context(guest))
            guest.run(f"ifconfig lo up; ifconfig eth0 10.0.0.{cid} up")

    def run(self, program, server):
        """All cases, of which one guest is the server: the exit statuses and what is printed at both ends."""
        server_guest, client_guest = self.guests[server], self.guests[1 - server]
        command = f"{program} --control-port=1234"
        server_guest.run(f"rm -f /tmp/status; ({command} --mode=server --peer-cid={CIDS[1 - server]} >/tmp/out 2>&1; echo $? >/tmp/status) &"
                         "until grep -q ':04D2 .* 0A ' /proc/net/tcp /proc/net/tcp6 || [ -s /tmp/status ]; do usleep 10000; done")  # fmt: skip
        client = client_guest.attempt(f"{command} --mode=client --control-host=10.0.0.{CIDS[server]} --peer-cid={CIDS[server]} 2>&1", PATIENCE_S)
        if client.status != 0:
            server_guest.run(f"kill $(pidof {program.name}) || true")  # it waits for its client
        out = server_guest.run("until [ -s /tmp/status ]; do usleep 10000; done; cat /tmp/out", PATIENCE_S)
        return [(client.status, client.output), (int(server_guest.read("/tmp/status")), out)]

    def results(self, program, server):
        """The same, once for all tests of it."""
        for _ in range(TRIES):
            if (program, server) not in self.done or LATE in self.done[program, server][0][1]:
                self.done[program, server] = self.run(program, server)
        return self.done[program, server]

    def check(self, program, names, case, server):
        expected = rf"^{names.index(case)} - {re.escape(case)}\.\.\.ok$"
        for _, output in self.results(program, server):
            assert re.search(expected, output, re.MULTILINE), output

    def list(self, program):
        """The names of the cases that a program has; it ends with status 1 after its list."""
        return re.findall(r"^\d+\t(.*)$", self.guests[0].attempt(f"{program} --list").output, re.MULTILINE)


@pytest.fixture(scope="module")
def pair(shared_logs):
    with contextlib.ExitStack() as stack:
        yield Pair(stack, shared_logs)


def test_all_cases_are_run_here(pair):
    tests, diag = vsock_suite.programs()
    assert pair.list(tests) == CASES
    assert pair.list(diag) == DIAG_CASES


@pytest.mark.parametrize("server", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_case(pair, case, server):
    pair.check(vsock_suite.programs()[0], CASES, case, server)


@pytest.mark.parametrize("case", DIAG_CASES)
def test_case_of_vsock_diag(pair, case):
    pair.check(vsock_suite.programs()[1], DIAG_CASES, case, 1)


def test_both_ends_succeed(pair):
    """The exit statuses, of the runs above."""
    tests, diag = vsock_suite.programs()
    for program, server in [(tests, 0), (tests, 1), (diag, 1)]:
        assert [status for status, _ in pair.results(program, server)] == [0, 0]

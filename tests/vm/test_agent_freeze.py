# SPDX-License-Identifier: BSD-3-Clause
"""File systems of a guest are frozen under fio, while requests hang in a file system whose server does not answer.

Pings go on throughout. Each test prints how long they took (pytest -rP shows it); nothing depends on it.
"""
import pathlib
import shutil
import statistics
import subprocess
import threading
import time

import pytest
from agentdebian import PATIENCE_S, SmallGuest, Wire
from agentlab import PROGRAM, AgentError, Client
from guestlab.initramfs import with_libraries

FIO = "/mnt/fio/ld-linux-x86-64.so.2 --library-path /mnt/fio /mnt/fio/fio"
DISK = "nvme0n1"
PINGS = 100

# FUSE whose server answers nothing but the greeting, as a network file system's that has lost its server.
HUNG = r"""
mkdir -p /hung
(
    exec 5<>/dev/fuse
    mount -i -t fuse -o fd=5,rootmode=40000,user_id=0,group_id=0 hung /hung
    dd bs=1M count=1 <&5 >/run/hello
    { printf '\120\0\0\0\0\0\0\0'; dd bs=8 skip=1 count=1 </run/hello; printf '\7\0\0\0\37\0\0\0'; head -c 56 /dev/zero; } >/run/answer
    dd bs=80 count=1 </run/answer >&5
    echo >/run/hung
    exec sleep 1000000
) >/run/hung.log 2>&1 &
until [ -s /run/hung ]; do :; done
"""

FIO_JOB = "--name=job --directory=/mnt --size=8m --rw=randwrite --bs=4k --fdatasync=4 --numjobs=2 --time_based --runtime=1000000"


def make_disk(folder):
    """An ext4 with fio and what it loads."""
    place = folder / "files/fio"
    place.mkdir(parents=True)
    for path, source in with_libraries("/usr/bin/fio").items():
        shutil.copy(source, place / pathlib.Path(path).name)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", folder / "files", folder / "disk.img", "192M"], check=True)
    shutil.rmtree(folder / "files")
    return folder / "disk.img"


class Pinger:
    """A client that does nothing but ping, in a thread; what it does meanwhile has a name."""

    def __init__(self, path):
        self.path, self.phase, self.times, self.error = path, "before", {}, None
        self.changed, self.ends = threading.Condition(), False
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            client = None
            while not self.ends:
                phase = self.phase
                try:
                    client = client or Wire(self.path)
                    begin = time.monotonic()
                    assert client.ask("ping") == {}
                except (AgentError, ConnectionError):  # the agent has gone; its next one is asked
                    if phase != "restart":
                        raise
                    client = client and client.close()
                    continue
                with self.changed:
                    self.times.setdefault(phase, []).append(1000 * (time.monotonic() - begin))
                    self.changed.notify_all()
            if client:
                client.close()
        except BaseException as error:  # pylint: disable=broad-except
            with self.changed:
                self.error = error
                self.changed.notify_all()

    def go_on(self, phase, count=0):
        """From here on this is done; once so many pings have been answered meanwhile."""
        with self.changed:
            self.phase = phase
            assert self.changed.wait_for(lambda: self.error or len(self.times.get(phase, ())) >= count, PATIENCE_S)
        if self.error:
            raise self.error

    def end(self):
        self.ends = True
        self.thread.join()


class FreezeGuest(SmallGuest):
    """Our agent alone, and fio that writes without an end."""

    def start_agent(self):
        self.run("outboard-agent --statedir=/run/ours 2>>/run/ours.log & echo $! >/run/agent.pid")

    def start(self):
        self.run("mkdir -p /run /root /mnt; mount -t tmpfs tmpfs /run; mkdir /run/ours; mount -t ext4 /dev/nvme0n1 /mnt")
        self.run(HUNG)
        self.start_agent()
        self.host_end("ours")
        self.run(f"cd /run; {FIO} {FIO_JOB} >/run/fio.log 2>&1 & echo $! >/run/fio.pid")

    def check_fio(self):
        """It still runs."""
        assert self.guest.attempt("kill -0 $(cat /run/fio.pid)").status == 0, self.run("cat /run/fio.log")


@pytest.fixture(scope="module")
def guest(shared_logs, tmp_path_factory):
    disk = make_disk(tmp_path_factory.mktemp("disk"))
    arguments = ["-drive", f"file={disk},format=raw,if=none,id=data", "-device", "nvme,drive=data,serial=DATA0"]
    with FreezeGuest(shared_logs, arguments=arguments, modules=["fuse"]) as guest:
        guest.start()
        yield guest


@pytest.fixture
def path(guest):
    return guest.folder / "ours.qga"


@pytest.fixture
def pinger(path, record_property, request):
    pinger = Pinger(path)
    yield pinger
    pinger.end()
    for phase, times in pinger.times.items():
        line = f"{len(times)} pings, median {statistics.median(times):.1f} ms, worst {max(times):.1f} ms"
        print(f"{request.node.name}, {phase}: {line}")
        record_property(phase, line)
    assert pinger.error is None


def written(guest):
    """Sectors that fio's disk has had written."""
    return int(guest.read(f"/sys/block/{DISK}/stat").split()[6])


def wait_writing(guest):
    """Until fio has written more."""
    before = written(guest)
    while written(guest) <= before:
        guest.check_fio()


def start_hanging(guest, path, stack):
    """Requests that the hung file system does not answer are under way."""
    for command, arguments in (("file-open", {"path": "/hung/a"}), ("exec", {"path": "/hung/b"}), ("get-file", {"path": "/hung/c"})):
        client = stack.enter_context(Client(path))
        client.send(f"guest-{command}", arguments)
    guest.run("until grep -qs request_wait_answer $(for p in $(pidof outboard-agent); do echo /proc/$p/stack; done); do :; done")


def check_frozen(guest, pinger, client, phase):
    """Nothing is written, and pings are answered."""
    before = written(guest)
    pinger.go_on(phase, PINGS)
    assert client.ask("fsfreeze-status") == "frozen"
    assert written(guest) == before


def test_freeze_under_fio(guest, path, pinger, cleanup):
    wait_writing(guest)
    pinger.go_on("before", PINGS)
    start_hanging(guest, path, cleanup)
    pinger.go_on("hung", PINGS)
    with Wire(path) as client:
        for _ in range(3):
            pinger.go_on("freezing")
            frozen = client.ask("fsfreeze-freeze")
            assert frozen == 1
            check_frozen(guest, pinger, client, "frozen")
            pinger.go_on("thawing")
            assert client.ask("fsfreeze-thaw") == frozen
            pinger.go_on("thawed")
            wait_writing(guest)


def test_client_dies_while_it_holds_a_freeze(guest, path, pinger, spawn):
    """Its freeze ends at its time, and whoever thaws learns of it."""
    holder = spawn([PROGRAM, "agent", f"--control={guest.ends['ours'].control}", "freeze", "--for=10", "--", "sleep", "100000"])
    with Wire(path) as client:
        while client.ask("fsfreeze-status") != "frozen":
            assert holder.running, holder.log_tail()
        holder.kill()
        pinger.go_on("holder dead", PINGS)
        while client.ask("fsfreeze-status") != "thawed":
            pass
        with pytest.raises(AgentError, match="were thawed before"):
            client.ask("fsfreeze-thaw")
    wait_writing(guest)


@pytest.mark.parametrize("which", ["main", "all"])
def test_agent_is_killed_while_frozen(guest, path, pinger, which):
    """The process that holds the freeze thaws at the end of its agent; if that is killed too, the next agent thaws."""
    tag = guest.ends["ours"].wait_up()
    with Wire(path) as client:
        assert client.ask("fsfreeze-freeze") == 1
        check_frozen(guest, pinger, client, "frozen")
        pinger.go_on("restart")
        if which == "main":
            guest.run("kill -9 $(cat /run/agent.pid)")
            wait_writing(guest)
        else:
            before = written(guest)
            guest.run("kill -STOP $(pidof outboard-agent); kill -9 $(pidof outboard-agent)")
            assert written(guest) == before
    guest.start_agent()
    wait_writing(guest)
    while guest.ends["ours"].wait_up() == tag:
        pass
    with Wire(path) as client:
        assert client.ask("fsfreeze-status") == "thawed"
        if which == "all":
            with pytest.raises(AgentError, match="the agent was restarted"):
                client.ask("fsfreeze-thaw")
    pinger.go_on("restart", len(pinger.times.get("restart", ())) + 1)
    pinger.go_on("after", PINGS)

# SPDX-License-Identifier: BSD-3-Clause
"""outboard keep under the real systemd, of a Debian guest: the units of share/, a VMM of the client library, and kills. The
device, its VMM and systemd are all in the guest, so no KVM is needed. tests/supervisor/test_keep.py has a scripted manager."""
import pathlib
import subprocess

import pytest
from guestlab import Guest, paths
from guestlab.initramfs import with_libraries

pytest.importorskip("guestlab.debian_disk", reason="needs a guest with Debian's systemd")

OUTBOARD = paths.BUILD / "root/bin/outboard"
COUNTER = paths.BUILD / "release/examples/counter"
UNITS = paths.TREE / "share/systemd"
SERVICE, SOCKET = "outboard-device@counter.service", "outboard-device@counter.socket"
DEVICE = "/run/outboard-counter.sock"
LIBRARIES = "/opt/libraries"
PATIENCE_S = 300  # emulated, on a busy machine


class World:
    """The guest, with the socket unit started and nobody connected."""

    def __init__(self, guest):
        self.guest = guest

    def run(self, script):
        return self.guest.run(script, timeout=PATIENCE_S)

    def show(self, name):
        return self.run(f"systemctl show -p {name} --value {SERVICE}").strip()

    def pid(self):
        return int(self.show("MainPID"))

    def holder(self):
        """The process that waits for the device's death; it has started by the time that the device has."""
        return int(self.run(f"for pid in $(cat /sys/fs/cgroup$({self.group()})/cgroup.procs);"
                            "do grep -qx holder /proc/$pid/comm && echo $pid; done; :").strip())  # fmt: skip

    def group(self):
        return f"systemctl show -p ControlGroup --value {SERVICE}"

    def start_vmm(self, folder):
        """A VMM that counts, and tells so in a folder of the guest."""
        self.run(f"mkdir {folder}; systemd-run --quiet --unit=vmm-{pathlib.Path(folder).name} keep_forever {DEVICE} {folder}")
        self.wait_for_rounds(folder)

    def wait_for_rounds(self, folder):
        """Until the VMM has gone on, or ended."""
        self.run(f"before=$(cat {folder}/rounds 2>/dev/null); until [ -e {folder}/result ] ||"
                 f'[ "$(cat {folder}/rounds 2>/dev/null)" != "$before" ]; do :; done')  # fmt: skip
        result = self.run(f"cat {folder}/result 2>/dev/null; :")
        assert not result, result

    def pause(self, folder):
        """Until the VMM asks for nothing. A message that waits for more than 4.5 s would end its connection, and a guest that
        is emulated on a busy machine may take longer for a restart."""
        self.run(f"touch {folder}/pause; until [ -e {folder}/idle ]; do :; done")

    def resume(self, folder):
        self.run(f"rm {folder}/pause")
        self.wait_for_rounds(folder)

    def finish(self, folder):
        self.run(f"touch {folder}/stop; until [ -e {folder}/result ]; do :; done")
        assert self.run(f"cat {folder}/result").startswith("counted,"), self.journal()

    def kill_and_wait(self):
        """The device's process is killed; until another one serves."""
        old = self.pid()
        self.run(f"kill -9 {old}; until [ $(systemctl show -p MainPID --value {SERVICE}) != {old} ] &&"
                 f"[ $(systemctl show -p ActiveState --value {SERVICE}) = active ]; do :; done")  # fmt: skip

    def journal(self):
        return self.run(f"journalctl --no-pager -o cat -u {SERVICE}")


@pytest.fixture(scope="module")
def guest(shared_logs, tmp_path_factory):
    vmm = tmp_path_factory.mktemp("vmm") / "keep_forever"
    root = paths.BUILD / "root"
    programs = [str(OUTBOARD), str(COUNTER), str(vmm)]
    subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", f"-I{root}/include", "-o", vmm, pathlib.Path(__file__).with_name("keep_forever.c"),
                    f"-L{root}/lib", f"-Wl,-rpath,{root}/lib", "-loutboard"], check=True)  # fmt: skip
    # Libraries lie apart: the disk has links with the names of some.
    files = {path if path in programs else f"{LIBRARIES}/{pathlib.Path(path).name}": source
             for path, source in with_libraries(*programs).items()}  # fmt: skip
    files |= {"/etc/ld.so.conf": f"{LIBRARIES}\n".encode(),
              "/usr/bin/keep_forever": vmm, "/usr/local/bin/outboard": OUTBOARD,
              "/etc/outboard/counter.conf": f'DEVICE="{COUNTER}"\nOPTIONS=""\n'.encode()}  # fmt: skip
    files |= {f"/etc/systemd/system/outboard-device@{kind}": UNITS / f"outboard-device@{kind}" for kind in (".service", ".socket")}
    with Guest(shared_logs / "guest", debian=True, files=files, memory_mib=512, boot_timeout=PATIENCE_S) as booted:
        booted.run(f"rm -f {LIBRARIES}/ld-linux* {LIBRARIES}/libc.so*; ldconfig")
        yield booted


@pytest.fixture
def world(guest):
    made = World(guest)
    made.run(f"systemctl daemon-reload; systemctl reset-failed; systemctl start {SOCKET}")
    yield made
    made.run(f"systemctl stop {SOCKET} {SERVICE}; until [ -z \"$(pgrep -x holder)\" ]; do :; done")


def test_a_device_continues_with_what_systemd_has_stored(world):
    """The connection, the memory and the state come back from systemd's store, and nothing stays in it meanwhile."""
    folder = "/run/kills"
    world.start_vmm(folder)
    for number in range(2):
        assert world.show("NFileDescriptorStore") == "0", "the device process has them"
        world.pause(folder)
        world.kill_and_wait()
        world.resume(folder)
        assert world.show("NRestarts") == str(number + 1)
    world.finish(folder)
    assert world.journal().count("continues for the process before") == 2


def test_what_is_stored_while_no_process_runs(world):
    """A start that is put off: the store has the vault, the table, the connection and the memory at least."""
    folder, settings = "/run/late", f"/run/systemd/system/{SERVICE}.d"
    world.run(f"mkdir -p {settings}; printf '[Service]\nRestartSec=3600\n' >{settings}/late.conf; systemctl daemon-reload")
    world.start_vmm(folder)
    world.pause(folder)
    world.run(f"kill -9 {world.pid()}; until [ $(systemctl show -p SubState --value {SERVICE}) = auto-restart ]; do :; done")
    assert int(world.show("NFileDescriptorStore")) >= 4
    world.run(f"rm -r {settings}; systemctl daemon-reload; systemctl start {SERVICE}")
    world.resume(folder)
    assert world.show("NFileDescriptorStore") == "0"
    world.finish(folder)


@pytest.mark.long
def test_the_holder_dies_too(world):
    """The next process begins afresh, the VMM sees the end of its connection, and the next VMM has a device."""
    world.start_vmm("/run/both")
    world.run(f"kill -9 {world.holder()}")
    old = world.pid()
    world.run(f"kill -9 {old}; until [ -e /run/both/result ]; do :; done")
    assert "failed" in world.run("cat /run/both/result")
    world.start_vmm("/run/after")
    assert world.pid() != old
    world.finish("/run/after")


@pytest.mark.long
def test_a_stop_is_no_death(world):
    """systemd drops its store, and nothing of the device stays."""
    world.start_vmm("/run/stopped")
    world.run(f"systemctl stop {SOCKET} {SERVICE}; until [ -e /run/stopped/result ]; do :; done")
    assert world.show("NFileDescriptorStore") == "0"
    world.run(f"group=/sys/fs/cgroup$({world.group()}); until [ ! -s $group/cgroup.procs ]; do :; done")
    assert world.show("ActiveState") == "inactive"

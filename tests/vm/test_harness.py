# SPDX-License-Identifier: BSD-3-Clause
"""The harness itself, against real guests."""
import os
import select
import signal
import socket
import subprocess
import tempfile

import pytest
from guestlab import CommandFailed, Guest, GuestExited, GuestPanicked, GuestTimeout, LabError, accelerator, paths
from guestlab.qmp import QmpError


@pytest.fixture(scope="module")
def guest(shared_logs):
    """One guest for the tests that leave it as it was."""
    with Guest(shared_logs / "guest") as shared:
        yield shared


def gone(pid):
    return not os.path.exists(f"/proc/{pid}")


def test_accelerator_is_one_of_two():
    assert accelerator() in ("kvm", "tcg")


def test_guest_is_a_stock_linux_with_pci(guest):
    assert "Debian" in guest.run("cat /proc/version")
    assert "0000:00:00.0" in guest.run("ls /sys/bus/pci/devices").split()
    assert guest.read("/sys/bus/pci/devices/0000:00:00.0/vendor") == "0x8086"


def test_command_output_and_status(guest):
    result = guest.attempt("echo out; echo err >&2; exit 3")
    assert (result.status, result.output) == (3, "out\nerr\n")
    with pytest.raises(CommandFailed, match="(?s)status 1\n.*no such file"):
        guest.run("cat /no such file 2>&1; echo no such file; false")


def test_orphans_that_end_while_a_command_is_read(guest):
    """They end one after the other, for as long as the next command, of some kilobytes, takes to arrive."""
    for number in range(5):
        guest.run("sh -c 'for i in $(seq 60); do usleep $((i * 5000)) & done'")
        assert guest.run(f"echo {number}; : {'x' * 3000}", timeout=20) == f"{number}\n"


def test_output_that_looks_like_the_protocol(guest):
    text = "END 1 0\nREADY\nRUN 1 ZmFsc2U="
    for _ in range(3):
        assert guest.run(f"echo '{text}'") == text + "\n"


def test_output_without_an_end_and_without_text(guest):
    assert guest.run("printf 'no newline'") == "no newline"
    assert guest.run("true") == ""
    assert guest.run(r"printf '\000\377\n\r'") == "\0\N{REPLACEMENT CHARACTER}\n\r"


def test_long_output_and_long_command(guest):
    assert guest.run("seq 1 20000") == "".join(f"{n}\n" for n in range(1, 20001))
    assert guest.run(f"echo {'x' * 8000}") == "x" * 8000 + "\n"


def test_command_reads_nothing_of_the_protocol(guest):
    assert guest.run("cat") == ""


def test_a_command_leaves_no_file(guest):
    assert guest.run("ls -A /tmp | grep -v -- '-[0-9]*$' || true") == ""


def test_qmp_command_event_and_error(guest):
    assert guest.qmp.execute("query-status")["status"] == "running"
    guest.qmp.execute("stop")
    guest.qmp.wait_event("STOP")
    guest.qmp.execute("cont")
    guest.qmp.wait_event("RESUME")
    with pytest.raises(QmpError, match="device_del") as caught:
        guest.qmp.execute("device_del", {"id": "absent"})
    assert caught.value.kind == "DeviceNotFound"
    with pytest.raises(GuestTimeout, match="event SHUTDOWN"):
        guest.qmp.wait_event("SHUTDOWN", timeout=0.01)


def test_qmp_carries_descriptors(guest):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        guest.qmp.give("line", theirs)
        guest.qmp.execute(
            "chardev-add",
            {"id": "line", "backend": {"type": "socket", "data": {
                "addr": {"type": "fd", "data": {"str": "line"}}, "server": False}}},
        )  # fmt: skip
        assert {"line"} <= {chardev["label"] for chardev in guest.qmp.execute("query-chardev")}
        guest.qmp.execute("chardev-remove", {"id": "line"})


def test_console_is_awaited_line_by_line(guest):
    seen = len(guest.machine.console.lines)
    guest.run("echo 'marker 42 here' >/dev/kmsg")
    assert guest.wait_console(r"marker (\d+)", start=seen)[1] == "42"
    with pytest.raises(GuestTimeout, match="'never said' on the console"):
        guest.wait_console("never said", timeout=0.01)


def test_programs_files_and_modules(boot):
    guest = boot(
        modules=["virtio_console", "nvme"],
        programs=["/bin/busybox"],
        files={"/etc/greeting": b"hello\n", "/opt/busybox": "/bin/busybox"},
    )
    assert guest.run("cat /etc/greeting") == "hello\n"
    assert guest.run("/opt/busybox echo works") == "works\n"
    assert "virtio_console" in guest.run("lsmod")


def test_unknown_module_is_named(logs):
    with pytest.raises(LabError, match="no module 'absent_driver'"):
        Guest(logs / "guest", modules=["absent_driver"])


def test_missing_program_is_named(logs):
    with pytest.raises(LabError, match="/no/such/program into a guest: No such file"):
        Guest(logs / "guest", programs=["/no/such/program"])


def test_saved_guest_goes_on(boot, cleanup):
    state = cleanup.enter_context(tempfile.TemporaryFile())
    first = boot()
    boot_id = first.read("/proc/sys/kernel/random/boot_id")
    first.save(state)
    first.kill()
    for name in ("second", "third"):
        restored = boot(name, state=state)
        assert restored.read("/proc/sys/kernel/random/boot_id") == boot_id
        assert restored.attempt("mkdir /tmp/mine").status == 0  # what one does, the next knows nothing of
        restored.kill()


def test_reboot_and_shutdown(boot):
    guest = boot()
    first = guest.run("cat /proc/sys/kernel/random/boot_id")
    guest.reboot()
    assert guest.run("cat /proc/sys/kernel/random/boot_id") != first
    assert guest.shutdown() == 0
    assert gone(guest.pid)


def test_guest_whose_root_is_a_disk(boot, tmp_path):
    image = tmp_path / "disk.img"
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    disk = ["-drive", f"id=disk,if=none,format=raw,file={image}", "-device", "nvme,drive=disk,serial=1"]
    first = boot(name="first", arguments=disk, files={"/etc/greeting": b"hello"})
    first.run("mke2fs /dev/nvme0n1 && mount /dev/nvme0n1 /mnt")
    first.install("/mnt")
    first.run("umount /mnt")
    first.shutdown()
    second = boot(name="second", arguments=disk, root="/dev/nvme0n1")
    assert second.read("/etc/greeting") == "hello"
    assert second.run("awk '$2 == \"/\" {print $1}' /proc/mounts") == "/dev/root\n"


def test_debian_with_systemd(boot):
    files = {"/lib/systemd/system/given.service": b"[Service]\nExecStart=/usr/bin/true\n", "/etc/given": b"given"}
    guest = boot(debian=True, memory_mib=512, files=files, programs=["/bin/busybox"])
    assert guest.read("/proc/1/comm") == "systemd"
    assert guest.run("systemctl is-system-running --wait") == "running\n"
    assert guest.run("systemctl start given && cat /etc/given && test -x /usr/bin/busybox && ls /sys/class/net") == "givenlo\n"
    assert guest.run("loginctl list-sessions --no-legend; busctl --list | grep -o org.freedesktop.login1") == "org.freedesktop.login1\n"


def test_panic_is_told_with_the_end_of_the_log(boot):
    guest = boot()
    with pytest.raises(GuestPanicked, match=r"(?s)expected 'echo c .*console.log: .*sysrq triggered crash"):
        guest.run("echo c >/proc/sysrq-trigger")


def test_panic_during_boot(logs):
    with pytest.raises(GuestPanicked, match="(?s)guest to be ready.*Attempted to kill init"):
        Guest(logs / "guest", append="rdinit=/bin/false")


def test_timeout_is_told_with_the_command(boot):
    guest = boot()
    with pytest.raises(GuestTimeout, match="waited 0.2 s for 'sleep 1000' to end"):
        guest.run("sleep 1000", timeout=0.2)


def test_answer_that_comes_too_late_is_not_the_next_one(guest):
    with pytest.raises(GuestTimeout):
        guest.run("seq 1 5000", timeout=0.001)
    assert guest.run("echo next") == "next\n"


def test_qemu_that_dies_is_told(boot):
    guest = boot()
    os.kill(guest.pid, signal.SIGKILL)
    with pytest.raises(GuestExited, match="QEMU ended"):
        guest.run("true")
    with pytest.raises(GuestExited):
        guest.qmp.execute("query-status")


def test_qemu_that_does_not_start_is_told(logs):
    with pytest.raises(GuestExited, match="(?s)did not start.*'absent-device' is not a valid device"):
        Guest(logs / "guest", arguments=["-device", "absent-device"])


def test_guest_leaves_nothing_but_logs(logs):
    with Guest(logs / "guest") as guest:
        pass
    assert gone(guest.pid)
    assert sorted(os.listdir(logs / "guest")) == ["console.log", "qemu.log"]



def test_guest_ends_with_whoever_started_it(logs):
    """Killed, a test run has no chance to clean up."""
    script = f"from guestlab import Guest; print(Guest({str(logs / 'guest')!r}).pid, flush=True); input()"
    command = ["/usr/bin/python3", "-c", script]
    environment = os.environ | {"PYTHONPATH": str(paths.TREE / "tools")}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as starter:
        qemu = os.pidfd_open(int(starter.stdout.readline()))
        starter.kill()
    assert select.select([qemu], [], [], 30)[0], "QEMU outlives the process that started it"
    os.close(qemu)

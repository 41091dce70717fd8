# SPDX-License-Identifier: BSD-3-Clause
"""outboard run: processes that start, end, fail and lie. The VMM is `outboard inspect`, or a script."""
import os
import pathlib
import pty
import signal
import socket
import subprocess

import pytest
from guestlab import paths
from guestlab.process import tail
from machinelab import OUTBOARD, Machine

HOSTILE = '[device "bad"]\nprogram = "{FOLDER}/bad"\n'
LED = paths.BUILD / "release/examples/led"
NOBODY = 65534
GONE = "outboard-nvme: the peer has gone, ending\n"
LOOK = '[machine]\nprogram = "{OUTBOARD}"\narguments = "inspect --fd=%fd:disk0%"\n'
DISK = '[device "disk0"]\nprogram = "nvme"\nimage = "{FOLDER}/disk.img"\n'


def wait_for(condition, process):
    """Busy-waits for something that the process does; it must not end before."""
    while not condition():
        assert process.running or condition(), process.log_tail()


def children(process):
    return pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


def has_ended(pid):
    return not os.path.exists(f"/proc/{pid}") or pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


def test_a_vmm_finds_its_device(machine):
    machine.image()
    done = machine.write(LOOK + DISK).run()
    assert (done.returncode, done.stderr) == (0, f"outboard run: disk0: {GONE}")
    assert "mass storage" in done.stdout


def test_an_ordinary_user_runs_a_machine(folder, spawn):
    machine = Machine(folder, spawn).write(LOOK + DISK)
    image, as_user = machine.image(), []
    if os.geteuid() == 0:
        as_user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        for path in (folder, image):
            os.chown(path, NOBODY, NOBODY)
    done = subprocess.run([*as_user, OUTBOARD, "run", machine.file], cwd=folder, env=os.environ | {"XDG_RUNTIME_DIR": str(folder)},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, f"outboard run: disk0: {GONE}")
    assert "mass storage" in done.stdout


def test_a_channel_reaches_its_port(machine):
    """The VMM is the guest's end of the channel here. The proxy ends with it, and that is no failure."""
    machine.write('[machine]\nprogram = "{OUTBOARD}"\narguments = "proxy run --channel=fd:%fd:c%,line -- echo through the channel"\n'
                  '[channel "c"]\narguments = "--allow-run"\n')  # fmt: skip
    done = machine.run()
    assert (done.returncode, done.stdout) == (0, "through the channel\n"), done.stderr


def test_progress_on_a_terminal(machine):
    """How many devices are ready, and nothing of it behind the last."""
    machine.image()
    machine.write(LOOK + DISK)
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run([OUTBOARD, "run", machine.file], cwd=machine.folder, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=theirs, check=False)  # fmt: skip
        os.set_blocking(ours, False)
        seen = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 0, seen
    assert "\x1b[K1 of 1 devices are ready\r\x1b[K" in seen, seen


def test_a_vmm_that_takes_paths(machine, tmp_path_factory):
    machine.image()
    runtime = tmp_path_factory.mktemp("r")
    machine.write('[machine]\nprogram = "{OUTBOARD}"\narguments = "inspect %socket:disk0%"\n' + DISK)
    done = machine.run(XDG_RUNTIME_DIR=str(runtime))
    assert done.returncode == 0, done.stderr
    assert "mass storage" in done.stdout
    assert list(runtime.iterdir()) == []


def test_each_vmm_descriptor_is_its_device(machine):
    machine.image()
    machine.write("""
        [machine]
          program = "sh"
          arguments = "-c '{OUTBOARD} inspect --fd=%fd:lamp%' unused %fd:disk0%"
        [device "disk0"]
          program = "nvme"
          image = "{FOLDER}/disk.img"
        [device "lamp"]
          program = "{LED}"
    """.replace("{LED}", str(LED)))
    done = machine.run()
    assert done.returncode == 0, done.stderr
    assert "1af4:10f2" in done.stdout


def test_a_device_that_can_t_start_keeps_the_vmm_from_it(machine):
    machine.write("""
        [machine]
          program = "touch"
          arguments = "{FOLDER}/started %fd:disk0%"
        [device "disk0"]
          program = "nvme"
          image = "/no/such/image"
    """)
    done = machine.run()
    assert done.returncode == 3
    assert "/no/such/image" in done.stderr and "disk0: ended with status" in done.stderr
    assert "before it was ready" in done.stderr
    assert not (machine.folder / "started").exists()


def test_a_vmm_that_can_t_start(machine):
    machine.image()
    done = machine.write('[machine]\nprogram = "/no/vmm"\narguments = "%fd:disk0%"\n' + DISK).run()
    assert done.returncode == 4
    assert "[machine]: can't start /no/vmm: No such file or directory" in done.stderr


def test_a_vmm_that_fails(machine):
    machine.image()
    done = machine.write("[machine]\nprogram = \"sh\"\narguments = \"-c 'exit 7' %fd:disk0%\"\n" + DISK).run()
    assert done.returncode == 4
    assert sorted(done.stderr.splitlines()) == [f"outboard run: disk0: {GONE.strip()}", "outboard run: the VMM ended with status 7"]


def test_the_vmm_has_our_standard_streams_and_no_other_descriptor(machine):
    machine.image()
    machine.script("vmm", "import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd')))")
    done = machine.write('[machine]\nprogram = "{FOLDER}/vmm"\narguments = "%fd:disk0%"\n' + DISK).run()
    assert done.stdout == "[0, 1, 2, 3, 4]\n"  # 4 is the folder's own


def test_sigterm_ends_the_vmm_and_then_the_device(machine):
    machine.image()
    machine.script("vmm", """
import os, pathlib, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
parent = os.getppid()
device = [pid for pid in pathlib.Path(f"/proc/{{parent}}/task/{{parent}}/children").read_text().split() if int(pid) != os.getpid()][0]
pathlib.Path("{0}/running").touch()
signal.sigwait([signal.SIGTERM])
pathlib.Path("{0}/ended").write_text(str(pathlib.Path("/proc/{{}}".format(device)).exists()))
""".format(machine.folder))
    process = machine.write('[machine]\nprogram = "{FOLDER}/vmm"\narguments = "%fd:disk0%"\n' + DISK).start()
    wait_for((machine.folder / "running").exists, process)
    assert process.terminate() == 0
    assert (machine.folder / "ended").read_text() == "True"


def test_a_second_signal_kills_a_vmm_that_does_not_end(machine):
    machine.image()
    machine.script("vmm", f"""
import pathlib, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
pathlib.Path("{machine.folder}/running").touch()
signal.sigwait([signal.SIGTERM])
pathlib.Path("{machine.folder}/told").touch()
signal.pause()
""")
    process = machine.write('[machine]\nprogram = "{FOLDER}/vmm"\narguments = "%fd:disk0%"\n' + DISK).start()
    wait_for((machine.folder / "running").exists, process)
    process.signal(signal.SIGTERM)
    wait_for((machine.folder / "told").exists, process)
    assert process.terminate() == 0


def test_a_device_that_dies_is_told_and_the_vmm_goes_on(machine):
    machine.image()
    machine.script("vmm", f"""
import pathlib, socket, sys
pathlib.Path("{machine.folder}/running").touch()
assert socket.socket(fileno=int(sys.argv[1])).recv(1) == b""
""")
    process = machine.write('[machine]\nprogram = "{FOLDER}/vmm"\narguments = "%fd:disk0%"\n' + DISK).start()
    wait_for((machine.folder / "running").exists, process)
    device = next(pid for pid in children(process) if b"outboard-nvme" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(int(device), signal.SIGKILL)
    assert process.wait() == 3
    assert "disk0: was ended by signal 9 (Killed)" in tail(process.log)


@pytest.mark.parametrize("on_hang", ["fail", "kill"])
def test_a_device_that_hangs_is_killed(machine, on_hang):
    """Stopped, it gives no sign of life; the VMM goes with it, or sees its connection end."""
    machine.image()
    machine.script("vmm", f"""
import pathlib, signal, socket, sys
pathlib.Path("{machine.folder}/running").touch()
assert socket.socket(fileno=int(sys.argv[1])).recv(1) == b""
if "{on_hang}" == "kill":
    signal.pause()
""")
    machine.write('[machine]\nprogram = "{FOLDER}/vmm"\narguments = "%fd:disk0%"\n' + DISK
                  + f'watchdog-ms = "1000"\non-hang = "{on_hang}"\n')  # fmt: skip
    process = machine.start()
    wait_for((machine.folder / "running").exists, process)
    device = next(pid for pid in children(process) if b"outboard-nvme" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(int(device), signal.SIGSTOP)
    assert process.wait() == 3
    log = process.log.read_text()
    assert "disk0: has given no sign of life for 1000 ms; sends SIGKILL" in log
    assert ("sends SIGKILL to the VMM" in log) == (on_hang == "kill")


def test_a_device_that_gives_signs_of_life_serves(machine):
    """The VMM ends when the device has told often enough that its loop runs to outlive the first interval."""
    machine.script("bad", f"""
import os, select, socket, time
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.connect(os.environ["NOTIFY_SOCKET"].replace("@", chr(0)))
    assert os.environ["WATCHDOG_USEC"] == "3000000"
    notify.send(b"READY=1")
    end = time.monotonic() + 4
    while time.monotonic() < end:
        notify.send(b"WATCHDOG=1")
        assert select.select([3], [], [], 0.01)[0] == []  # the VMM is there
open("{machine.folder}/alive", "w").close()
os.read(3, 1)
""")
    machine.script("vmm", f"""
import os
while not os.path.exists("{machine.folder}/alive"):
    os.kill(os.getppid(), 0)
""")
    done = machine.write('[machine]\nprogram = "{FOLDER}/vmm"\narguments = "%fd:bad%"\n' + HOSTILE + 'watchdog-ms = "3000"\n').run()
    assert (done.returncode, done.stderr) == (0, "")


def test_devices_that_listen_without_a_vmm(machine):
    machine.image()
    path = machine.folder / "disk.sock"
    process = machine.write(DISK + f'socket-path = "{path}"\n').start()


    def listens():
        with socket.socket(socket.AF_UNIX) as peer:
            return peer.connect_ex(str(path)) == 0

    wait_for(listens, process)
    assert process.terminate() == 0
    assert not path.exists()


def test_ready_counts_from_the_device_alone(machine):
    """A process that is no child of the device's sends READY=1 to the device's socket; the VMM must not start for that."""
    machine.script("bad", f"""
import os, pathlib, signal, socket
path = os.environ["NOTIFY_SOCKET"].replace("@", chr(0))
if os.fork() == 0:
    if os.fork() != 0:
        os._exit(0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.sendto(b"READY=1", path)
    pathlib.Path("{machine.folder}/lied").touch()
    os._exit(0)
os.wait()
signal.pause()
""")
    machine.write('[machine]\nprogram = "touch"\narguments = "{FOLDER}/started %fd:bad%"\n' + HOSTILE)
    process = machine.start()
    wait_for((machine.folder / "lied").exists, process)
    assert process.terminate() == 0
    assert not (machine.folder / "started").exists()


def test_an_image_of_another_format(machine):
    """The device is then a child of `outboard disk`, which tells for it."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", machine.folder / "disk.qcow2", "1M"], check=True)
    done = machine.write(LOOK + DISK.replace('"nvme"', '"disk"').replace("disk.img", "disk.qcow2")).run()
    assert done.returncode == 0, done.stderr
    assert "mass storage" in done.stdout


def test_a_device_that_floods_the_log_is_bounded(machine):
    machine.script("bad", """
import os, socket, sys
for number in range(20000):
    os.write(2, b"forged\\x1b[2J line %d\\r" % number + b"x" * 100 + b"\\n")
os.write(2, b"a line without an end" * 1000)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"STATUS=x\\nREADY=1\\n", os.environ["NOTIFY_SOCKET"].replace("@", chr(0)))
os.read(3, 1)
""")
    done = machine.write('[machine]\nprogram = "true"\narguments = "%fd:bad%"\n' + HOSTILE).run()
    assert done.returncode == 0, done.stderr[-1000:]
    assert len(done.stderr) < 100_000
    assert "more like this" in done.stderr
    assert all(line.startswith("outboard run: ") and line.isprintable() for line in done.stderr.splitlines())


def test_the_vmm_and_its_devices_outlive_a_killed_supervisor(machine, cleanup):
    machine.image()
    machine.script("vmm", f"""
import os, pathlib, socket, sys
pathlib.Path("{machine.folder}/running").write_text(str(os.getpid()))
while not os.path.exists("{machine.folder}/go"):
    pass
import subprocess
result = subprocess.run(["{OUTBOARD}", "inspect", "--fd=3"], pass_fds=[3], capture_output=True)
pathlib.Path("{machine.folder}/result.new").write_text(str(result.returncode))
os.rename("{machine.folder}/result.new", "{machine.folder}/result")
""")
    process = machine.write('[machine]\nprogram = "{FOLDER}/vmm"\narguments = "%fd:disk0%"\n' + DISK).start()
    wait_for(lambda: (machine.folder / "running").exists() and (machine.folder / "running").read_text(), process)
    pids = children(process)
    process.kill()
    (machine.folder / "go").touch()
    while not (machine.folder / "result").exists():
        assert not has_ended(int((machine.folder / "running").read_text())) or (machine.folder / "result").exists()
    assert (machine.folder / "result").read_text() == "0"
    while not all(map(has_ended, map(int, pids))):  # the device ends with its VMM
        pass


@pytest.mark.parametrize("words", [[], ["--what"], ["a", "b"]])
def test_usage(words):
    for command in ("run", "qemu-args"):
        done = subprocess.run([OUTBOARD, command, *words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"outboard {command}: got ")

# SPDX-License-Identifier: BSD-3-Clause
"""A running Linux that the host commands."""
import os
import pathlib
import re
import shlex
import socket
import time

from guestlab import debian_disk, initramfs, kernels
from guestlab.accelerator import accelerator
from guestlab.errors import CommandFailed, GuestExited, GuestPanicked, GuestTimeout, LabError
from guestlab.machine import Machine
from guestlab.shell import Shell

# Far more than a boot takes (2 s); a loaded machine is no reason for a failed test.
BOOT_TIMEOUT_S = 120
DEBIAN_BOOT_TIMEOUT_S = 600
COMMAND_TIMEOUT_S = 60
MIGRATION_BYTES_PER_S = 1 << 40  # into a file: as fast as it goes
PANIC = re.compile(r"end Kernel panic")  # the last line of a panic's report


class Guest:
    """Booted and ready for commands when the constructor returns; a context manager that ends it.

    logs: a folder, made if it isn't there, for console.log, commands.log and qemu.log.
    flavour: "cloud" or "full", see kernels.py. modules: names of kernel modules that init loads.
    programs, files: see initramfs.build(). root: a disk of the guest's, such as "/dev/nvme0n1", on which install()
    was done; the kernel mounts it by its own drivers, and there is no initramfs. state: a file in which save() of a
    guest with the same options left its machine, which goes on from there instead of booting. incoming: it waits for
    migrate_to() of a guest with the same options, and is paused then. debian: process 1 is the systemd of
    debian_disk.py's disk, to which programs and files are copied, programs into /usr/bin. Everything else: see Machine.
    """

    def __init__(self, logs, *, flavour="cloud", modules=(), programs=(), files=None, root=None, accel=None,
                 boot_timeout=None, append="", arguments=(), state=None, incoming=False, debian=False, **machine):  # fmt: skip
        self.logs = pathlib.Path(logs)
        self.logs.mkdir(parents=True, exist_ok=True)
        kernel = kernels.kernel(flavour)
        archive = None
        boot_timeout = boot_timeout or (DEBIAN_BOOT_TIMEOUT_S if debian else BOOT_TIMEOUT_S)
        if debian:
            files = {debian_disk.COMMANDS: initramfs.COMMANDS, **(files or {})}
            archive = initramfs.build(kernel, [*debian_disk.MODULES, *modules], programs, files, place=debian_disk.place)
            append += f" {debian_disk.APPEND}"
            arguments = [*debian_disk.arguments(), *arguments]
        elif root:
            append += f" root={root} rw rootwait init=/init"
        else:
            archive = initramfs.build(kernel, modules, programs, files)
        if state:
            arguments = [*arguments, "-incoming", "defer"]
        if incoming:
            arguments = [*arguments, "-incoming", "defer", "-S"]
        self.machine = Machine(
            self.logs, kernel, archive, accel or accelerator(), append=append, arguments=arguments, **machine
        )
        self.qmp = self.machine.qmp
        self._shell = Shell(self.machine.lines[0], self.wait)
        try:
            if state:
                self._restore(state, boot_timeout)
            elif not incoming:
                self._shell.wait_ready(boot_timeout)
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self):
        """QEMU's."""
        return self.machine.pid

    def run(self, command, timeout=COMMAND_TIMEOUT_S, check=True):
        """Runs a script of the guest's shell: its output, or CommandFailed if its status is not 0."""
        result = self.attempt(command, timeout)
        if check and result.status != 0:
            raise CommandFailed(f"'{command}' in the guest: status {result.status}\n{result.output}")
        return result.output

    def attempt(self, command, timeout=COMMAND_TIMEOUT_S):
        """Runs a script of the guest's shell: its Result, whatever its status."""
        with open(self.logs / "commands.log", "a", encoding="utf-8") as log:
            print(f"$ {command}", file=log, flush=True)
            result = self._shell.run(command, timeout)
            print(f"{result.output}[status {result.status}]", file=log)
        return result

    def start(self, command):
        """Has a script run and doesn't wait for its answer; for one that may stop the guest."""
        with open(self.logs / "commands.log", "a", encoding="utf-8") as log:
            print(f"$ {command}", file=log)
        self._shell.send(command)

    def read(self, path):
        """The contents of a file of the guest, such as one in /sys, without the white space around."""
        return self.run(f"cat {shlex.quote(path)}").strip()

    def wait_console(self, pattern, timeout=COMMAND_TIMEOUT_S, start=0):
        """Waits for a line of the console that the pattern is found in; the match.

        start: the number of lines to pass over; len(guest.machine.console.lines) is "from now on".
        """
        found = None

        def arrived():
            nonlocal found, start
            while not found and start < len(self.machine.console.lines):
                found = re.search(pattern, self.machine.console.lines[start])
                start += 1
            return found

        self.wait(arrived, timeout, f"'{pattern}' on the console")
        return found

    def wait(self, predicate, timeout, what):
        """Waits until predicate(), asked whenever a serial line brings something, is true."""
        deadline = time.monotonic() + timeout
        console = self.machine.console
        checked = 0
        with self.machine.changed:
            while not predicate():
                if any(PANIC.search(line) for line in console.lines[checked:]):
                    raise GuestPanicked(f"the guest panicked; expected {what}{self._log_tail()}")
                checked = len(console.lines)
                if console.ended:
                    raise GuestExited(f"QEMU ended; expected {what}{self._log_tail()}")
                if not self.machine.changed.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                    raise GuestTimeout(f"waited {timeout} s for {what}{self._log_tail()}")

    def install(self, folder):
        """Copies this guest's system to a mounted file system, so that another Guest can have it as its root."""
        self.run(f"cd {shlex.quote(folder)} && cp -a /bin /etc /commands.sh /init /lib . && mkdir dev proc sys tmp mnt")

    def reboot(self, timeout=BOOT_TIMEOUT_S):
        """The guest restarts (the machine is reset) and is ready for commands again."""
        self._shell.send("sync; reboot -f")
        self._shell.wait_ready(timeout, "the guest to restart")

    def reset_shell(self, timeout=BOOT_TIMEOUT_S):
        """The machine was reset from outside: waits until the guest is ready for commands again."""
        self._shell.wait_ready(timeout, "the guest to restart")

    def shutdown(self, timeout=30):
        """The guest powers its machine off, and QEMU ends; its exit status."""
        self._shell.send("sync; poweroff -f")
        return self.machine.wait(timeout)

    def save(self, file, timeout=BOOT_TIMEOUT_S):
        """Writes the running machine into an empty file, for Guest(state=file); from then on it is paused.

        No command may be under way, but those that a script has left in the background.
        """
        self._migrate("migrate", file)
        self.qmp.wait_event("MIGRATION", timeout, status="completed")

    def migrate_to(self, target, bytes_per_s=MIGRATION_BYTES_PER_S, timeout=BOOT_TIMEOUT_S):
        """Moves the running machine to a guest that is `incoming`; both are paused then. As for save(), no command may
        be under way."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            target._migrate("migrate-incoming", theirs)
            self._migrate("migrate", ours, bytes_per_s)
        for end in (self, target):
            end.qmp.wait_event("MIGRATION", timeout, status="completed")

    def _restore(self, file, timeout):
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        self._migrate("migrate-incoming", file)
        self.qmp.wait_event("RESUME", timeout)

    def _migrate(self, command, file, bytes_per_s=MIGRATION_BYTES_PER_S):
        self.qmp.execute("migrate-set-capabilities", {"capabilities": [{"capability": "events", "state": True}]})
        self.qmp.execute("migrate-set-parameters", {"max-bandwidth": bytes_per_s})
        self.qmp.give("state", file)
        self.qmp.execute(command, {"uri": "fd:state"})

    def memory(self):
        """A file that is the machine's memory, as QEMU shares it with device programs; to be closed."""
        for descriptor in pathlib.Path(f"/proc/{self.pid}/fd").iterdir():
            if os.readlink(descriptor).startswith("/memfd:memory-backend-memfd"):
                return open(descriptor, "rb")
        raise LabError("QEMU has no shared memory")

    def kill(self):
        """Ends QEMU at once, as a crash or a pulled plug would; never fails."""
        self.machine.kill()

    def _log_tail(self):
        return self.machine.log_tail()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

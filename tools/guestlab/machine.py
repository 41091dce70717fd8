# SPDX-License-Identifier: BSD-3-Clause
"""A stock QEMU: a q35 machine with shared memory, QMP, and serial lines to the host.

It leaves nothing in the file system but its logs: QMP and the serial lines are socket pairs, and the
initramfs is a memfd.
"""
import os
import pathlib
import socket
import threading

from guestlab.errors import GuestExited
from guestlab.process import Process, tail
from guestlab.qmp import Qmp
from guestlab.serial import SerialLine

QEMU = "qemu-system-x86_64"

# Names another QEMU than the one on PATH, such as a newer one that has more devices.
OVERRIDE = "OUTBOARD_QEMU"

# The console gets warnings and worse until init raises it: the whole of a boot's log doubles the time of a nested one.
BOOT_LOG_LEVEL = 5


class Machine:
    """Started by the constructor; a context manager that ends it.

    logs: a folder for console.log and qemu.log. kernel: a kernels.Kernel. initramfs: its bytes, or None.
    append: more of the kernel's command line. arguments: more of QEMU's. inherit: sockets and files whose
    descriptor numbers the arguments name (ours are closed). lines: how many serial lines besides the console.
    memory_mib: whole pages, not necessarily whole MiB.
    echo: a function to hand every chunk that the last of those lines brings. qemu: a program; left out, what
    OUTBOARD_QEMU names, or the one on PATH.
    """

    def __init__(self, logs, kernel, initramfs, accel, *, cpu=None, cpus=1, memory_mib=256, append="",
                 arguments=(), inherit=(), lines=1, echo=None, qemu=None):  # fmt: skip
        self.logs = pathlib.Path(logs)
        self.changed = threading.Condition()
        ours, theirs = zip(*(socket.socketpair() for _ in range(2 + lines)))
        inherit = [*theirs, *inherit]
        argv = [
            qemu or os.environ.get(OVERRIDE) or QEMU, "-nodefaults", "-no-user-config", "-display", "none",
            "-machine", f"q35,accel={accel},memory-backend=ram",
            "-object", f"memory-backend-memfd,id=ram,size={int(memory_mib * 1024)}K,share=on",
            "-m", f"{int(memory_mib * 1024)}K", "-cpu", cpu or ("host" if accel == "kvm" else "max"), "-smp", str(cpus),
            "-kernel", kernel.image,
            "-append", f"console=ttyS0 no_timer_check loglevel={BOOT_LOG_LEVEL} panic=0 {append}",
            "-chardev", f"socket,id=qmp,fd={theirs[0].fileno()}", "-mon", "chardev=qmp,mode=control",
        ]  # fmt: skip
        for number, sock in enumerate(theirs[1:]):
            argv += ["-chardev", f"socket,id=serial{number},fd={sock.fileno()}", "-serial", f"chardev:serial{number}"]
        if initramfs is not None:
            inherit.append(_memory_file("initramfs", initramfs))
            argv += ["-initrd", f"/proc/self/fd/{inherit[-1].fileno()}"]
        self.process = Process([*argv, *arguments], self.logs / "qemu.log", inherit)
        self._sockets = ours
        self.console = SerialLine(ours[1], self.changed, self.logs / "console.log")
        self.lines = [
            SerialLine(sock, self.changed, echo=echo if sock is ours[-1] else None) for sock in ours[2:]
        ]
        try:
            self.qmp = Qmp(ours[0])
        except GuestExited:
            self.kill()
            raise GuestExited(f"QEMU did not start{self.log_tail()}") from None

    @property
    def pid(self):
        return self.process.pid

    def wait(self, timeout=30):
        """Waits until QEMU ends of itself; its exit status."""
        return self.process.wait(timeout)

    def kill(self):
        """Ends QEMU at once; never fails."""
        self.process.kill()
        for line in (self.console, *self.lines):
            line.close()
        for sock in self._sockets:
            sock.close()

    def log_tail(self):
        """The end of both logs, to be put behind an error message."""
        return tail(self.logs / "console.log") + self.process.log_tail(10)


def _memory_file(name, content):
    file = os.fdopen(os.memfd_create(name), "wb")
    file.write(content)
    file.flush()
    return file

# SPDX-License-Identifier: BSD-3-Clause
"""outboard-blk as a disk of real guests, over vhost-user."""
import socket

from guestlab import paths
from guestlab.initramfs import with_libraries

PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-blk"
MODULES = ["virtio_pci", "virtio_blk", "ext4", "crc32c_generic"]
PATIENCE_S = 300


class Disk:
    """A running outboard-blk that listens, and what a guest needs to have it."""

    def __init__(self, spawn, folder, image, *options, name="blk", trace=False):
        self.image, self.options, self.name = image, options, name
        self.path = folder / f"{name}.socket"
        self.trace_path = folder / f"{name}.trace" if trace else None
        self._traces, self._spawn, self._lives = trace, spawn, 0
        self.process = None

    def start(self):
        """Starts a process, the first or the next one; it takes the path when it is ready for a VMM."""
        self._lives += 1
        options = [f"--socket-path={self.path}", f"--image={self.image},serial={self.name.upper()}", *self.options]
        if self._traces:
            self.trace_path = self.trace_path.with_name(f"{self.name}-{self._lives}.trace")
            options.append(f"--trace={self.trace_path}")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        # The notify socket tells when it listens: an abstract name, which no path has to be left behind for.
        address = f"\0{self.path}.{self._lives}"
        with ours, theirs, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(address)
            notify.settimeout(PATIENCE_S)
            self.process = self._spawn(
                [PROGRAM, *options], name=f"{self.name}-{self._lives}", env={"NOTIFY_SOCKET": "@" + address[1:]}
            )
            while b"READY=1" not in notify.recv(4096):
                pass
        return self

    def arguments(self, *properties, chardev=()):
        """QEMU's."""
        device = ",".join(["vhost-user-blk-pci", f"id={self.name}", f"chardev=c-{self.name}", *properties])
        socket_options = ",".join(["socket", f"id=c-{self.name}", f"path={self.path}", *chardev])
        return ["-chardev", socket_options, "-device", device]

    def trace(self):
        return self.trace_path.read_text()


def guest_options(*disks_arguments, **options):
    """Those of boot() for a guest with these disks, that can make file systems."""
    arguments = [word for words in disks_arguments for word in words]
    return {"modules": MODULES, "memory_mib": 384, "files": with_libraries("/sbin/mke2fs"), "arguments": arguments,
            **options}  # fmt: skip


def complaints(guest):
    """What the kernel has to say of its disk that is more than information."""
    return guest.run("dmesg -r | grep -iE 'virtio|vd[a-z]|blk_update|I/O error|nobody cared' | grep -E '^<[0-4]>' || true")

# SPDX-License-Identifier: BSD-3-Clause
"""QEMU's own remote process: a PCI device outside the VMM, served over mpqemu; the peer to be measured against."""
import socket

from guestlab.machine import QEMU
from guestlab.process import Process


def start_remote(log, device="lsi53c895a", arguments=()):
    """Starts qemu-system-x86_64 -machine x-remote with one device.

    arguments: more of QEMU's, such as a disk on bus "remote.0" (the device's id is "remote").
    Returns the Process and the socket on which it serves: the proxy's end.
    """
    ours, theirs = socket.socketpair()
    argv = [
        QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "x-remote", "-monitor", "none",
        "-device", f"{device},id=remote",
        "-object", f"x-remote-object,id=object,devid=remote,fd={theirs.fileno()}",
        *arguments,
    ]  # fmt: skip
    return Process(argv, log, [theirs]), ours

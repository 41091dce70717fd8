# SPDX-License-Identifier: BSD-3-Clause
"""Real virtual machines for tests, demonstrations and measurements; docs/testing.md tells how to use it.

A Guest (guest.py) is a stock Linux kernel (kernels.py) with an initramfs made on the spot
(initramfs.py) in a stock QEMU (machine.py), whose shell the host commands over a serial line
(shell.py). accelerator.py says whether this machine's KVM is good for anything; nested.py makes a
KVM that is, at the cost of emulating it.
"""
from guestlab.accelerator import accelerator
from guestlab.descriptors import count_descriptors
from guestlab.errors import CommandFailed, GuestExited, GuestPanicked, GuestTimeout, LabError
from guestlab.guest import Guest
from guestlab.process import Process

__all__ = [
    "CommandFailed",
    "Guest",
    "GuestExited",
    "GuestPanicked",
    "GuestTimeout",
    "LabError",
    "Process",
    "accelerator",
    "count_descriptors",
]

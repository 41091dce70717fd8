# SPDX-License-Identifier: BSD-3-Clause
"""What can go wrong with a guest. Each message ends with the tail of the logs that explain it."""


class LabError(Exception):
    """Something that a test needs is missing or broke; the message says what to do."""


class GuestTimeout(LabError):
    """What was waited for did not come in time."""


class GuestPanicked(LabError):
    """The guest's kernel panicked."""


class GuestExited(LabError):
    """QEMU ended while something was still expected of the guest."""


class CommandFailed(LabError):
    """A command in the guest, or a program on the host, ended with a status other than 0."""

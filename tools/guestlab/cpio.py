# SPDX-License-Identifier: BSD-3-Clause
"""Writes cpio archives in the "newc" format, which the kernel unpacks as an initramfs.

Format: Documentation/driver-api/early-userspace/buffer-format.rst in the Linux tree.
"""
import stat

HEADER_LEN = 110  # the magic and thirteen fields of eight hexadecimal digits


class Archive:
    """An archive under construction. Paths have no leading slash; parent folders come by themselves."""

    def __init__(self):
        self._data = bytearray()
        self._names = set()

    def add_file(self, name, content, mode=0o644):
        self._add(name, stat.S_IFREG | mode, content)

    def add_link(self, name, target):
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def add_folder(self, name):
        self._add(name, stat.S_IFDIR | 0o755, b"")

    def add_character_device(self, name, major, minor):
        self._add(name, stat.S_IFCHR | 0o600, b"", (major, minor))

    def finish(self):
        """The whole archive."""
        return bytes(self._data) + _entry("TRAILER!!!", 0, 0, b"", (0, 0))

    def _add(self, name, mode, content, device=(0, 0)):
        if name in self._names:
            return
        parent = name.rpartition("/")[0]
        if parent:
            self.add_folder(parent)
        self._names.add(name)
        self._data += _entry(name, len(self._names), mode, content, device)


def _entry(name, inode, mode, content, device):
    path = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    assert len(header) == HEADER_LEN
    return _padded(header + path) + _padded(content)


def _padded(data):
    return data + bytes(-len(data) % 4)

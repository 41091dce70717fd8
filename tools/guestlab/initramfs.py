# SPDX-License-Identifier: BSD-3-Clause
"""Makes a guest's initramfs: busybox, init.sh, kernel modules, and the programs and files of the test."""
import functools
import pathlib
import re
import subprocess

from guestlab import modules, paths
from guestlab.cpio import Archive
from guestlab.errors import LabError

BUSYBOX = pathlib.Path("/bin/busybox")
INIT = pathlib.Path(__file__).with_name("init.sh")
COMMANDS = INIT.with_name("commands.sh")


def build(kernel, module_names=(), programs=(), files=None, init=INIT, place=None):
    """The bytes of an initramfs.

    programs: statically linked executables of the host; each becomes /bin/NAME.
    files: {path in the guest: bytes, or path of a file on the host}; executable where the host's is. with_libraries()
        makes them of programs that are not static.
    place(path): where a program or file lies, if not where the guest shall have it.
    """
    place = place or (lambda path: path)
    archive = Archive()
    for folder in ("dev", "lib", "mnt", "proc", "sys", "tmp"):
        archive.add_folder(folder)
    archive.add_character_device("dev/console", 5, 1)  # the kernel opens it before init has mounted /dev
    archive.add_file("init", init.read_bytes(), 0o755)
    archive.add_file("commands.sh", COMMANDS.read_bytes(), 0o755)
    archive.add_file("bin/busybox", _read(BUSYBOX), 0o755)
    for program in map(pathlib.Path, programs):
        archive.add_file(place(f"bin/{program.name}"), _read(_unrecorded(program)), 0o755)
    for applet in _applets():
        archive.add_link(f"bin/{applet}", "busybox")
    order = modules.load_order(kernel, module_names)
    for path in order:
        archive.add_file(f"lib/modules/{path}", _read(kernel.modules / path))
    archive.add_file("etc/modules", "".join(f"{path}\n" for path in order).encode())
    for path, content in (files or {}).items():
        _add(archive, place(path.lstrip("/")), content)
    return archive.finish()


def _unrecorded(program):
    """The program itself, where tools/policies has a recorder in its place: guests have no strace."""
    itself = paths.BUILD / "programs" / program.name
    return itself if itself.exists() else program


def with_libraries(*programs):
    """Files of a guest: dynamically linked programs of the host, and what they load."""
    files = {}
    for program in programs:
        listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for path in [program, *re.findall(r"(/\S+) \(0x", listing)]:
            files[path] = pathlib.Path(path).resolve()
    return files


def _add(archive, path, content):
    if isinstance(content, bytes):
        archive.add_file(path, content)
    else:
        source = pathlib.Path(content)
        archive.add_file(path, _read(source), source.stat().st_mode & 0o777)


def _read(path):
    try:
        return path.read_bytes()
    except OSError as error:
        raise LabError(f"cannot put {path} into a guest: {error.strerror}; did ./dev setup and ./dev build run?") from error


@functools.cache
def _applets():
    return subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()

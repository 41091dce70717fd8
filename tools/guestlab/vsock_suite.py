# SPDX-License-Identifier: BSD-3-Clause
"""Linux's own tests of AF_VSOCK, tools/testing/vsock, built of Debian's source in build/cache. Nothing is installed.

build/cache/vsock-suite/ has the programs vsock_test and vsock_diag_test. It appears by one rename when it is complete.
"""
import fcntl
import pathlib
import tempfile

from guestlab import debian, paths
from guestlab.errors import LabError

PACKAGE = "linux-source-6.1"
ROOT = paths.CACHE / "vsock-suite"
PROGRAMS = ("vsock_test", "vsock_diag_test")
FOLDERS = ("testing/vsock", "include")  # of linux/tools


def fetch():
    """Makes sure that programs() works."""
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    with open(paths.CACHE / ".vsock-suite.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ROOT.exists():
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=paths.CACHE) as work:
                _build(pathlib.Path(work)).rename(ROOT)


def programs():
    """The paths of both programs."""
    found = [ROOT / name for name in PROGRAMS]
    if not all(path.exists() for path in found):
        raise LabError(f"Linux's tests of AF_VSOCK are not in {ROOT}: run ./dev setup")
    return found


def _build(work):
    package = debian.download(lambda _: PACKAGE, work)
    folders = " ".join(f"{PACKAGE}/tools/{folder}" for folder in FOLDERS)
    unpack = f"dpkg-deb --fsys-tarfile {package} | tar -xO ./usr/src/{PACKAGE}.tar.xz | tar -xJ {folders}"
    debian.run(["bash", "-o", "pipefail", "-c", unpack], work)
    source = work / PACKAGE / "tools/testing/vsock"
    debian.run(["make", "-C", source, *PROGRAMS], work)
    root = work / "root"
    root.mkdir()
    for name in PROGRAMS:
        (source / name).rename(root / name)
    return root

# SPDX-License-Identifier: BSD-3-Clause
"""Debian's stock kernels, unpacked into build/cache. Nothing is installed and nobody need be root.

build/cache/kernel-FLAVOUR/ has boot/vmlinuz-RELEASE and lib/modules/RELEASE/. It appears by one
rename when it is complete; from then on the network is not asked again.
"""
import dataclasses
import fcntl
import pathlib
import re
import shutil
import tempfile

from guestlab import debian, paths
from guestlab.errors import LabError

# The metapackage of each flavour. "cloud" boots fastest; "full" has every driver as a module.
METAPACKAGES = {"cloud": "linux-image-cloud-amd64", "full": "linux-image-amd64"}


@dataclasses.dataclass(frozen=True)
class Kernel:
    release: str
    image: pathlib.Path
    modules: pathlib.Path  # lib/modules/RELEASE


def kernel(flavour="cloud"):
    """The cached kernel of that flavour ("cloud" or "full")."""
    root = _cached(flavour)
    images = sorted(root.glob("boot/vmlinuz-*"))
    if not images:
        raise LabError(f"the {flavour} kernel is not in {root}: run ./dev setup")
    release = images[-1].name.removeprefix("vmlinuz-")
    return Kernel(release, images[-1], root / "lib/modules" / release)


def fetch(flavour):
    """Makes sure that kernel(flavour) works; returns it."""
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    with open(paths.CACHE / f".kernel-{flavour}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _cached(flavour).exists():
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=paths.CACHE) as work:
                root = _unpack(_download(METAPACKAGES[flavour], pathlib.Path(work)))
                root.rename(_cached(flavour))
    return kernel(flavour)


def _cached(flavour):
    return paths.CACHE / f"kernel-{flavour}"


def _download(metapackage, work):
    """The .deb of the kernel that the metapackage names today."""

    def find(options):
        depends = debian.run(["apt-cache", *options, "depends", "--important", metapackage], work)
        package = re.search(r"^\s*Depends: (linux-image-\S+)$", depends, re.MULTILINE)
        if not package:
            raise LabError(f"apt-cache does not say which package {metapackage} depends on")
        return package[1]

    return debian.download(find, work)


def _unpack(package):
    root = package.parent / "root"
    debian.run(["dpkg", "-x", package, root], package.parent)
    shutil.rmtree(root / "usr", ignore_errors=True)
    release = next(root.glob("boot/vmlinuz-*")).name.removeprefix("vmlinuz-")
    debian.run(["depmod", "-b", root, release], package.parent)
    package.unlink()
    return root

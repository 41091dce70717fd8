# SPDX-License-Identifier: BSD-3-Clause
"""Debian's stock kernels, unpacked into build/cache. Nothing is installed and nobody need be root.

build/cache/kernel-FLAVOUR/ has boot/vmlinuz-RELEASE and lib/modules/RELEASE/. It appears by one
rename when it is complete; from then on the network is not asked again.
"""
import dataclasses
import fcntl
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from guestlab import paths
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
    try:
        return _download_with([], metapackage, work)
    except LabError:
        # The system's package lists are missing or older than the archive. Lists of our own need no root.
        private = ["-o", f"Dir::State::Lists={work}/lists", "-o", f"Dir::Cache={work}/cache"]
        for folder in ("lists/partial", "cache/archives/partial"):
            (work / folder).mkdir(parents=True)
        # Without the mode, apt calls it a success to have reached no archive at all.
        _run(["apt-get", "-qq", *_NO_SANDBOX, *private, "-o", "APT::Update::Error-Mode=any", "update"], work)
        return _download_with(private, metapackage, work)


# Run by root, apt would download as its user _apt, who cannot write into our folder, and warn about it.
_NO_SANDBOX = ["-o", "APT::Sandbox::User=root"]


def _download_with(options, metapackage, work):
    depends = _run(["apt-cache", *options, "depends", "--important", metapackage], work)
    package = re.search(r"^\s*Depends: (linux-image-\S+)$", depends, re.MULTILINE)
    if not package:
        raise LabError(f"apt-cache does not say which package {metapackage} depends on")
    _run(["apt-get", "-qq", *_NO_SANDBOX, *options, "download", package[1]], work)
    return next(work.glob(f"{package[1]}_*.deb"))


def _unpack(package):
    root = package.parent / "root"
    _run(["dpkg", "-x", package, root], package.parent)
    shutil.rmtree(root / "usr", ignore_errors=True)
    release = next(root.glob("boot/vmlinuz-*")).name.removeprefix("vmlinuz-")
    _run(["depmod", "-b", root, release], package.parent)
    package.unlink()
    return root


def _run(command, work):
    env = os.environ | {"PATH": paths.TOOL_PATH, "LC_ALL": "C"}
    try:
        done = subprocess.run(command, cwd=work, env=env, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise LabError(f"cannot fetch a kernel: {command[0]} is not installed") from error
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip()
        raise LabError(f"cannot fetch a kernel: '{' '.join(map(str, command))}' says: {said}")
    return done.stdout

# SPDX-License-Identifier: BSD-3-Clause
"""Debian's SELinux policy, as source of a policy for guests, in build/cache. Nothing is installed.

build/cache/selinux/ has cil/MODULE.cil, setfiles, and file_contexts.subs_dist. It appears by one rename when it is
complete.
"""
import bz2
import fcntl
import pathlib
import shutil
import tempfile

from guestlab import debian, paths
from guestlab.errors import LabError

PACKAGES = ("selinux-policy-default", "policycoreutils")
ROOT = paths.CACHE / "selinux"
SETFILES = ROOT / "setfiles"
SUBSTITUTIONS = ROOT / "file_contexts.subs_dist"


def fetch():
    """Makes sure that compile_policy() works."""
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    with open(paths.CACHE / ".selinux.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ROOT.exists():
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=paths.CACHE) as work:
                _unpack(pathlib.Path(work)).rename(ROOT)


def compile_policy(*modules, folder):
    """Debian's policy together with modules in CIL: the paths of the policy and of its file contexts, in folder."""
    sources = sorted(ROOT.glob("cil/*.cil"))
    if not sources:
        raise LabError(f"Debian's SELinux policy is not in {ROOT}: run ./dev setup")
    policy, contexts = folder / "policy", folder / "file_contexts"
    # Version 33 is the newest that Linux 6.1 reads.
    debian.run(["secilc", "-M", "true", "-c", "33", "-o", policy, "-f", contexts, *sources, *modules], folder)
    return policy, contexts


def _unpack(work):
    for package in PACKAGES:
        debian.run(["dpkg", "-x", debian.download(lambda _, name=package: name, work), "unpacked"], work)
    unpacked, root = work / "unpacked", work / "root"
    (root / "cil").mkdir(parents=True)
    module = work / "module"
    for packed in (unpacked / "usr/share/selinux/default").glob("*.pp.bz2"):
        module.write_bytes(bz2.decompress(packed.read_bytes()))
        name = packed.name.removesuffix(".pp.bz2")
        debian.run([unpacked / "usr/libexec/selinux/hll/pp", module, root / f"cil/{name}.cil"], work)
    shutil.copy(unpacked / "sbin/setfiles", root)
    shutil.copy(unpacked / "etc/selinux/default/contexts/files/file_contexts.subs_dist", root)
    return root

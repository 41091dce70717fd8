# SPDX-License-Identifier: BSD-3-Clause
"""Packages of Debian that are unpacked, not installed: nobody need be root."""
import os
import subprocess

from guestlab import paths
from guestlab.errors import LabError

# Run by root, apt would download as its user _apt, who cannot write into our folder, and warn about it.
_NO_SANDBOX = ["-o", "APT::Sandbox::User=root"]


def download(find, work):
    """The .deb of a package, in the folder work. find(options): its name; options: of apt, to be asked with."""

    def get(options):
        run(["apt-get", "-qq", *_NO_SANDBOX, *options, "download", package := find(options)], work)
        return next(work.glob(f"{package}_*.deb"))

    return _with_lists(get, work)


def download_all(packages, work):
    """The .debs of packages and of all that they depend on, as for a machine that has none yet."""
    archives, status = work / "archives", work / "status"
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    status.touch()
    empty = ["-o", f"Dir::State::Status={status}", "-o", f"Dir::Cache::Archives={archives}", "-o", "APT::Install-Recommends=false"]

    def get(options):
        install = ["--download-only", "--yes", "install", *packages]
        run(["apt-get", "-qq", *_NO_SANDBOX, "-o", "Debug::NoLocking=true", *options, *empty, *install], work)
        return sorted(archives.glob("*.deb"))

    return _with_lists(get, work)


def _with_lists(get, work):
    """What get(options) returns; options: of apt, for lists of packages that know today's archive."""
    try:
        return get([])
    except LabError:
        # The system's package lists are missing or older than the archive. Lists of our own need no root.
        private = ["-o", f"Dir::State::Lists={work}/lists", "-o", f"Dir::Cache={work}/cache"]
        for folder in ("lists/partial", "cache/archives/partial"):
            (work / folder).mkdir(parents=True, exist_ok=True)
        # Without the mode, apt calls it a success to have reached no archive at all.
        run(["apt-get", "-qq", *_NO_SANDBOX, *private, "-o", "APT::Update::Error-Mode=any", "update"], work)
        return get(private)


def run(command, work, stdin=None):
    """What a command prints that succeeds, in the folder work."""
    env = os.environ | {"PATH": paths.TOOL_PATH, "LC_ALL": "C"}
    try:
        done = subprocess.run(command, cwd=work, env=env, stdin=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise LabError(f"cannot fetch a package: {command[0]} is not installed") from error
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip()
        raise LabError(f"cannot fetch a package: '{' '.join(map(str, command))}' says: {said}")
    return done.stdout

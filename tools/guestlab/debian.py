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
    try:
        return _download_with([], find, work)
    except LabError:
        # The system's package lists are missing or older than the archive. Lists of our own need no root.
        private = ["-o", f"Dir::State::Lists={work}/lists", "-o", f"Dir::Cache={work}/cache"]
        for folder in ("lists/partial", "cache/archives/partial"):
            (work / folder).mkdir(parents=True, exist_ok=True)
        # Without the mode, apt calls it a success to have reached no archive at all.
        run(["apt-get", "-qq", *_NO_SANDBOX, *private, "-o", "APT::Update::Error-Mode=any", "update"], work)
        return _download_with(private, find, work)


def _download_with(options, find, work):
    package = find(options)
    run(["apt-get", "-qq", *_NO_SANDBOX, *options, "download", package], work)
    return next(work.glob(f"{package}_*.deb"))


def run(command, work):
    """What a command prints that succeeds, in the folder work."""
    env = os.environ | {"PATH": paths.TOOL_PATH, "LC_ALL": "C"}
    try:
        done = subprocess.run(command, cwd=work, env=env, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise LabError(f"cannot fetch a package: {command[0]} is not installed") from error
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip()
        raise LabError(f"cannot fetch a package: '{' '.join(map(str, command))}' says: {said}")
    return done.stdout

# SPDX-License-Identifier: BSD-3-Clause
"""A disk with Debian, for guests whose process 1 is systemd: build/cache/debian/disk.img.

Packages of the release that this machine's apt knows are unpacked and not installed: no package's script runs, nothing is
mounted, and nobody need be root. _configure() does the part of those scripts that a guest needs. The folder appears by one
rename when it is complete; from then on the network is not asked again.
"""
import fcntl
import hashlib
import os
import pathlib
import subprocess
import tempfile

from guestlab import debian, paths
from guestlab.errors import LabError

PACKAGES = (
    "base-files", "base-passwd", "bash", "bsdutils", "busybox-static", "coreutils", "dash", "dbus", "e2fsprogs", "findutils",
    "grep", "gzip", "hostname", "iproute2", "kmod", "libc-bin", "libpam-modules", "libpam-runtime", "libpam-systemd", "login",
    "mount", "passwd", "procps", "qemu-guest-agent", "sed", "systemd", "systemd-sysv", "tar", "tzdata", "udev", "util-linux",
)  # fmt: skip

# Drivers that a guest needs for its disk.
MODULES = ("virtio_pci", "virtio_blk")
# A word of the kernel's command line, for init.sh.
APPEND = "guestlab.debian net.ifnames=0 systemd.mask=serial-getty@ttyS0.service"

# Where the guest has initramfs.COMMANDS.
COMMANDS = "/usr/local/lib/guestlab/commands.sh"

# What the disk is made from has its own disk.
_ROOT = paths.CACHE / f"debian-{hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest()[:8]}"
_DISK = _ROOT / "disk.img"
_DISK_MIB = 1024
_MERGED = ("bin", "lib", "lib32", "lib64", "sbin")
_HOST_NAME = "debian-guest"

# Nothing but the disk keeps these from being the same in each guest, and tests compare answers.
_MACHINE_ID = "6f7574626f6172642d67756573746c61"

_PAM = {
    "common-account": "account required pam_unix.so\n",
    "common-auth": "auth required pam_unix.so\n",
    "common-password": "password required pam_unix.so yescrypt\n",
    "common-session": "session required pam_unix.so\nsession optional pam_systemd.so\n",
    "common-session-noninteractive": "session required pam_unix.so\n",
}

_SERVICE = f"""\
[Unit]
Description=Commands of the tests

[Service]
Type=idle
Environment=GUESTLAB_FOLDER=/run/guestlab HOME=/root
RuntimeDirectory=guestlab
ExecStart=/bin/sh {COMMANDS}
StandardOutput=journal+console
StandardError=inherit

[Install]
WantedBy=multi-user.target
"""


def arguments():
    """QEMU's, for a machine with this disk as its first; what the guest writes is lost."""
    if not _DISK.exists():
        raise LabError(f"Debian's disk is not in {_ROOT}: run ./dev setup")
    return [
        "-drive", f"file={_DISK},format=raw,if=none,id=debian,snapshot=on,discard=unmap",
        "-device", "virtio-blk-pci,drive=debian",
    ]  # fmt: skip


def place(path):
    """Where a file of a test lies in the initramfs; init.sh copies it from there to the disk."""
    path = path.lstrip("/")
    merged = "usr/" if path.split("/")[0] in _MERGED else ""
    return f"debian/{merged}{path}"


def fetch():
    """Makes sure that arguments() works."""
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    with open(paths.CACHE / ".debian.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _ROOT.exists():
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=paths.CACHE) as work:
                _make(pathlib.Path(work)).rename(_ROOT)


def _make(work):
    system, root = work / "system", work / "root"
    packages = debian.download_all(PACKAGES, work)
    for folder in (system / "usr", root):
        folder.mkdir(parents=True)
    for name in _MERGED:
        (system / "usr" / name).mkdir()
        (system / name).symlink_to(f"usr/{name}")
    for package in packages:
        _unpack(package, system)
    _configure(system)
    disk = root / _DISK.name
    with open(disk, "wb") as file:
        file.truncate(_DISK_MIB << 20)
    # The files of a user who is not root become root's.
    as_root = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
    debian.run([*as_root, "mke2fs", "-q", "-F", "-t", "ext4", "-L", "debian", "-d", system, disk], work)
    return root


def _unpack(package, system):
    """As dpkg -x, but /lib stays the link that it is."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as tar:
        debian.run(["tar", "-x", "-p", "--keep-directory-symlink", "-C", system], system, stdin=tar.stdout)
    if tar.returncode != 0:
        raise LabError(f"can't unpack {package.name}: dpkg-deb has failed with status {tar.returncode}")


def _configure(system):
    users = (system / "usr/share/base-passwd/passwd.master").read_text() + "messagebus:x:100:100::/nonexistent:/usr/sbin/nologin\n"
    names = [line.split(":")[0] for line in users.splitlines()]
    files = {
        "etc/passwd": users.replace(":*:", ":x:"),
        "etc/group": (system / "usr/share/base-passwd/group.master").read_text() + "messagebus:x:100:\n",
        "etc/shadow": "".join(f"{name}:*:19700:0:99999:7:::\n" for name in names),
        "etc/gshadow": "",
        "etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
        "etc/hostname": f"{_HOST_NAME}\n",
        "etc/hosts": f"127.0.0.1 localhost {_HOST_NAME}\n",
        "etc/machine-id": f"{_MACHINE_ID}\n",
        "etc/fstab": "",
        "etc/systemd/system/guestlab.service": _SERVICE,
        **{f"etc/pam.d/{name}": text for name, text in _PAM.items()},
    }
    for name, text in files.items():
        (system / name).parent.mkdir(parents=True, exist_ok=True)
        (system / name).write_text(text)
    for folder in ("mnt", "usr/local/bin", "usr/local/sbin"):
        (system / folder).mkdir(parents=True, exist_ok=True)
    (system / "etc/shadow").chmod(0o640)
    (system / "root").chmod(0o700)
    wants = system / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / "guestlab.service").symlink_to("../guestlab.service")
    (system / "etc/localtime").symlink_to("/usr/share/zoneinfo/Etc/UTC")
    # Timers and the like, which would change what tests compare.
    for timer in ("e2scrub_all.timer", "apt-daily.timer", "fstrim.timer", "systemd-tmpfiles-clean.timer"):
        (system / "etc/systemd/system" / timer).symlink_to("/dev/null")

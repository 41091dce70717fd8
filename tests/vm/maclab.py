# SPDX-License-Identifier: BSD-3-Clause
"""Device programs inside a guest, whose kernel has mandatory access control."""
import errno
import pathlib
import subprocess

from guestlab import paths
from guestlab.initramfs import with_libraries

ROOT = paths.BUILD / "root"
PREFIX = "/usr/local"
PROXY = f"{PREFIX}/bin/outboard-proxy"
BACKDOOR = f"{PREFIX}/libexec/outboard/outboard-backdoor"
NVME = f"{PREFIX}/libexec/outboard/outboard-nvme"
# Other devices, and the options that each needs.
OTHERS = {
    "blk": "--image=/var/lib/outboard/images/own.img",
    "rng": "",
    "vmchannel": "--port=org.example.0,listen:/run/outboard/port --console=file:/var/log/outboard/console",
    "vsock": "--guest-cid=5 --host-socket=/run/outboard/host",
}
LIBRARY = f"{PREFIX}/lib/outboard/deeds.so"
IMAGES = "/var/lib/outboard/images"
SOCKET = "/run/outboard/device"
LOG = "/var/log/outboard/device"

# What is refused, and its number in deeds.c.
DEEDS = {
    "read a file": 1,
    "make a file": 2,
    "open an image": 3,
    "make a TCP socket": 4,
    "make a netlink socket": 5,
    "start a program": 6,
    "mount": 7,
    "trace a process": 8,
    "signal a process": 9,
    "map executable memory": 10,
}

USERS = {
    "/etc/passwd": b"root:x:0:0::/:/bin/sh\nplain:x:1000:1000::/tmp:/bin/sh\n",
    "/etc/group": b"root:x:0:\nplain:x:1000:\n",
}

# start PROGRAM OPTION...: a device that listens, as $device; its messages go into a log. stop: ends it.
# deed NUMBER PROCESS: one line, what the device answers.
SHELL = f"""
start() {{
    rm -f {SOCKET}
    "$@" --socket-path={SOCKET} 2>{LOG} &
    device=$!
    until [ -S {SOCKET} ] || ! kill -0 $device 2>/dev/null; do usleep 10000; done
}}
stop() {{
    kill $device
    wait $device
}}
deed() {{
    OUTBOARD_BACKDOOR={SOCKET} backdoor call $(($2 << 32 | $1)) && OUTBOARD_BACKDOOR={SOCKET} backdoor read 0 8 | od -An -td8
}}
"""


def build_library(folder):
    """deeds.c as a library of the backdoor."""
    path = folder / "deeds.so"
    source = pathlib.Path(__file__).with_name("deeds.c")
    subprocess.run(["cc", "-shared", "-fPIC", f"-I{ROOT}/include", "-o", path, source], check=True)
    return path


def files(library):
    """What a guest needs to run devices: they are installed as by "meson install" with its default prefix."""
    names = ["libexec/outboard/outboard-backdoor", "libexec/outboard/outboard-nvme", "bin/outboard",
             *(f"libexec/outboard/outboard-{name}" for name in OTHERS)]  # fmt: skip
    found = with_libraries(*(str(ROOT / name) for name in names))
    installed = {path.replace(str(ROOT), PREFIX): source for path, source in found.items()}
    installed |= {PROXY: ROOT / "bin/outboard-proxy", "/opt/bin/outboard-proxy": ROOT / "bin/outboard-proxy"}
    installed["/etc/localtime"] = "/usr/share/zoneinfo/UTC" # which programs read before they enter a cell
    return {**installed, **USERS, LIBRARY: library, "/etc/lab.sh": SHELL.encode()}


def prepare(guest, root=""):
    """Folders and images of the devices; the kernel's log is to have each refusal."""
    guest.run("echo 0 >/proc/sys/kernel/printk_ratelimit")
    guest.run(
        f"cd {root}/ && mkdir -p -m 755 run/outboard var/log/outboard var/lib/outboard/images &&"
        f" chmod 755 . && truncate -s 1M .{IMAGES}/own.img .{IMAGES}/other.img ./var/lib/disk.img"
    )


# The label of $device, on a line.
SHOW_LABEL = "tr '\\0' '\\n' </proc/$device/attr/current"

# Two ends of a proxy, of which that far away is started as "far COMMAND" says. It may be asked to run a command.
PROXIES = """
/opt/bin/outboard-proxy -c unix:/run/outboard/channel --control=/run/outboard/control 2>/var/log/outboard/near &
near=$!
{start} -c unix-listen:/run/outboard/channel --allow-run 2>/var/log/outboard/far &
far=$!
until [ -S /run/outboard/control ] && /opt/bin/outboard-proxy ping --control=/run/outboard/control >/dev/null; do usleep 10000; done
tr '\\0' '\\n' </proc/$far/attr/current
/opt/bin/outboard-proxy run --control=/run/outboard/control -- /bin/true 2>&1
echo status $?
kill $near $far
wait
"""


class Lab:
    """Runs scripts in the guest that have the functions of SHELL.

    denial: a pattern of the kernel's messages that tell a refusal; wrap: the shell that gets a script.
    """

    def __init__(self, guest, denial="no such message", wrap="sh -c {}"):
        self.guest = guest
        self.denial = denial
        self.wrap = wrap

    def run(self, script):
        quoted = "'" + f". /etc/lab.sh; {script}".replace("'", r"'\''") + "'"
        return self.guest.run(self.wrap.format(quoted))

    def denials(self):
        """Refusals of the kernel since the last call."""
        return self.guest.run(f"dmesg -c | grep '{self.denial}' || true")

    def check_cell_is_complete(self, command, user):
        """A program that is started with these words enters each part of its cell, and the kernel refuses nothing."""
        self.denials()
        printed = self.run(f"su {user} -c '{command} --cell=required --print-cell' | cat")
        assert "refused" not in printed and printed.splitlines()[1].endswith(" yes"), printed
        assert self.denials() == ""

    def check_serves(self, command, label):
        """A device, started with these words in a cell, has the label, listens, and leaves no socket."""
        self.denials()
        said = self.run(f"start {command} --cell=required; {SHOW_LABEL}; stop; ls /run/outboard; cat {LOG}")
        assert said.splitlines()[0] == label
        assert set(said.splitlines()[1:-1]) <= {"users"} and "asked to stop" in said.splitlines()[-1], said
        assert self.denials() == ""

    def check_backdoor(self, command, label):
        """A backdoor, started with these words in a cell, has the label, works, and leaves no socket."""
        self.denials()
        said = self.run(
            f"start {command} --cell=required --library={LIBRARY} --trace=/var/log/outboard/trace; deed 0 0;"
            f" {SHOW_LABEL}; stop; grep -c . /var/log/outboard/trace; [ -e {SOCKET} ] || echo removed"
        )
        answer, shown, trace_len, socket = said.split("\n", 3)
        assert (answer.strip(), shown, socket) == ("0", label, "removed\n")
        assert int(trace_len) > 0
        assert self.denials() == ""

    def check_disk(self, command, label):
        """A disk, started with these words in a cell, has the label and works."""
        self.denials()
        said = self.run(f"start {command} --cell=required --image={IMAGES}/own.img; {SHOW_LABEL}; {PREFIX}/bin/outboard inspect {SOCKET}; stop")
        assert said.startswith(label) and "MSI-X" in said
        assert self.denials() == ""

    def check_image_is_refused(self, command, image):
        said = self.run(f"{command} --image={image} --socket-path={SOCKET} 2>&1 | cat")
        assert f"can't open {image}: Permission denied" in said

    def check_network(self, with_network, without, denial):
        """Of two disks on a server, the first connects, and of the second the kernel tells the refusal."""
        self.guest.run("ip link set lo up")
        ending = f"--image=nbd://127.0.0.1/ --socket-path={SOCKET} 2>&1 | cat"
        assert "Connection refused" in self.run(f"{with_network} {ending}")
        self.denials()
        assert "Connection refused" not in self.run(f"{without} {ending}")
        assert denial in self.denials()

    def log(self):
        return self.run(f"cat {LOG}")

    def answers(self, *options, program=BACKDOOR):
        """{deed: errno or 0}: what a backdoor that was taken over can do, started with these options."""
        numbers = " ".join(map(str, DEEDS.values()))
        said = self.run(
            f"start {program} --library={LIBRARY} {' '.join(options)}; sleep 1000 & other=$!;"
            f" for number in {numbers}; do deed $number $other; done; kill $other; stop"
        )
        answers = [-int(word) for word in said.split()]
        assert len(answers) == len(DEEDS), said
        return dict(zip(DEEDS, answers))


def refused(answers):
    """The deeds that the kernel refuses by access control."""
    return {deed for deed, answer in answers.items() if answer in (errno.EACCES, errno.EPERM)}

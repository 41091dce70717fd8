# SPDX-License-Identifier: BSD-3-Clause
"""A guest with Debian, its systemd and its qemu-ga, and our agent beside it; and how two answers differ, field by field."""
import contextlib
import json
import os
import shutil
import socket
import tempfile
from pathlib import Path

from agentlab import AGENT, PROGRAM, RESET, Client
from guestlab import Guest, Process, paths
from guestlab.initramfs import with_libraries
from proxylab import End

# A newer qemu-ga, such as QEMU 10.2's, to be compared too.
NEWER_QEMU_GA = "OUTBOARD_QEMU_GA"
PATIENCE_S = 300  # a machine of many processes under emulation
BLOCK = "/dev/vdb"
UNIT = paths.TREE / "share/systemd/outboard-agent.service"
QEMU_GA = "/usr/sbin/qemu-ga"
VMCHANNEL = paths.BUILD / "root/libexec/outboard/outboard-vmchannel"
GENERIC = "vhost-user-test-device-pci"
PORTS = {"ours": "org.outboard.proxy.0", "stock": "org.qemu.guest_agent.0", "newer": "org.qemu.guest_agent.1"}


class Wire(Client):
    """A client that stays connected, of ours or of qemu-ga's, which has no other client."""

    def __init__(self, path):
        super().__init__(path)
        self.sock.settimeout(PATIENCE_S)
        self.send("guest-sync", {"id": 4711})
        while self.receive() != {"return": 4711}:
            pass

    def whole(self, command, arguments=None):
        """Return or error, as it comes."""
        self.send(f"guest-{command}", arguments)
        return self.receive()

    def ready(self):
        """Whether it is in step: its next answer is its own."""
        self.sock.sendall(RESET)
        self.send("guest-sync-delimited", {"id": 4712})
        while self.receive() != {"return": 4712}:
            pass


def virtio_serial(debian):
    """QEMU's own device with the ports: its arguments, and the sockets that these name."""
    words = ["-device", "virtio-serial-pci"]
    for name, port in PORTS.items():
        words += debian.chardev(name) + ["-device", f"virtserialport,chardev={name},name={port}"]
    return words, []


def vmchannel(wire):
    """outboard-vmchannel with the ports, for the `ports` of a DebianGuest: behind mpqemu, vfio-user or vhost-user."""

    def start(debian):
        ours, theirs = socket.socketpair()
        debian.cleanup.enter_context(theirs)
        path = debian.folder / "device"
        argv = [VMCHANNEL, *(f"--port={port},listen:{debian.folder / name}" for name, port in PORTS.items())]
        argv += [f"--fd={ours.fileno()}"] if wire == "mpqemu" else [f"--socket-path={path}", f"--wire={wire}"]
        process = debian.cleanup.enter_context(Process(argv, debian.logs / "vmchannel.log", inherit=[ours]))
        for listens in [*(debian.folder / name for name in PORTS), *([] if wire == "mpqemu" else [path])]:
            while not listens.exists():
                assert process.running, process.log_tail()
        if wire == "mpqemu":
            return ["-device", f"x-pci-proxy-dev,id=ports,fd={theirs.fileno()}"], [theirs]
        if wire == "vfio-user":
            return ["-device", json.dumps({"driver": "vfio-user-pci", "socket": {"type": "unix", "path": str(path)}})], []
        return ["-chardev", f"socket,id=c,path={path}", "-device", f"{GENERIC},chardev=c,virtio-id=3,num_vqs=64,vq_size=32,config_size=12"], []

    return start


class DebianGuest:
    """The guest, and the paths of clients' sockets: ours over a port and an ISA line, stock's over both; newer over a port.

    ports: whose device has the ports. has_lines: there are ISA lines. arguments, inherit: of Guest, besides. A context manager.
    """

    has_systemd = True

    def __init__(self, logs, arguments=(), ports=virtio_serial, has_lines=True, **machine):
        self.cleanup = contextlib.ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="ob-"))
        self.cleanup.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.logs, self.processes, self.ends = logs, [], {}
        logs.mkdir(parents=True, exist_ok=True)
        self.lines = ("ours-isa", "stock-isa") if has_lines else ()
        files = {"/etc/systemd/system/outboard-agent.service": UNIT}
        self.has_newer = NEWER_QEMU_GA in os.environ
        if self.has_newer:
            files["/usr/bin/qemu-ga-newer"] = Path(os.environ[NEWER_QEMU_GA])  # with the libraries that the disk has
        try:
            channels, sockets = ports(self)
            for name in self.lines:
                channels += self.chardev(name) + ["-device", f"isa-serial,chardev={name}"]
            programs = [AGENT, *machine.pop("programs", ())]
            guest = Guest(logs / "guest", debian=self.has_systemd, memory_mib=512, cpus=machine.pop("cpus", 2), programs=programs,
                          modules=["virtio_pci", "virtio_console", *machine.pop("modules", ())], files=files | machine.pop("files", {}),
                          arguments=[*channels, *arguments], inherit=[*sockets, *machine.pop("inherit", ())], **machine)  # fmt: skip
            self.guest = self.cleanup.enter_context(guest)
        except BaseException:
            self.cleanup.close()
            raise

    def chardev(self, name):
        """QEMU's arguments for a socket of the host."""
        return ["-chardev", f"socket,id={name},path={self.folder / name},server=on,wait=off"]

    def run(self, script):
        """As guest.run(), with more patience."""
        return self.guest.run(script, timeout=PATIENCE_S)

    def read(self, path):
        """A file of the guest, without the white space around."""
        return self.run(f"cat {path}").strip()

    def start(self):
        """All agents run, and the host's ends of ours."""
        self.run("ln -s /usr/bin/outboard-agent /usr/local/bin/; systemctl daemon-reload")
        # Type=notify: it has begun when this returns.
        self.run("systemctl enable --now outboard-agent && systemctl start qemu-guest-agent")
        self.run("mkdir /run/ours /run/stock /run/newer")
        if self.lines:
            self.serve("ours-isa", "outboard-agent --channel=serial:/dev/ttyS2:115200 --statedir=/run/ours")
            self.serve("stock-isa", "qemu-ga -m isa-serial -p /dev/ttyS3 -t /run/stock")
        if self.has_newer:
            port = "/dev/virtio-ports/org.qemu.guest_agent.1"
            self.serve("newer", f"qemu-ga-newer -m virtio-serial -p {port} -t /run/newer")
        for name in ("ours", *self.lines[:1]):
            self.host_end(name)

    def serve(self, name, command):
        """A service of the guest, whose output is in the journal."""
        self.run(f"systemd-run --quiet --unit={name} {command}")

    def host_end(self, name, option="--qga-socket"):
        """An `outboard proxy` at a chardev; clients connect to NAME.qga, the path of the option."""
        argv = [PROGRAM, "proxy", f"--channel=unix:{self.folder / name},line", f"{option}={self.folder / name}.qga",
                f"--control={self.folder / name}.control"]  # fmt: skip
        self.processes.append(process := Process(argv, self.logs / f"{name}.log"))
        end = End(process, self.folder / f"{name}.control")
        while not end.control.exists():
            assert process.running, process.log_tail()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE_S)
            sock.connect(str(end.control))
            sock.sendall(b"WAIT\n")
            assert sock.makefile("r").readline().startswith("UP ")
        self.ends[name] = end

    def paths(self):
        """{name: path} of the wires that there are."""
        names = ["ours", "stock", *self.lines, *(["newer"] if self.has_newer else [])]
        return {name: self.folder / (f"{name}.qga" if name.startswith("ours") else name) for name in names}

    @contextlib.contextmanager
    def wires(self):
        """{name: Wire} to each of the agents."""
        with contextlib.ExitStack() as stack:
            yield {name: stack.enter_context(Wire(path)) for name, path in self.paths().items()}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        self.cleanup.close()


class SmallGuest(DebianGuest):
    """The same agents beside each other in a system of busybox, which boots in a tenth of the time."""

    has_systemd = False

    def __init__(self, logs, **options):
        users = b"root:x:0:0::/root:/bin/sh\nbob:x:1000:100:,,,:/home/bob:/bin/sh\n"
        files = {**with_libraries(QEMU_GA), "/etc/passwd": users, "/etc/os-release": b"ID=small\n"}
        super().__init__(logs, has_lines=False, files=files, boot_timeout=PATIENCE_S, **options)
        self.has_newer = False

    def start(self):
        self.run("mkdir -p /run /root /home/bob /var/run; mount -t tmpfs tmpfs /run; mkdir /run/ours /run/stock")
        self.run("outboard-agent --statedir=/run/ours >/run/ours.log 2>&1 &")
        self.run(f"until port=$(grep -lx {PORTS['stock']} /sys/class/virtio-ports/*/name); do :; done;"
                 f"{QEMU_GA} -m virtio-serial -p /dev/$(basename $(dirname $port)) -t /run/stock >/run/stock.log 2>&1 &")  # fmt: skip
        self.host_end("ours")


@contextlib.contextmanager
def comparable(logs, folder, **options):
    """(a DebianGuest whose agents run, {name: Wire}), with a disk at /mnt, a user, and one who is logged in."""
    with open(folder / "disk.img", "wb") as file:
        file.truncate(64 << 20)
    arguments = ["-drive", f"file={folder}/disk.img,format=raw,if=none,id=data,discard=unmap",
                 "-device", "virtio-blk-pci,drive=data,serial=DATA0"]  # fmt: skip
    with DebianGuest(logs, arguments, **options) as debian:
        debian.run(f"mkdir -p /mnt; mke2fs -q {BLOCK} && mount {BLOCK} /mnt && useradd -m bob")
        # For utmp and for logind.
        debian.run("(sleep 100000 | script -qfc 'login -f root' /dev/null) >/dev/null 2>&1 & until loginctl list-sessions | grep -q root; do :; done")
        debian.start()
        with debian.wires() as wires:
            yield debian, wires


# What tells the elements of an array apart, where the order of two agents may differ.
KEYS = ("name", "mountpoint", "path", "logical-id", "phys-index", "cpu", "user", "ip-address")


def flatten(value, at=""):
    """{path: value}; a member has its name there, an element of an array its key or its number."""
    if isinstance(value, dict) and value:
        parts = [(f"{at}.{name}" if at else name, member) for name, member in value.items()]
    elif isinstance(value, list) and value:
        parts = [(f"{at}[{_key(element, number)}]", element) for number, element in enumerate(value)]
    else:
        return {at: value}
    return {path: leaf for name, part in parts for path, leaf in flatten(part, name).items()}


def _key(element, number):
    if isinstance(element, dict):
        for key in KEYS:
            if key in element:
                return element[key]
    return number


def differences(stock, ours, changing=()):
    """Paths that only one has, or whose values differ; of fields that change by themselves, kinds are compared."""
    a, b = flatten(stock), flatten(ours)

    def shown(fields, path):
        value = fields[path]
        return type(value).__name__ if path.rpartition(".")[2].split("[")[0] in changing else value

    return {path for path in a.keys() | b.keys() if path not in a or path not in b or shown(a, path) != shown(b, path)}

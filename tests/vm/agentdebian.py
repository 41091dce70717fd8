# SPDX-License-Identifier: BSD-3-Clause
"""A guest with Debian, its systemd and its qemu-ga, and our agent beside it; and how two answers differ, field by field."""
import os
import shutil
import socket
import tempfile
from pathlib import Path

from agentlab import AGENT, PROGRAM, RESET, Client
from guestlab import Guest, Process, paths
from proxylab import End

# A newer qemu-ga, such as QEMU 10.2's, to be compared too.
NEWER_QEMU_GA = "OUTBOARD_QEMU_GA"
PATIENCE_S = 300  # a machine of many processes under emulation
UNIT = paths.TREE / "share/systemd/outboard-agent.service"
OURS = "org.outboard.proxy.0"


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


class DebianGuest:
    """The guest, and the paths of clients' sockets: ours over virtio-serial and an ISA line, stock's over both; newer.

    arguments, inherit: of Guest, besides. A context manager.
    """

    def __init__(self, logs, arguments=(), **machine):
        self.folder = Path(tempfile.mkdtemp(prefix="ob-"))
        self.logs, self.processes, self.ends = logs, [], {}
        chardevs = [f"socket,id={name},path={self.folder / name},server=on,wait=off"
                    for name in ("ours", "ours-isa", "stock", "stock-isa", "newer")]  # fmt: skip
        channels = [word for chardev in chardevs for word in ("-chardev", chardev)]
        channels += ["-device", "isa-serial,chardev=ours-isa", "-device", "isa-serial,chardev=stock-isa", "-device", "virtio-serial-pci"]
        for name, port in (("ours", OURS), ("stock", "org.qemu.guest_agent.0"), ("newer", "org.qemu.guest_agent.1")):
            channels += ["-device", f"virtserialport,chardev={name},name={port}"]
        files = {"/etc/systemd/system/outboard-agent.service": UNIT}
        self.has_newer = NEWER_QEMU_GA in os.environ
        if self.has_newer:
            files["/usr/bin/qemu-ga-newer"] = Path(os.environ[NEWER_QEMU_GA])  # with the libraries that the disk has
        try:
            self.guest = Guest(logs / "guest", debian=True, memory_mib=512, cpus=machine.pop("cpus", 2), programs=[AGENT],
                               modules=["virtio_console", *machine.pop("modules", ())], files=files | machine.pop("files", {}),
                               arguments=[*channels, *arguments], **machine)  # fmt: skip
        except BaseException:
            shutil.rmtree(self.folder)
            raise

    def start(self):
        """All agents run, and the host's ends of ours."""
        self.guest.run("ln -s /usr/bin/outboard-agent /usr/local/bin/; systemctl daemon-reload")
        # Type=notify: it has begun when this returns.
        self.guest.run("systemctl enable --now outboard-agent && systemctl start qemu-guest-agent")
        self.guest.run("mkdir /run/ours /run/stock /run/newer")
        self.serve("ours-isa", "outboard-agent --channel=serial:/dev/ttyS2:115200 --statedir=/run/ours")
        self.serve("stock-isa", "qemu-ga -m isa-serial -p /dev/ttyS3 -t /run/stock")
        if self.has_newer:
            port = "/dev/virtio-ports/org.qemu.guest_agent.1"
            self.serve("newer", f"qemu-ga-newer -m virtio-serial -p {port} -t /run/newer")
        for name in ("ours", "ours-isa"):
            self.host_end(name)

    def serve(self, name, command):
        """A service of the guest, whose output is in the journal."""
        self.guest.run(f"systemd-run --quiet --unit={name} {command}")

    def host_end(self, name):
        """An `outboard proxy` at a chardev; clients connect to NAME.qga."""
        argv = [PROGRAM, "proxy", f"--channel=unix:{self.folder / name},line", f"--qga-socket={self.folder / name}.qga",
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
        names = {"ours": "ours.qga", "ours-isa": "ours-isa.qga", "stock": "stock", "stock-isa": "stock-isa"}
        if self.has_newer:
            names["newer"] = "newer"
        return {name: self.folder / path for name, path in names.items()}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        self.guest.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


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

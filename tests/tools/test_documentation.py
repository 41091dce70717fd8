# SPDX-License-Identifier: BSD-3-Clause
"""Every example of README, docs and man pages runs as it is written, or stands here with the reason why not.

As written but for this: /run, /tmp and /srv are folders of the test, numbers of ports are free ones, "..." in a
command line is what a machine needs, and where a server is started in the background its socket is waited for.
"""
import configparser
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

import documentation
import pytest
from guestlab import paths
from proxylab import free_port

PATIENCE_S = 60
EXAMPLES = {example.name: example.text for example in documentation.examples()}
# Behind this a QEMU has all that it needs; -daemonize returns when its devices stand.
MACHINE = "-accel tcg -display none -nodefaults -S -daemonize -pidfile qemu.pid"

NOT_RUN = {
    'man/outboard-vmchannel.8: {"event"': "lines that a program reads",
    "man/outboard-vmchannel.8: outboard pair": "needs KVM; tests/vm/test_vmchannel.py has a guest with it",
    "docs/vhost-user.md: outboard-blk": "serves until its end; tests/vm/test_blk.py has a guest with it",
    "man/outboard-blk.8: outboard-blk": "serves until its end; tests/vm/test_blk.py has a guest with it",
    "man/outboard-vsock.8: CONNECT 22": "a line; tests/virtio/test_vsock.py sends it",
    "man/outboard-vsock.8: CONNECT 80 FROM": "a line that the device of another guest sends",
    "man/outboard-vsock.8: outboard-vsock --socket-path=/run/vm": "serves until its end; tests/vm/test_vsock.py has a guest with it",
    "man/outboard-vsock.8: outboard-vsock --socket-path=/run/a": "serves until its end; tests/vm/test_vsock.py has guests with it",
    "man/outboard-vsock.8: -object": "needs a guest; tests/vm/test_vsock.py has one",
    "man/outboard-vsock.8: -device": "needs QEMU 10.1 or later; tests/vm/test_vsock.py has a guest with it",
    "docs/agent.md: systemctl enable --now outboard-agent": "needs a guest with systemd; test_the_unit_file reads it",
    "docs/agent.md: qemu-system-x86_64": "needs a guest; tests/vm/test_agent.py has one",
    "docs/agent.md: outboard agent --control=/run/vm/proxy.control get-osinfo": "needs a guest; tests/vm/test_agent.py has one",
    "docs/agent.md: outboard agent --control=/run/vm/proxy.control freeze": "needs a guest; tests/vm/test_agent.py has one",
    "docs/agent.md: outboard-agent event": "needs a guest; tests/agent/test_host.py sends it",
    "docs/agent.md: socat -u UNIX-CONNECT": "reads for ever; tests/agent/test_host.py is such a reader",
    "docs/agent.md: # /etc/outboard/backup.policy": "a file; tests/agent/test_request_policy.py has such ones",
    "docs/agent.md: C → A": "bytes; tests/agent/test_wire.py sends and expects them",
    "man/outboard-agent.1: outboard agent": "needs a guest; tests/vm/test_agent.py has one",
    "ARCHITECTURE.md:   guest            program": "a picture",
    "README.md:             guest": "a picture",
    "README.md: ./dev demo": "these are what the CI runs",
    "docs/access-control.md: cp -r": "needs a kernel with AppArmor; tests/vm/test_apparmor.py has one",
    "docs/access-control.md: abi <abi": "a profile; tests/vm/test_apparmor.py loads one",
    "docs/access-control.md: mkdir": "needs a kernel with SELinux; tests/vm/test_selinux.py has one",
    "docs/access-control.md: chcon": "needs a kernel with SELinux; tests/vm/test_selinux.py has one",
    "docs/control.md: S → C": "messages; tests/supervisor/controllab.py sends and expects them",
    "docs/proxy.md: systemctl enable --now outboard-proxy": "needs a guest with systemd; test_the_unit_file reads it",
    "docs/proxy.md: ssh -o ProxyCommand": "needs an sshd; tests/proxy/test_run_edges.py has one",
    "man/outboard-keep.8: systemctl start": "needs systemd; tests/supervisor/test_keep.py has a scripted one",
    "docs/session-protocol.md: proof =": "a formula; tests/session/independent_peer.py stands on it",
    "docs/session-protocol.md: A → B  HELLO": "bytes; tests/session/independent_peer.py stands on them",
    "docs/testing.md: OUTBOARD_FAULTS=": "a setting; tests/supervisor/test_fault_points.py has such ones",
    "docs/your-virtio-device.md: static const struct ob_vault_state": "a part of a device; devices/rng/main.c has it",
    "docs/testing.md: import socket": "is a test itself, of a guest",
    "docs/testing.md: ./dev test nested": "runs tests",
    "docs/testing.md: ./dev policies": "runs tests",
    "docs/testing.md: OUTBOARD_QEMU=": "runs tests, with a QEMU that Debian 12 does not have",
    "docs/testing.md: ./dev test vm": "runs tests",
    "docs/vfio-user.md: <domain": "a fragment for libvirt, with a QEMU that Debian 12 does not have",
    "docs/vfio-user.md: qemu-system-x86_64": "needs QEMU 10.1 or later",
    "docs/your-virtio-device.md: static bool notified": "is a part of devices/rng/main.c; tests/virtio/test_rng.py compares them",
    "docs/your-virtio-device.md: outboard-rng:": "a message; tests/virtio/test_hostile.py sees it",
    "man/outboard-rng.8: outboard pair": "needs KVM; tests/vm/test_virtio.py has a guest with it",
    "docs/your-device.md: mine/build/sum --socket-path": "needs QEMU 10.1 or later",
    'docs/vfio-user.md: {"execute"': "needs QEMU 10.1 or later",
    "docs/vfio-user.md: cloud-hypervisor": "Debian 12 does not have it",
    "man/outboard-proxy.1: outboard-proxy": "needs the virtio-serial port of a guest; tests/vm/test_proxy.py has one",
}
RUN = {}


def runs(*names):
    """The function runs the examples whose names begin so."""

    def register(function):
        for name in names:
            RUN[name] = function
        return function

    return register


class Shell:
    """A folder that has what the examples speak of, and a shell there as README prepares it."""

    def __init__(self, folder):
        self.folder = folder
        self.groups = []
        for name in ("run/vm", "tmp", "srv", "bin"):
            (folder / name).mkdir(parents=True)
        (folder / "build").symlink_to(paths.BUILD)
        (folder / "examples").symlink_to(paths.TREE / "examples")
        self.prelude = text("README.md: export PATH")
        (folder / "mine.c").write_text(text("README.md: #include <stdint.h>"))

    def place(self, script):
        return re.sub(r"(?<=[\s:='\"/])/(run|tmp|srv)\b", rf"{self.folder}/\1", script)

    def start(self, script, **options):
        """A process that runs it; what it starts in the background ends with the test."""
        script = self.prelude + self.place(script)
        script = re.sub(r"^(.*(?:--socket-path=|-k )(\S+).*(?:\\\n.*)*)&$", r"\1&\nuntil [ -S \2 ]; do sleep 0.01; done",
                        script, flags=re.MULTILINE)  # fmt: skip
        process = subprocess.Popen(["bash", "-eu", "-o", "pipefail", "-c", script], cwd=self.folder,
                                   start_new_session=True, **options)  # fmt: skip
        self.groups.append(process.pid)
        return process

    def run(self, script, input=b""):
        """What it prints; it must go well."""
        path = self.folder / "printed"
        with open(path, "wb") as out:
            with self.start(script, stdin=subprocess.PIPE, stdout=out, stderr=out) as process:
                process.communicate(input, timeout=PATIENCE_S)
        assert process.returncode == 0, path.read_text()
        return path.read_text()

    def serve(self, script):
        """Starts a server; returns when its socket is there."""
        path = re.search(r"(?:--socket-path=|--control=)(\S+)", script)[1]
        self.run(f"{script.rstrip()} >>log 2>&1 &\nuntil [ -S {path} ]; do sleep 0.01; done")

    def write(self, name, program):
        path = self.folder / "bin" / name
        path.write_text(program)
        path.chmod(0o755)

    def end(self):
        with contextlib.suppress(FileNotFoundError):
            os.kill(int((self.folder / "qemu.pid").read_text()), signal.SIGTERM)
        for group in self.groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGTERM)


@pytest.fixture
def shell():
    with tempfile.TemporaryDirectory(prefix="ob-", ignore_cleanup_errors=True) as name:  # a short path, for sockets
        shell = Shell(pathlib.Path(name))
        shell.run(text("README.md: cc -shared"))
        yield shell
        shell.end()


def text(beginning):
    """The one example whose name begins so."""
    (name,) = [name for name in EXAMPLES if name.startswith(beginning)]
    return EXAMPLES[name]


def test_each_example_runs_or_has_a_reason():
    for beginning in [*RUN, *NOT_RUN]:
        text(beginning)
    known = tuple([*RUN, *NOT_RUN])
    assert [name for name in EXAMPLES if not name.startswith(known)] == []


@pytest.mark.parametrize("beginning", RUN)
def test_example(beginning, shell):
    RUN[beginning](shell, text(beginning))


@runs("README.md: export PATH", "README.md: #include <stdint.h>", "README.md: cc -shared")
def prepared(shell, example):
    assert shell.run("command -v outboard-backdoor outboard-nvme outboard backdoor outboard-proxy").count("\n") == 5
    assert (shell.folder / "mine.so").exists()


@runs("docs/testing.md: cd build/release/tests/escape")
def escapes(shell, example):
    printed = shell.run(example)
    assert "make a TCP socket: killed socket" in printed and "make a TCP socket: done" in printed


@runs("README.md: outboard pair", "man/outboard-backdoor.8: outboard pair")
def pair_with_qemu(shell, example):
    shell.run(example.replace("...", MACHINE))


@runs("README.md: [machine]", "README.md: outboard run", "man/outboard-run.8: [machine]", "man/outboard-machine.5: [machine]",
      'man/outboard-machine.5: [device "disk0"]')  # fmt: skip
def run_a_machine(shell, example):
    """QEMU reads its monitor's commands from outboard run's standard input."""
    file = text("README.md: [machine]") if "outboard run" in example else example
    file = file.replace("...", "-accel tcg -display none -nodefaults -monitor stdio")
    (shell.folder / "machine.conf").write_text(file)
    if "outboard run" in example:
        shell.run(example, b"quit\n")
    else:
        shell.run("outboard run --dry-run machine.conf")


@runs("README.md: // SPDX", "README.md: cc -o led")
def write_a_device(shell, example):
    assert "1af4:10f2" in shell.run(text("README.md: cc -o led"))


@runs("docs/your-device.md: cp -r", "docs/your-device.md: outboard pair mine/build/sum -- outboard inspect",
      "docs/your-device.md: cc -o mine/sum", "docs/your-device.md: outboard pair mine/build/sum -- \\",
      "docs/your-device.md: outboard pair mine/build/sum --trace")  # fmt: skip
def your_device(shell, example):
    begin = text("docs/your-device.md: cp -r")
    printed = shell.run(begin)
    assert re.search(r"Ok: +1\b", printed) and re.search(r"Fail: +0\b", printed)
    if example != begin:
        printed = shell.run(example.replace("...", MACHINE))
    if "inspect" in example:
        assert "1af4:10f4" in printed and "0x0000000000001000" in printed
    if "--trace" in example:
        assert "BAR_READ" in printed


@runs("docs/client.md: #include <stdio.h>")
def write_a_client(shell, example):
    shell.serve("outboard-backdoor --library=./mine.so --socket-path=/run/backdoor.sock")
    (shell.folder / "client.c").write_text(shell.place(example))
    assert "1af4:10f0 says 0x1000" in shell.run("cc -o client client.c $(pkg-config --cflags --libs outboard); ./client")


@runs("docs/proxy.md: qemu-system-x86_64")
def port_of_the_proxy(shell, example):
    shell.run(example.replace("...", MACHINE))
    assert (shell.folder / "run/vm/proxy").is_socket()


@runs("docs/proxy.md: outboard proxy -c", "docs/proxy.md: outboard proxy run")
def proxy(shell, example):
    shell.write("systemctl", "#!/bin/sh\necho running\n")
    guest = "PATH=$PWD/bin:$PATH outboard proxy -c unix-listen:/run/vm/proxy,line --trust-peer"
    shell.serve(f"{guest} --control=/run/vm/guest.control")
    shell.serve(text("docs/proxy.md: outboard proxy -c").replace("...", ""))
    status, terminal, files = text("docs/proxy.md: outboard proxy run").splitlines()
    assert shell.run(status) == "running\n"
    assert "exit" in shell.run(terminal, b"exit\n")
    shell.run(f"mkdir files; touch files/it; cd files; {files}")
    assert (shell.folder / "srv/it").exists()


@runs("man/outboard-proxy.1: outboard proxy -c")
def proxy_of_the_manual(shell, example):
    shell.serve("outboard proxy -c unix-listen:/run/vm/port,line --trust-peer --control=/run/vm/guest.control")
    for port in ("2222", "1080"):
        example = example.replace(port, str(free_port()), 1)
    shell.serve(f"{example.rstrip()} --control=/run/vm/host.control")
    shell.run("outboard proxy ping --control=/run/vm/host.control")


@runs("docs/vfio-user.md: outboard-nvme")
def devices_at_paths(shell, example):
    shell.run("truncate -s 1M disk.img")
    for command in example.splitlines():
        shell.serve(command)
        assert "Region 0" in shell.run("outboard inspect " + re.search(r"--socket-path=(\S+)", command)[1])


@runs("man/backdoor.1: # echo hello")
def backdoor(shell, example):
    shell.serve("outboard-backdoor --library=build/root/share/outboard/examples/backdoor_library.so --socket-path=/tmp/b")
    commands = [line[2:] for line in example.splitlines() if line.startswith("# ")]
    answers = [line for line in example.splitlines() if not line.startswith("# ")]
    assert shell.run("\n".join(["export OUTBOARD_BACKDOOR=/tmp/b", *commands])).splitlines() == answers


@runs("man/outboard-backdoor.8: outboard-backdoor --wire=vfio-user")
def backdoor_without_a_guest(shell, example):
    shell.run(example)


@runs("man/outboard.1: outboard-backdoor")
def look_and_poke(shell, example):
    shutil.copy(shell.folder / "mine.so", shell.folder / "callee.so")
    assert "1af4:10f0" in shell.run(example)


@runs("man/outboard-disk.8: outboard disk --socket-path=/run/vm1.disk --image=disk.qcow2",
      "man/outboard-disk.8: outboard disk --socket-path=/run/vm1.disk --image=server")  # fmt: skip
def disks(shell, example):
    shell.run("qemu-img create -q -f qcow2 disk.qcow2 1M; cp disk.qcow2 server-cloudimg-amd64.img; truncate -s 1M data.img")
    shell.serve(example)
    assert "Region 0" in shell.run("outboard inspect /run/vm1.disk")


@runs("man/outboard-nvme.8: outboard disk", "man/outboard-nvme.8: qemu-nbd --persistent -f qcow2",
      "man/outboard-nvme.8: qemu-nbd --persistent -f raw")  # fmt: skip
def disks_on_a_descriptor(shell, example):
    shell.run("qemu-img create -q -f qcow2 disk.qcow2 1M; truncate -s 1M disk.img")
    *before, device = example.splitlines()
    device = device.replace(" --fd=3", "")
    assert "Region 0" in shell.run("\n".join([*before, f"outboard pair {device} -- outboard inspect --fd=3"]))


def test_the_unit_file():
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str
    unit.read_string((paths.BUILD / "root/share/outboard/outboard-proxy.service").read_text())
    assert unit["Service"]["ExecStart"] == "/usr/local/bin/outboard-proxy $OPTIONS"
    assert unit["Service"]["Type"] == "notify" and unit["Install"]["WantedBy"] == "multi-user.target"


def test_the_unit_file_of_the_agent():
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str
    unit.read_string((paths.BUILD / "root/share/outboard/outboard-agent.service").read_text())
    assert unit["Service"]["ExecStart"] == "/usr/local/bin/outboard-agent --control=/run/outboard-agent.control $OPTIONS"
    assert unit["Service"]["Type"] == "notify" and unit["Install"]["WantedBy"] == "multi-user.target"

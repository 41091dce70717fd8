# SPDX-License-Identifier: BSD-3-Clause
"""Host names: the rules hold for each spelling, one address that swallows SYNs hides no other, and the guest's static
program resolves where the C library's name services can't be had."""
import os
import re
import shutil
import subprocess
import sys
import textwrap

import pytest
from agentlab import AGENT
from proxylab import PATIENCE_S, PROGRAM, STATIC

# A name server on loopback, in a network namespace of its own: {name: [addresses]}; and an alias for secret.test.
WORLD = textwrap.dedent(
    """
    import os, socket, subprocess, sys, threading
    subprocess.check_call(["ip", "link", "set", "lo", "up"])
    subprocess.check_call(["mount", "-t", "tmpfs", "none", sys.argv[1]])
    conf = sys.argv[1] + "/resolv.conf"
    with open(conf, "w") as file:
        file.write("nameserver 127.0.0.1\\nsearch test\\n")
    subprocess.check_call(["mount", "--bind", conf, "/etc/resolv.conf"])
    names = {b"secret.test": [], b"other.test": [], b"alias.test": [b"secret.test"]}
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))

    def wire(name):
        return b"".join(bytes([len(label)]) + label for label in name.split(b".")) + b"\\0"

    def serve():
        while True:
            query, peer = server.recvfrom(512)
            end = query.index(b"\\0", 12) + 5
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1 : at + 1 + query[at]])
                at += 1 + query[at]
            name = b".".join(labels).lower()
            if name not in names:
                server.sendto(query[:2] + b"\\x81\\x83\\0\\1" + bytes(6) + query[12:end], peer)
                continue
            records, count, owner = b"", 0, b"\\xc0\\x0c"
            for alias in names[name]:
                records += owner + b"\\0\\5\\0\\1\\0\\0\\0\\1" + len(wire(alias)).to_bytes(2, "big") + wire(alias)
                owner, count = wire(alias), count + 1
            if query[end - 4 : end - 2] == b"\\0\\1":
                records += owner + b"\\0\\1\\0\\1\\0\\0\\0\\1\\0\\4\\x7f\\0\\0\\1"
                count += 1
            server.sendto(query[:2] + b"\\x81\\x80\\0\\1" + bytes([0, count]) + bytes(4) + query[12:end] + records, peer)

    threading.Thread(target=serve, daemon=True).start()
    """
)


def in_a_world(folder, script, *words):
    """Runs a Python script in namespaces of its own, with the name server; what it printed."""
    if os.geteuid() != 0:
        pytest.skip("only root may make a network namespace with a name server at port 53")
    mount = folder / "world"
    mount.mkdir()
    done = subprocess.run(
        ["unshare", "-mn", sys.executable, "-c", WORLD + textwrap.dedent(script), mount, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Starts two ends and asks for names: argv[2] a folder, [3] what it is called where the end that resolves runs,
# [4] outboard, [5] the program of that end, [6:] names.
ASK = """
    folder, inside, outboard, resolver = sys.argv[2:6]
    listener = socket.create_server(("127.0.0.1", 9999))
    ends = []

    def start(where, *words):
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.settimeout(60)
        notify.bind(f"{folder}/notify-{len(ends)}")
        environment = dict(os.environ, NOTIFY_SOCKET=f"{where}/notify-{len(ends)}")
        ends.append(subprocess.Popen(words, env=environment))
        notify.recv(100)

    try:
        rules = ["--deny-connect=secret.test:*", "--allow-connect=*:9999"]
        start(inside, resolver, "-c", f"unix-listen:{inside}/ch", *rules)
        start(folder, outboard, "proxy", "-c", f"unix:{folder}/ch", f"--control={folder}/ctl")
        for name in sys.argv[6:]:
            control = socket.socket(socket.AF_UNIX)
            control.connect(f"{folder}/ctl")
            control.sendall(f"WAIT\\nOPEN tcp:{name}:9999\\n".encode())
            lines = control.makefile("r")
            lines.readline()
            print(name, lines.readline().strip(), flush=True)
    finally:
        for end in ends:
            end.terminate()
            end.wait()
"""


@pytest.fixture
def folder(lab):
    return lab.folder


def answers(printed):
    return dict(line.split(" ", 1) for line in printed.splitlines())


@pytest.mark.parametrize("program", ["dynamic", "static"])
def test_a_name_is_denied_in_each_spelling(folder, program):
    names = ["secret.test", "SECRET.test", "secret.test.", "secret.test..", "secret", "alias.test", "alias", "secr\\101t.test"]
    resolver = STATIC
    if program == "dynamic":
        resolver = folder / "proxy"
        resolver.write_text(f'#!/bin/sh\nexec "{PROGRAM}" proxy "$@"\n')
        resolver.chmod(0o755)
    said = answers(in_a_world(folder, ASK, folder, folder, PROGRAM, resolver, "other.test", "other", *names))
    assert said.pop("other.test") == "OK"
    assert said.pop("other") == "OK"
    assert sorted(said) == sorted(names)
    assert [name for name, answer in said.items() if not answer.startswith("REFUSED")] == []


def root_with_a_name_service_module(folder):
    """A root with the static program, and an nsswitch.conf that names a module which is there: as in Debian 11."""
    root = folder / "root"
    for place in ("etc", "lib/x86_64-linux-gnu", "dev", "run", "bin"):
        (root / place).mkdir(parents=True)
    shutil.copy(STATIC, root / "bin/outboard-proxy")
    (root / "etc/nsswitch.conf").write_text("hosts: files compat dns\npasswd: files compat\n")
    (root / "etc/hosts").write_text("127.0.0.1 box.test\n")
    (root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    listed = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    libc = re.search(r"libc\.so\.6 \(libc6,x86-64\) => (\S+)", listed)[1]
    for name in ("libc.so.6", "libnss_compat.so.2", "libnss_dns.so.2", "libnss_files.so.2"):
        source = os.path.join(os.path.dirname(libc), name)
        if os.path.exists(source):
            shutil.copy(source, root / "lib/x86_64-linux-gnu")
    return root


def test_the_static_program_resolves_where_name_services_have_modules(folder):
    root = root_with_a_name_service_module(folder)
    program = folder / "in-root"
    mounts = f"mount --bind /dev {root}/dev && mount --bind {folder} {root}/run"
    program.write_text(f'#!/bin/sh\n{mounts} && exec chroot {root} /bin/outboard-proxy "$@"\n')
    program.chmod(0o755)
    said = answers(in_a_world(folder, ASK, folder, "/run", PROGRAM, program, "other.test", "box.test", "nobody.test"))
    assert said["other.test"] == "OK"  # by the DNS
    assert said["box.test"] == "OK"  # by the hosts file
    assert said["nobody.test"].startswith("REFUSED")


def test_names_that_nobody_answers_for_hold_up_no_other(lab, monkeypatch):
    """Each look-up is a child process: of too many the oldest gives way, to other names and to commands."""
    getent = lab.folder / "getent"
    getent.write_text('#!/bin/sh\n[ "$2" = quick.test ] && exec echo 127.0.0.1 STREAM quick.test\nexec sleep 600\n')
    getent.chmod(0o755)
    monkeypatch.setenv("PATH", f"{lab.folder}:{os.environ['PATH']}")
    app = lab.listen()
    host, guest = lab.pair([], ["--trust-peer"])
    held = []
    for number in range(600):  # more than there may be children
        held.append(lab.connect(host.control))
        held[-1].sendall(b"OPEN tcp:hung%d.test:1\n" % number)
        if number % 32 == 31:  # clients of a control socket are few at a time
            assert host.ask("PING").startswith("PONG")
    assert host.ask(f"OPEN tcp:quick.test:{app.getsockname()[1]}") == "OK"
    assert host.outboard("run", "--", "echo", "hello").stdout == b"hello\n"
    assert held[0].recv(100).startswith(b"REFUSED")
    hung = [stream for stream in guest.status()["streams"] if "hung" in stream["service"]]
    assert 0 < len(hung) <= 128


@pytest.mark.parametrize("program", [STATIC, AGENT], ids=lambda program: program.name)
def test_the_static_program_has_no_name_services(program):
    """A static glibc loads modules for them, and ends the program where it can't. getgroups() is a system call."""
    symbols = subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout
    assert " main" in symbols
    services = r" (getaddrinfo|gethostby\w+|getpw\w+|getgr(?!oups\b)\w+|getnameinfo|__nss_\w+)\b"
    assert re.findall(services, symbols) == []


def test_an_address_that_swallows_what_it_is_sent_hides_no_other(folder):
    """RFC 8305: the name's first address has a full backlog, the second one answers."""
    script = """
    hole = socket.socket(socket.AF_INET6)
    hole.bind(("::1", 9999))
    hole.listen(0)
    full = [socket.socket(socket.AF_INET6) for _ in range(4)]
    for sock in full:
        sock.setblocking(False)
        sock.connect_ex(("::1", 9999))
    with open(sys.argv[1] + "/hosts", "w") as file:
        file.write("::1 both.test\\n127.0.0.1 both.test\\n")
    subprocess.check_call(["mount", "--bind", sys.argv[1] + "/hosts", "/etc/hosts"])
    """
    said = answers(in_a_world(folder, script + ASK, folder, folder, PROGRAM, STATIC, "both.test"))
    assert said == {"both.test": "OK"}

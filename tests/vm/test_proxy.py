# SPDX-License-Identifier: BSD-3-Clause
"""outboard proxy in guests that have no network device, over QEMU's own ports."""
import functools
import hashlib
import http.server
import os
import subprocess
import tempfile
import threading

import pytest
from guestlab.initramfs import with_libraries
from proxylab import STATIC, Lab, free_port

from apps import Exchange, Transfer, is_reset, pattern, receive

PORT_NAME = "org.outboard.proxy.0"  # what the guest's program looks for by default
GUEST_OPTIONS = {"virtio": "", "serial": "--trust-peer --channel=serial:/dev/ttyS2:115200"}

# Emulation makes ports slow; OUTBOARD_DOWNLOAD_MIB=1024 asks for what one would do with KVM.
DOWNLOAD_BYTES = {"virtio": int(os.environ.get("OUTBOARD_DOWNLOAD_MIB", "64")) << 20, "serial": 256 << 10}


@pytest.fixture
def lab(spawn, cleanup):
    return Lab(spawn, cleanup)


def device(kind, path):
    """QEMU's arguments: a port whose host end is a socket at path."""
    if kind == "serial":
        return ["-chardev", f"socket,id=line,path={path},server=on,wait=off", "-serial", "chardev:line"]
    return ["-device", "virtio-serial-pci", *virtio_port(PORT_NAME, path)]


def virtio_port(name, path):
    return ["-chardev", f"socket,id={name},path={path},server=on,wait=off",
            "-device", f"virtserialport,chardev={name},name={name}"]  # fmt: skip


@pytest.fixture
def start_guest(boot, lab):
    """start_guest(kind): a guest with its end of a channel at lab.channel, no network device and no configuration."""

    def start(kind="virtio", name="guest", options="", arguments=(), state=None, **more):
        arguments = [*device(kind, lab.channel), *arguments]
        guest = boot(
            name, modules=["virtio_pci", "virtio_console"], programs=[STATIC], arguments=arguments, state=state, **more
        )
        if state:
            return guest  # with its end, which runs
        guest.run("ip link set lo up")
        assert guest.run("ls /sys/class/net").split() == ["lo"]
        start_proxy(guest, kind, options)
        return guest

    return start


def start_proxy(guest, kind="virtio", options="", name="proxy"):
    words = f"{GUEST_OPTIONS[kind]} {options}".strip()
    if kind == "virtio" and words:
        words = f"--trust-peer {words}"  # which it does of itself without any option
    guest.run(f"outboard-proxy {words} 2>/tmp/{name}.log & echo $! >/tmp/{name}.pid")


@pytest.fixture
def host(lab):
    """host(option...): the host's end, with a session."""

    def start(*options):
        end = lab.start("host", f"--channel=unix:{lab.channel},line", *options)
        end.wait_up()
        return end

    return start


@pytest.fixture
def web(tmp_path):
    """web(size): a web server on the host's loopback with a file /data of random bytes: (port, checksum)."""
    servers = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    def start(size):
        data = os.urandom(size)
        (tmp_path / "data").write_bytes(data)
        handler = functools.partial(Handler, directory=tmp_path)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return server.server_port, hashlib.sha256(data).hexdigest()

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def wait_for_forward(end, count=1):
    """Until the guest listens at what -R asked for."""
    while sum(s["service"] == "@listen" and s["bytes_received"] > 0 for s in end.status()["streams"]) < count:
        assert end.ask("PING").startswith("PONG")


@pytest.mark.parametrize("kind", ["virtio", "serial"])
def test_download(start_guest, host, web, kind):
    port, checksum = web(DOWNLOAD_BYTES[kind])
    guest = start_guest(kind)
    end = host("-R8080:web", f"-sweb=tcp:127.0.0.1:{port}")
    wait_for_forward(end)
    output = guest.run("wget -q -O - http://127.0.0.1:8080/data | sha256sum", timeout=900)
    assert output.split()[0] == checksum
    assert end.status()["sessions"] == 1


def test_socks_client(start_guest, host, web):
    port, checksum = web(1 << 20)
    guest = start_guest(files=with_libraries("/usr/bin/curl"))
    end = host("--remote-dynamic=1080", f"--allow-connect=127.0.0.1:{port}")
    wait_for_forward(end)
    output = guest.run(f"/usr/bin/curl -sS --socks5-hostname 127.0.0.1:1080 http://localhost:{port}/data | sha256sum")
    assert output.split()[0] == checksum
    refused = guest.attempt(f"/usr/bin/curl -sS --socks5-hostname 127.0.0.1:1080 http://127.0.0.1:{free_port()}/")
    assert refused.status == 97 and "(2)" in refused.output


def ssh_files(folder):
    """An ssh server for a guest, and a key for its root: (files, the key's path)."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    settings = "HostKey /etc/ssh/host\nAuthorizedKeysFile /etc/ssh/user.pub\nStrictModes no\nUsePAM no\n"
    files = with_libraries("/usr/sbin/sshd") | {
        "/etc/ssh/host": folder / "host",
        "/etc/ssh/user.pub": (folder / "user.pub").read_bytes(),
        "/etc/ssh/config": settings.encode(),
        "/etc/passwd": b"root:x:0:0::/:/bin/sh\nsshd:x:100:100::/run/sshd:/bin/false\n",
        "/etc/group": b"root:x:0:\nsshd:x:100:\n",
        "/run/sshd/.keep": b"",
    }
    return files, folder / "user"


def test_ssh(start_guest, host, tmp_path):
    files, key = ssh_files(tmp_path)
    guest = start_guest(files=files, options="'--service=ssh=exec:/usr/sbin/sshd -i -f /etc/ssh/config'")
    guest.run("chmod 755 /run /run/sshd; mkdir -p /dev/pts; mount -t devpts devpts /dev/pts")
    port = free_port()
    host(f"-L{port}:ssh")
    ssh = ["ssh", "-F", "none", "-i", key, "-p", str(port), "-o", "StrictHostKeyChecking=no",
           "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "root@127.0.0.1"]  # fmt: skip
    data = pattern("ssh", 1_000_000)
    done = subprocess.run([*ssh, "cat /proc/sys/kernel/random/boot_id; cat; exit 5"], input=data, capture_output=True,
                          timeout=120, check=False)  # fmt: skip
    assert done.returncode == 5, done.stderr
    boot_id = guest.read("/proc/sys/kernel/random/boot_id")
    assert done.stdout == boot_id.encode() + b"\n" + data


def test_commands(start_guest, host):
    start_guest()
    end = host()
    done = end.outboard("run", "--", "sh", "-c", "uname -n; cat; exit 3", input=b"from the host")
    assert done.stdout.endswith(b"from the host")
    assert done.returncode == 3


def test_vsock(boot):
    """Both ends in one guest, over its kernel's loopback, for hosts whose kernel has no vsock."""
    guest = boot(modules=["vsock_loopback"], programs=[STATIC])
    guest.run("outboard-proxy --channel=vsock-listen:7000 --allow-run 2>/dev/null &")
    guest.run("outboard-proxy --channel=vsock:1:7000 --control=/tmp/control 2>/dev/null &")
    run = "outboard-proxy run --control=/tmp/control -- sh -c 'echo through; exit 3'"
    result = guest.attempt(f"until [ -S /tmp/control ]; do :; done; {run}")
    assert (result.output, result.status) == ("through\n", 3)


def test_two_hundred_at_once(start_guest, host, lab):
    start_guest(options="--service=echo=exec:cat", memory_mib=512)
    path = lab.folder / "echo"
    host(f"-Lunix:{path}:echo")
    transfers = []
    for number in range(200):
        sock = lab.connect(path)
        transfers.append(Transfer(sock, sock, pattern(number, 20_000)))
    for transfer in transfers:
        transfer.check(120)


@pytest.fixture
def conversation(start_guest, host, lab):
    """conversation(kind): (guest, the host's end, talk); talk() opens a connection to an echo in the guest."""

    def start(kind="virtio"):
        guest = start_guest(kind, options="--service=echo=exec:cat")
        path = lab.folder / "echo"
        end = host(f"-Lunix:{path}:echo")

        def talk():
            sock = lab.connect(path)
            sock.sendall(b"hello")
            assert receive(sock, 5) == b"hello"
            return sock

        return guest, end, talk

    return start


@pytest.mark.parametrize("kind", ["virtio", "serial"])
def test_guest_reboots(conversation, kind):
    guest, end, talk = conversation(kind)
    sock, tag = talk(), end.wait_up()
    guest.reboot()
    guest.run("ip link set lo up")
    start_proxy(guest, kind, "--service=echo=exec:cat")
    assert receive(sock) == b"" or is_reset(sock)  # a Unix socket knows no other break
    wait_for_another(end, tag)
    talk()


def wait_for_another(end, tag):
    while end.wait_up() == tag:
        pass


@pytest.mark.parametrize("kind", ["virtio", "serial"])
def test_program_in_the_guest_is_killed(conversation, kind):
    guest, end, talk = conversation(kind)
    sock, tag = talk(), end.wait_up()
    guest.run("kill -9 $(cat /tmp/proxy.pid)")
    start_proxy(guest, kind, "--service=echo=exec:cat")
    assert receive(sock) == b""
    wait_for_another(end, tag)
    talk()


@pytest.mark.parametrize("kind", ["virtio", "serial"])
def test_program_on_the_host_is_killed(conversation, host, lab, kind):
    guest, end, talk = conversation(kind)
    talk()
    assert guest.run("pidof cat")
    end.process.kill()
    path = lab.folder / "again"
    tag = host(f"-Lunix:{path}:echo").wait_up()
    assert guest.attempt("pidof cat").status != 0  # the old session's command has been hung up
    sock = lab.connect(path)
    sock.sendall(b"again")
    assert receive(sock, 5) == b"again"
    assert tag in guest.run("cat /tmp/proxy.log")


def test_vmm_is_restarted(conversation, start_guest):
    guest, end, talk = conversation()
    sock, tag = talk(), end.wait_up()
    guest.kill()
    assert receive(sock) == b""
    start_guest(name="another", options="--service=echo=exec:cat")
    wait_for_another(end, tag)
    talk()


def downloaded(end):
    """How much of the web server's file has gone to the guest."""
    assert end.ask("PING").startswith("PONG")
    return sum(s["bytes_sent"] for s in end.status()["streams"] if s["service"] == "web")


def start_application(guest, lab, listener):
    """A download in the guest, from its port 9000, that goes on for ever; our end of its connection."""
    guest.run("rm -f /tmp/status /tmp/output; mkfifo /tmp/status")
    guest.run("(/usr/bin/curl -sN http://127.0.0.1:9000/ >/tmp/output; echo $? >/tmp/status) &")
    sock = lab.accept(listener)
    sock.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello")
    guest.run("until [ -s /tmp/output ]; do :; done")
    return sock


def check_application_was_reset(guest):
    """Waits for its end."""
    assert guest.run("cat /tmp/status") == "56\n"  # after an orderly end: 0
    assert guest.run("cat /tmp/output") == "hello"


def check_call(guest, lab, listener):
    """The guest's port 9000 leads to us, and nothing else comes from there."""
    guest.run("echo again | nc 127.0.0.1 9000 >/dev/null &")
    assert receive(lab.accept(listener)) == b"again\n"


def test_paused_machine(start_guest, host, lab, web):
    """A session outlives any pause. One that an end gives up after some silence begins anew."""
    impatient_port, impatient_path = "org.outboard.proxy.1", lab.folder / "impatient"
    guest = start_guest(
        arguments=virtio_port(impatient_port, impatient_path), files=with_libraries("/usr/bin/curl")
    )
    start_proxy(guest, options=f"--channel=virtio:{impatient_port}", name="impatient")
    size = 16 << 20
    port, checksum = web(size)
    patient = host("-R8080:web", f"-sweb=tcp:127.0.0.1:{port}")
    app = lab.listen()
    impatient = lab.start("impatient", f"--channel=unix:{impatient_path},line", "--keepalive=1", "--idle-timeout=2",
                          "-R9000:app", f"-sapp=tcp:127.0.0.1:{app.getsockname()[1]}")  # fmt: skip
    wait_for_forward(patient)
    impatient.wait_up()
    wait_for_forward(impatient)
    tags = patient.wait_up(), impatient.wait_up()
    sock = start_application(guest, lab, app)
    guest.run("mkfifo /tmp/sum; wget -q -O - http://127.0.0.1:8080/data | sha256sum >/tmp/sum &")
    while not downloaded(patient):
        pass

    guest.qmp.execute("stop")
    guest.qmp.wait_event("STOP")
    assert is_reset(sock)  # after the longest timeout of all
    assert "timed out" in impatient.log()
    assert 0 < patient.status()["streams"][-1]["bytes_sent"] < size
    guest.qmp.execute("cont")

    wait_for_another(impatient, tags[1])
    check_application_was_reset(guest)
    wait_for_forward(impatient)
    check_call(guest, lab, app)
    assert guest.run("cat /tmp/sum").split()[0] == checksum
    assert patient.wait_up() == tags[0]
    assert patient.status()["sessions"] == 1


@pytest.mark.parametrize("host_restarts", [False, True])
def test_snapshot_is_restored(start_guest, lab, cleanup, host_restarts):
    """The guest's end wakes up in a session that nobody else remembers, twice in the same one."""
    state = cleanup.enter_context(tempfile.TemporaryFile())
    options = {"options": "--service=echo=exec:cat", "files": with_libraries("/usr/bin/curl")}
    guest = start_guest(**options)
    app, port = lab.listen(), free_port()

    def start_host():
        return lab.start("host", f"--channel=unix:{lab.channel},line", f"-L{port}:echo",
                         "-R9000:app", f"-sapp=tcp:127.0.0.1:{app.getsockname()[1]}")  # fmt: skip

    end = start_host()
    tags = [end.wait_up()]
    wait_for_forward(end)
    called, exchange = start_application(guest, lab, app), Exchange(lab.connect(port), pattern("old", 1_000_000))
    while not any(s["service"] == "echo" and s["bytes_received"] > 0 for s in end.status()["streams"]):
        assert end.ask("PING").startswith("PONG")
    guest.save(state)

    for name in ("restored", "restored-again"):
        guest.kill()
        assert is_reset(called)
        exchange.check_reset(30)
        if host_restarts:
            end.process.kill()
        guest = start_guest(name=name, state=state, **options)
        check_application_was_reset(guest)  # because the host's end greets anew, or because nobody has the port open
        if host_restarts:
            end = start_host()
        wait_for_another(end, tags[-1])
        tags.append(end.wait_up())
        wait_for_forward(end)
        check_call(guest, lab, app)
        sock = lab.connect(port)
        Transfer(sock, sock, pattern("new", 100_000)).check(30)
        called, exchange = start_application(guest, lab, app), Exchange(lab.connect(port), pattern("old", 1_000_000))
    assert len(set(tags)) == 3

# SPDX-License-Identifier: BSD-3-Clause
"""outboard-agent in guests that have no network device, over QEMU's own ports: what it changes there."""
import itertools
import subprocess
import tempfile

import pytest
from agentlab import AGENT, PATIENCE_S, PROGRAM, AgentError, Client, decode
from guestlab.initramfs import with_libraries
from proxylab import Lab

PORT_NAME = "org.outboard.proxy.0"
GUEST_OPTIONS = {"virtio": "", "serial": "--channel=serial:/dev/ttyS2:115200"}
READERS = ["ping", "info", "get-osinfo", "get-host-name", "get-time", "get-timezone", "get-users", "get-load",
           "network-get-interfaces", "network-get-route", "get-fsinfo", "get-disks", "get-diskstats", "get-cpustats",
           "get-vcpus", "get-memory-blocks", "get-memory-block-info", "fsfreeze-status", "get-dmesg"]  # fmt: skip


@pytest.fixture
def lab(spawn, cleanup):
    return Lab(spawn, cleanup)


def port(kind, path):
    chardev = ["-chardev", f"socket,id=port,path={path},server=on,wait=off"]
    if kind == "serial":
        return [*chardev, "-serial", "chardev:port"]
    return [*chardev, "-device", "virtio-serial-pci", "-device", f"virtserialport,chardev=port,name={PORT_NAME}"]


def start_program(guest, kind="virtio"):
    guest.run(f"outboard-agent {GUEST_OPTIONS[kind]} 2>>/tmp/agent.log & echo $! >/tmp/agent.pid")


@pytest.fixture
def boot_machine(boot, lab, tmp_path):
    """boot_machine(kind): a guest with a channel, a user and a disk, which QEMU does not migrate."""

    def start(kind="virtio", has_disk=True, **more):
        disk = ["-drive", f"file={tmp_path}/disk.img,format=raw,if=none,id=disk", "-device", "nvme,drive=disk,serial=DISK0"]
        files = {"/etc/passwd": b"root:x:0:0::/root:/bin/sh\nbob:x:1000:100:,,,:/home/bob:/bin/sh\n"}
        return boot(modules=["virtio_pci", "virtio_console"], programs=[AGENT], files=files | more.pop("files", {}),
                    arguments=[*port(kind, lab.channel), *(disk if has_disk else [])], **more)  # fmt: skip

    return start


@pytest.fixture
def world(boot_machine, lab, tmp_path):
    """world(kind): (guest, the host's end, the path of its qga socket); /mnt in the guest is an ext4 on a disk."""

    def start(kind="virtio", **more):
        subprocess.run(["mke2fs", "-q", "-t", "ext4", tmp_path / "disk.img", "64M"], check=True)
        guest = boot_machine(kind, **more)
        guest.run("mkdir -p /mnt /run /root; mount -t tmpfs tmpfs /run; mount -t ext4 /dev/nvme0n1 /mnt")
        start_program(guest, kind)
        path = lab.folder / "qga"
        end = lab.start("host", f"--channel=unix:{lab.channel},line", f"--qga-socket={path}")
        end.wait_up()
        return guest, end, path

    return start


def command(end, *words):
    return [PROGRAM, "agent", f"--control={end.control}", *words]


def agent(end, *words):
    return subprocess.run(command(end, *words), capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def start_writer(guest):
    """Something that writes to the frozen file system, and is blocked there once this returns."""
    guest.run("(echo written >/mnt/file; echo done >/tmp/written) & echo $! >/tmp/writer.pid")
    guest.run("until grep -q ' D ' /proc/$(cat /tmp/writer.pid)/stat; do :; done")


def wait_written(guest):
    assert guest.run("until [ -s /tmp/written ]; do :; done; rm /tmp/written; cat /mnt/file") == "written\n"


@pytest.mark.parametrize("kind", ["virtio", "serial"])
def test_each_command_that_reads(world, kind):
    path = world(kind)[2]
    with Client(path) as client:
        answers = {name: client.ask(name) for name in READERS}
    disks = {disk["name"]: disk for disk in answers["get-disks"]}
    address = disks["/dev/nvme0n1"]["address"]
    assert (address["bus-type"], address["serial"], address["dev"]) == ("nvme", "DISK0", "/dev/nvme0n1")
    mounted = {system["mountpoint"]: system for system in answers["get-fsinfo"]}
    assert (mounted["/mnt"]["name"], mounted["/mnt"]["type"]) == ("nvme0n1", "ext4")
    assert mounted["/mnt"]["disk"] == [address]
    assert [interface["name"] for interface in answers["network-get-interfaces"]] == ["lo"]
    assert "Linux version" in answers["get-dmesg"]["messages"]


def test_freeze_and_thaw(world):
    guest, _, path = world()
    with Client(path) as client, Client(path) as other:
        assert client.ask("fsfreeze-freeze") == 1
        start_writer(guest)
        assert other.ask("fsfreeze-status") == "frozen"
        with pytest.raises(AgentError, match="frozen state"):
            other.ask("get-osinfo")
        assert other.ask("ping") == {}
        assert other.ask("fsfreeze-thaw") == 1
    wait_written(guest)


def test_freeze_around_a_command(world):
    guest, end, _ = world()
    done = agent(end, "freeze", "--for=60", "--", *command(end, "fsfreeze-status"))
    assert (done.returncode, done.stdout) == (0, "frozen\n"), done.stderr
    assert agent(end, "freeze", "--for=60", "--", "sh", "-c", "exit 7").returncode == 7
    assert agent(end, "freeze", "--for=60", "--", "/nonexistent").returncode == 127
    assert agent(end, "fsfreeze-status").stdout == "thawed\n"
    guest.run("echo x >/mnt/file")


def test_freeze_ends_by_itself(world):
    """Whoever made a copy meanwhile is told that it is worth nothing."""
    guest, end, _ = world()
    wait = f"until [ \"$('{PROGRAM}' agent --control={end.control} fsfreeze-status)\" = thawed ]; do :; done"
    done = agent(end, "freeze", "--for=1", "--", "sh", "-c", wait)
    assert done.returncode == 255 and "may be inconsistent" in done.stderr
    guest.run("echo x >/mnt/file")


def test_client_dies_while_it_holds_a_freeze(world, spawn):
    guest, end, path = world()
    holder = spawn(command(end, "freeze", "--for=2", "--", "sleep", "1000"))
    with Client(path) as client:
        while client.ask("fsfreeze-status") != "frozen":
            pass
        start_writer(guest)
        holder.kill()
        while client.ask("fsfreeze-status") != "thawed":
            pass
    wait_written(guest)


def test_channel_is_lost_while_frozen(world):
    guest, end, path = world()
    with Client(path) as client:
        client.ask("fsfreeze-freeze", timeout=2)
    start_writer(guest)
    end.process.kill()
    wait_written(guest)


def test_agent_is_killed_while_frozen(world):
    """The process that holds the freeze sees its end."""
    guest, _, path = world()
    with Client(path) as client:
        client.ask("fsfreeze-freeze")
    start_writer(guest)
    guest.run("kill -9 $(cat /tmp/agent.pid)")
    wait_written(guest)


def test_all_processes_of_the_agent_are_killed_while_frozen(world):
    """The next agent thaws."""
    guest, end, path = world()
    tag = end.wait_up()
    with Client(path) as client:
        client.ask("fsfreeze-freeze")
    start_writer(guest)
    guest.run("kill -STOP $(pidof outboard-agent); kill -9 $(pidof outboard-agent)")
    assert guest.attempt("cat /tmp/written").status != 0
    start_program(guest)
    wait_written(guest)
    while end.wait_up() == tag:
        pass
    with Client(path) as client, pytest.raises(AgentError, match="the agent was restarted"):
        client.ask("fsfreeze-thaw")


def test_file_system_that_hangs_holds_up_nobody(world):
    """Somebody else has frozen it, and it is as dead as a network file system whose server has gone."""
    guest, _, path = world(files=with_libraries("/usr/sbin/fsfreeze"))
    guest.run("/usr/sbin/fsfreeze --freeze /mnt")
    with Client(path) as hangs, Client(path) as other:
        hangs.send("guest-file-open", {"path": "/mnt/new", "mode": "w"})
        while not guest.run("grep -l ' D ' /proc/[0-9]*/stat 2>/dev/null; true"):
            pass
        assert other.ask("ping") == {}
        assert other.ask("file-close", handle=other.ask("file-open", path="/tmp/other", mode="w")) == {}
        guest.run("/usr/sbin/fsfreeze --unfreeze /mnt")
        assert hangs.answer() > 0


def test_somebody_else_thaws(world):
    """What was written meanwhile may be in the copy: its maker is told, as often as it asks."""
    guest, _, path = world(files=with_libraries("/usr/sbin/fsfreeze"))
    with Client(path) as client:
        assert client.ask("fsfreeze-freeze", timeout=600) == 1
        guest.run("/usr/sbin/fsfreeze --unfreeze /mnt")
        for _ in range(2):
            with pytest.raises(AgentError, match="somebody else has thawed 1 of 1; a copy .* may be inconsistent"):
                client.ask("fsfreeze-thaw")
        assert client.ask("fsfreeze-status") == "thawed"
        assert client.ask("fsfreeze-freeze") == client.ask("fsfreeze-thaw") == 1


def test_process_id_that_the_kernel_gives_again(world):
    """The status is that of the program which was started last."""
    guest, _, path = world()
    with Client(path) as client:
        former = client.ask("exec", path="sh", arg=["-c", "exit 3"])["pid"]  # nobody asks for its status
        for back in itertools.cycle(range(1, 10)):  # the shell of the guest may start something too
            guest.run(f"echo {former - back} >/proc/sys/kernel/ns_last_pid")
            pid = client.ask("exec", path="sh", arg=["-c", "exit 7"])["pid"]
            if pid == former:
                break
            while not client.ask("exec-status", pid=pid)["exited"]:
                pass
        while not (status := client.ask("exec-status", pid=former))["exited"]:
            pass
        assert status["exitcode"] == 7


def test_keys_of_a_user(world):
    guest, _, path = world()
    guest.run("mkdir -p /home/bob; chown 1000:100 /home/bob")
    with Client(path) as client:
        assert client.ask("ssh-get-authorized-keys", username="bob") == {"keys": []}
        client.ask("ssh-add-authorized-keys", username="bob", keys=["ssh-ed25519 AAAA one", "ssh-rsa BBBB two"])
        client.ask("ssh-add-authorized-keys", username="bob", keys=["ssh-ed25519 AAAA one"])
        assert client.ask("ssh-get-authorized-keys", username="bob")["keys"] == ["ssh-rsa BBBB two", "ssh-ed25519 AAAA one"]
        client.ask("ssh-remove-authorized-keys", username="bob", keys=["ssh-rsa BBBB two"])
        assert guest.read("/home/bob/.ssh/authorized_keys") == "ssh-ed25519 AAAA one"
        assert guest.run("stat -c '%u %g %a' /home/bob/.ssh /home/bob/.ssh/authorized_keys") == "1000 100 700\n1000 100 600\n"
        client.ask("ssh-add-authorized-keys", username="bob", keys=["ssh-rsa CCCC"], reset=True)
        assert guest.read("/home/bob/.ssh/authorized_keys") == "ssh-rsa CCCC"


def test_a_users_link_leads_nowhere_else(world):
    """The user's own rights are all that is used in the user's home."""
    guest, _, path = world()
    guest.run("mkdir -p /home/bob /root/.ssh; chown 1000:100 /home/bob; chmod 700 /root; echo 'ssh-rsa ROOT' >/root/.ssh/authorized_keys")
    guest.run("ln -s /root/.ssh /home/bob/.ssh")
    with Client(path) as client:
        with pytest.raises(AgentError):
            client.ask("ssh-get-authorized-keys", username="bob")
        with pytest.raises(AgentError):
            client.ask("ssh-add-authorized-keys", username="bob", keys=["ssh-rsa EVIL"])
    assert guest.read("/root/.ssh/authorized_keys") == "ssh-rsa ROOT"


def test_processors_go_offline(world):
    guest, _, path = world(cpus=2)
    with Client(path) as client:
        assert client.ask("set-vcpus", vcpus=[{"logical-id": 1, "online": False}]) == 1
        assert guest.read("/sys/devices/system/cpu/cpu1/online") == "0"
        states = {cpu["logical-id"]: cpu["online"] for cpu in client.ask("get-vcpus")}
        assert states == {0: True, 1: False}
        assert client.ask("set-vcpus", vcpus=[{"logical-id": 1, "online": True}]) == 1
    assert guest.read("/sys/devices/system/cpu/cpu1/online") == "1"


@pytest.mark.parametrize("mode", ["powerdown", "halt", "reboot"])
def test_shutdown(world, mode):
    """busybox has no shutdown(8); its poweroff, halt and reboot are asked instead."""
    guest, _, path = world(files={f"/usr/local/sbin/{name}": f"#!/bin/sh\necho {name} >/tmp/asked\n".encode()
                                  for name in ("poweroff", "halt", "reboot")})  # fmt: skip
    guest.run("chmod 755 /usr/local/sbin/*")
    with Client(path) as client:
        client.send("guest-shutdown", {"mode": mode})
        client.send("guest-sync", {"id": 1})
        assert client.answer() == 1  # the first has no answer
    assert guest.read("/tmp/asked") == {"powerdown": "poweroff"}.get(mode, mode)


@pytest.mark.parametrize("kind", ["virtio", "serial"])
def test_guest_reboots_in_the_midst_of_commands(world, kind):
    """Each client is told, and the next one is answered by the new guest alone."""
    guest, end, path = world(kind)
    tag, boot_id = end.wait_up(), guest.read("/proc/sys/kernel/random/boot_id")
    with Client(path) as kept, Client(path) as busy:
        assert decode(kept.ask("get-file", path="/proc/sys/kernel/random/boot_id")["buf-b64"]).decode().strip() == boot_id
        guest.run("mkfifo /tmp/fifo; (sleep 1000 >/tmp/fifo) &")
        guest.reboot()
        start_program(guest, kind)
        for client in (kept, busy):
            with pytest.raises(ConnectionError):
                client.receive()
    while end.wait_up() == tag:
        pass
    with Client(path) as client:
        again = decode(client.ask("get-file", path="/proc/sys/kernel/random/boot_id")["buf-b64"]).decode().strip()
    assert again == guest.read("/proc/sys/kernel/random/boot_id") != boot_id


def test_snapshot_is_restored_in_the_midst_of_commands(boot_machine, lab, cleanup):
    """The guest's agent wakes up with requests of clients that are not there any more."""
    state = cleanup.enter_context(tempfile.TemporaryFile())
    guest = boot_machine(has_disk=False)
    guest.run("mkdir -p /run; mount -t tmpfs tmpfs /run")
    start_program(guest)
    path = lab.folder / "qga"
    end = lab.start("host", f"--channel=unix:{lab.channel},line", f"--qga-socket={path}")
    tag = end.wait_up()
    with Client(path) as kept, Client(path) as busy:
        pid = kept.ask("exec", path="sleep", arg=["1000"])["pid"]
        handle = kept.ask("file-open", path="/tmp/file", mode="w+")
        busy.send("guest-exec-status", {"pid": pid})
        assert busy.answer() == {"exited": False}
        busy.sock.sendall(b'{"execute": "guest-file-write", "arguments": {"buf-b64": "c2Vj')
        guest.save(state)
        guest.kill()
        for client in (kept, busy):
            with pytest.raises(ConnectionError):
                client.receive()
    boot_machine(has_disk=False, name="restored", state=state)
    while end.wait_up() == tag:
        pass
    with Client(path) as client:  # handles and programs are the agent's, and it is the same
        assert client.ask("exec-status", pid=pid) == {"exited": False}
        assert client.ask("file-write", handle=handle, buf_b64="eA==")["count"] == 1
        assert client.ask("sync", id=5) == 5


# In a guest that tame() has dealt with.
EACH = [
    ("sync", {"id": 1}), ("sync-delimited", {"id": 2}), ("ping", {}), ("info", {}), ("hello", {}), ("get-osinfo", {}),
    ("get-host-name", {}), ("get-time", {}), ("set-time", {}), ("get-timezone", {}), ("get-users", {}), ("get-load", {}),
    ("network-get-interfaces", {}), ("network-get-route", {}), ("get-fsinfo", {}), ("get-disks", {}), ("get-diskstats", {}),
    ("get-cpustats", {}), ("get-vcpus", {}), ("set-vcpus", {"vcpus": [{"logical-id": 0, "online": True}]}),
    ("get-memory-blocks", {}), ("get-memory-block-info", {}), ("set-memory-blocks", {"mem-blks": []}), ("fsfreeze-status", {}),
    ("fstrim", {}), ("exec", {"path": "sleep", "arg": ["1000"]}), ("exec-status", {"pid": 1}),
    ("file-open", {"path": "/tmp/new", "mode": "w"}), ("file-close", {"handle": 1}), ("file-read", {"handle": 1}),
    ("file-write", {"handle": 1, "buf-b64": "eA=="}), ("file-seek", {"handle": 1, "offset": 0, "whence": 0}),
    ("file-flush", {"handle": 1}), ("get-file", {"path": "/proc/kallsyms"}), ("get-dmesg", {}),
    ("set-user-password", {"username": "bob", "password": "eA==", "crypted": False}),
    ("ssh-get-authorized-keys", {"username": "bob"}), ("ssh-add-authorized-keys", {"username": "bob", "keys": ["ssh-rsa A"]}),
    ("ssh-remove-authorized-keys", {"username": "bob", "keys": ["ssh-rsa A"]}), ("fsfreeze-freeze-list", {"mountpoints": []}),
    ("suspend-disk", {}), ("suspend-ram", {}), ("suspend-hybrid", {}), ("shutdown", {}), ("fsfreeze-thaw", {}),
    ("fsfreeze-freeze", {"timeout": 60}),
]  # fmt: skip


def tame(guest):
    """What ends or pauses the guest has no effect."""
    guest.run("mkdir -p /usr/local/sbin; echo '#!/bin/sh' >/usr/local/sbin/poweroff; chmod 755 /usr/local/sbin/poweroff")
    guest.run("mount --bind /dev/null /sys/power/state")


def ask_each(guest, path, cleanup, is_stopped):
    """A client for each command, whose request is under way; its id is the command. is_stopped: none has been carried out."""
    with Client(path) as client:
        assert {f"guest-{name}" for name, _ in EACH} == set(client.ask("hello")["capabilities"])
    if is_stopped:
        guest.run("kill -STOP $(pidof outboard-agent)")
    clients = {name: cleanup.enter_context(Client(path)) for name, _ in EACH}
    for name, arguments in EACH:
        clients[name].send(f"guest-{name}", arguments, id=name)
    return clients


def check_each(clients, is_stopped):
    """Each has had its own answer, or the end of its connection."""
    answers = 0
    for name, client in clients.items():
        try:
            assert client.receive()["id"] == name
            answers += 1
        except ConnectionError:
            pass
    assert answers == 0 or not is_stopped


@pytest.mark.parametrize("is_stopped", [False, True], ids=["runs", "stopped"])
def test_guest_is_reset_in_the_midst_of_each_command(world, cleanup, is_stopped):
    guest, end, path = world()
    tame(guest)
    tag = end.wait_up()
    clients = ask_each(guest, path, cleanup, is_stopped)
    guest.qmp.execute("system_reset")
    guest.reset_shell()
    start_program(guest)
    check_each(clients, is_stopped)
    while end.wait_up() == tag:
        pass
    with Client(path) as client:
        assert client.ask("sync", id=6) == 6 and client.ask("fsfreeze-status") == "thawed"


@pytest.mark.parametrize("is_stopped", [False, True], ids=["runs", "stopped"])
def test_vmm_is_killed_in_the_midst_of_each_command(world, boot_machine, cleanup, is_stopped):
    guest, end, path = world()
    tame(guest)
    tag = end.wait_up()
    clients = ask_each(guest, path, cleanup, is_stopped)
    guest.kill()
    check_each(clients, is_stopped)
    again = boot_machine(name="again")
    again.run("mkdir -p /run; mount -t tmpfs tmpfs /run")
    start_program(again)
    while end.wait_up() == tag:
        pass
    with Client(path) as client:
        assert client.ask("sync", id=7) == 7


@pytest.mark.parametrize("is_stopped", [False, True], ids=["runs", "stopped"])
def test_snapshot_in_the_midst_of_each_command(boot_machine, lab, cleanup, is_stopped):
    state = cleanup.enter_context(tempfile.TemporaryFile())
    guest = boot_machine(has_disk=False)
    guest.run("mkdir -p /run; mount -t tmpfs tmpfs /run")
    start_program(guest)
    path = lab.folder / "qga"
    end = lab.start("host", f"--channel=unix:{lab.channel},line", f"--qga-socket={path}")
    tame(guest)
    tag = end.wait_up()
    clients = ask_each(guest, path, cleanup, is_stopped)
    guest.save(state)
    guest.kill()
    check_each(clients, is_stopped)
    restored = boot_machine(has_disk=False, name="restored", state=state)
    if is_stopped:
        restored.run("kill -CONT $(pidof outboard-agent)")
    while end.wait_up() == tag:
        pass
    with Client(path) as client:
        assert client.ask("sync", id=8) == 8
        client.send("guest-fsfreeze-thaw")
        client.receive()
        while client.ask("fsfreeze-status") != "thawed":
            pass

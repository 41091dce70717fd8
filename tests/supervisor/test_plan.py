# SPDX-License-Identifier: BSD-3-Clause
"""outboard run --dry-run and outboard qemu-args: what a configuration comes to, and what is wrong with it."""
import json
import shlex
import xml.etree.ElementTree

import pytest

ONE_DISK = """
[machine]
  program = "{FOLDER}/qemu-fake"
  memory = "1G"
  arguments = "-nographic -append 'console=ttyS0 a;b'"
# a disk
[device "disk0"]
  program = "nvme"
  image = "disk.img,serial=A"
  vmm.bus = "port0"
"""


def options(words, name):
    return [value for option, value in zip(words, words[1:]) if option == name]


def test_a_device_of_vfio_user_by_path(machine, fake_qemu):
    fake_qemu("vfio-user-pci", "x-pci-proxy-dev")
    (disk_note, disk), (_, vmm) = machine.write(ONE_DISK).plan(XDG_RUNTIME_DIR="/run/me")
    path = "/run/me/outboard-XXXXXX/disk0"
    assert disk_note == f"# disk0: its descriptor 3 listens at {path}"
    assert disk[0].endswith("/outboard-nvme")
    assert disk[1:] == ["--image=disk.img,serial=A", "--fd=3"]
    assert vmm[0] == str(machine.folder / "qemu-fake")
    assert vmm[-5:-2] == ["-nographic", "-append", "console=ttyS0 a;b"]
    assert options(vmm, "-object") == ["memory-backend-memfd,id=outboard-memory,size=1G,share=on"]
    assert json.loads(options(vmm, "-device")[0]) == {
        "driver": "vfio-user-pci", "id": "disk0", "socket": {"type": "unix", "path": path}, "bus": "port0"}  # fmt: skip


def test_a_device_of_mpqemu(machine, fake_qemu):
    fake_qemu("x-pci-proxy-dev")
    (disk_note, _), (_, vmm) = machine.write(ONE_DISK).plan()
    assert disk_note == "# disk0: its descriptor 3 is connected to the VMM's 3"
    assert options(vmm, "-device") == ["x-pci-proxy-dev,id=disk0,fd=3,bus=port0"]


def test_a_wire_that_is_named(machine, fake_qemu):
    fake_qemu("vfio-user-pci", "x-pci-proxy-dev")
    _, (_, vmm) = machine.write(ONE_DISK.replace("[machine]", '[machine]\n  wire = "mpqemu"')).plan()
    assert options(vmm, "-device") == ["x-pci-proxy-dev,id=disk0,fd=3,bus=port0"]


def test_places_in_the_arguments_of_another_vmm(machine):
    machine.write("""
        [machine]
          program = "true"
          arguments = "--disk path=%socket:disk0%,x=100%"
          arguments = "'--door=%fd:door%' %d % --lamp=%socket:lamp%"
        [device "disk0"]
          program = "nvme"
          socket-path = "/run/disk0"
        [device "door"]
          program = "backdoor"
        [device "lamp"]
          program = "nvme"
    """)
    (note, disk), (_, door), (lamp_note, lamp), (_, vmm) = machine.plan(XDG_RUNTIME_DIR="/run/me")
    assert lamp_note == "# lamp: its descriptor 3 listens at /run/me/outboard-XXXXXX/lamp"
    assert lamp[1:] == ["--fd=3"]
    assert note == "# disk0 listens at /run/disk0"
    assert disk[1:] == ["--socket-path=/run/disk0"]
    assert door[1:] == ["--fd=3"]
    assert vmm == ["true", "--disk", "path=/run/disk0,x=100%", "--door=3", "%d", "%",
                   "--lamp=/run/me/outboard-XXXXXX/lamp"]  # fmt: skip


def test_a_place_that_is_qemu_s_own_argument(machine, fake_qemu):
    fake_qemu("x-pci-proxy-dev")
    machine.write("""
        [machine]
          program = "{FOLDER}/qemu-fake"
          arguments = "-device %device:b% -device %device:a%"
        [device "a"]
          program = "nvme"
        [device "b"]
          program = "nvme"
    """)
    assert options(machine.plan()[-1][1], "-device") == ["x-pci-proxy-dev,id=b,fd=4", "x-pci-proxy-dev,id=a,fd=3"]


def test_a_device_of_vhost_user(machine, fake_qemu):
    """It listens, whatever the wire of the other devices is; QEMU has a chardev for it."""
    fake_qemu("x-pci-proxy-dev")
    machine.write("""
        [machine]
          program = "{FOLDER}/qemu-fake"
          memory = "1G"
        [device "disk0"]
          program = "blk"
          wire = "vhost-user"
          image = "x"
          vmm.num-queues = 4
        [device "a"]
          program = "nvme"
        [device "mine"]
          program = "true"
          wire = "vhost-user"
          vmm.driver = "vhost-user-device-pci"
    """)
    (note, disk), (other, _), _, (_, vmm) = machine.plan(XDG_RUNTIME_DIR="/run/me")
    path = "/run/me/outboard-XXXXXX/disk0"
    assert note == f"# disk0: its descriptor 3 listens at {path}" and other == "# a: its descriptor 3 is connected to the VMM's 3"
    assert disk[1:] == ["--wire=vhost-user", "--image=x", "--fd=3"]
    assert options(vmm, "-chardev")[1:] == [f"socket,id=outboard-disk0,path={path}",
                                            "socket,id=outboard-mine,path=/run/me/outboard-XXXXXX/mine"]  # fmt: skip
    assert options(vmm, "-device") == ["vhost-user-blk-pci,id=disk0,chardev=outboard-disk0,num-queues=4",
                                       "x-pci-proxy-dev,id=a,fd=3", "vhost-user-device-pci,id=mine,chardev=outboard-mine"]  # fmt: skip


def test_a_channel(machine, fake_qemu):
    fake_qemu("vfio-user-pci")
    machine.write("""
        [machine]
          program = "{FOLDER}/qemu-fake"
        [channel "agent"]
          arguments = "--allow-run"
          control = "agent.control"
        [channel "other"]
          port = "org.other,0"
    """)
    (note, proxy), (_, other), (_, vmm) = machine.plan()
    assert note == "# agent: its descriptor 3 is connected to the VMM's 3"
    assert proxy[0].endswith("/outboard") and proxy[1:] == ["proxy", "--channel=fd:3,line", "--allow-run", "--control=agent.control"]
    assert other[1:] == ["proxy", "--channel=fd:3,line"]
    assert options(vmm, "-chardev")[1:] == ["socket,id=outboard-agent,fd=3", "socket,id=outboard-other,fd=4"]
    assert options(vmm, "-device") == ["virtio-serial-pci,id=outboard-serial",
                                       "virtserialport,id=agent,chardev=outboard-agent,name=org.outboard.proxy.0",
                                       "virtserialport,id=other,chardev=outboard-other,name=org.other,,0"]  # fmt: skip


def test_an_image_of_any_format_has_the_disk_command(machine):
    machine.write('[device "d"]\nprogram = "disk"\nimage = "x.qcow2"\nsocket-path = "/run/d"')
    words = machine.plan()[0][1]
    assert words[0].endswith("/bin/outboard") and words[1:] == ["disk", "--image=x.qcow2", "--socket-path=/run/d"]


@pytest.mark.parametrize(
    "text, line, message",
    [
        ("[machine\n", 1, "got '[machine', expected [machine], [device \"NAME\"] or"),
        ('[device "a b"]\n', 1, "expected [machine], [device"),
        ("[machine]\nwords\n", 2, 'expected KEY = "VALUE"'),
        ("[machine]\n[machine]\n", 2, "[machine]: got the section of line 1 again; join the two"),
        ('[device "a"]\nprogram = "nvme"\n[device "a"]\n', 3, "got the name of line 1 again; give another one"),
        ("a = 1\n", 1, "a: got a setting outside of a section"),
        ('[machine]\narguments = "x\n', 2, "expected a closing quote at the end of the line"),
        ("[machine]\nprogram = true\narguments = \"'\"\n[device \"a\"]\nprogram=nvme\n", 3, "a closing ' for each '"),
        ("[machine]\nprogram = true\nmemori = 1G\n[device \"a\"]\nprogram=nvme\n", 3,
         "memori: got '1G', expected one of the keys program, memory, wire, name, control, control-mode, control-owner, on-supervisor-death, arguments"),
        ("[machine]\nprogram = true\nwire = usb\n[device \"a\"]\nprogram=nvme\n", 3, "expected auto, mpqemu or vfio-user"),
        ("[machine]\nprogram = true\narguments = %fd:b%\n[device \"a\"]\nprogram=nvme\n", 3, "the name of a [device]"),
        ('[machine]\nprogram = true\narguments = %fd:a%\n[device "a"]\nprogram=nvme\nsocket-path=/x\n', 3,
         "expected %fd:NAME% or %socket:NAME%, as its VMM takes"),
        ('[machine]\nprogram = true\n[device "a"]\nprogram = nvme\nfd = 5\n', 5, "fd: got '5', expected no such key"),
        ('[device "a"]\nprogram = nvme\nsocket-path = /x\nwatchdog-ms = 1\n', 4, "expected milliseconds from 2 to 3600000"),
        ('[device "a"]\nprogram = nvme\nsocket-path = /x\non-hang = dance\n', 4, "expected fail, kill, pause or restart"),
        ('[device "a"]\nprogram = nvme\nsocket-path = /x\non-hang = restart\n', 4,
         "expected fail, kill or pause: its device has no on-death"),
        ('[device "a"]\nprogram = nvme\nsocket-path = /x\nspare = yes\n', 4, "expected no: its device has no on-death"),
        ('[machine]\nprogram = true\n[device "a"]\nprogram = vsock\nguest-cid = 5\non-death = restart\nspare = yes\n', 7, "expected no: a spare process would"),
        ('[machine]\nprogram = true\n[device "a"]\nprogram = vmchannel\non-death = restart\nspare = yes\n', 6, "expected no: a spare process would"),
        ('[device "a"]\nprogram = nvme\nsocket-path = /x\nspare = maybe\n', 4, "got 'maybe', expected yes or no"),
        ('[device "a"]\nprogram = nvme\nsocket-path = /x\ncgroup = x\n', 4, "expected the absolute path of a group, /sys/fs/cgroup/NAME"),
        ('[device "a"]\nprogram = nvme\nsocket-path = /x\ncgroup.memory.max = 8M\n', 4, "got '8M', expected cgroup = \"PATH\" beside it"),
        ('[device "a"]\nprogram = nvme\nsocket-path = /x\ncgroup = /g\ncgroup.a/b = 1\n', 5, "expected the name of a file of a group"),
        ('[machine]\nprogram = true\non-supervisor-death = x\n[device "a"]\nprogram = nvme\n', 3, "expected continue or end"),
        ('[machine]\nprogram = true\n[device "a"]\n', 3, "got no program; give program = \"nvme\""),
        ('[device "a"]\nprogram = nvme\n', 1, "got no socket-path, and no [machine]"),
        ('[machine]\nprogram = true\n[channel "a"]\nchannel = x\n', 4, "channel: got 'x', expected no such key"),
        ('[channel "a"]\n', 1, '[channel "a"]: got no [machine] that would have its port'),
        ('[device "a"]\nprogram = nvme\n[channel "a"]\n', 3, '[channel "a"]: got the name of line 1 again'),
        ('[channel "a b"]\n', 1, "expected [machine], [device"),
        pytest.param("[machine]\n" + "x" * 20000, 2, "expected a line of text", id="a long line"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(machine, text, line, message):
    machine.write(text)
    done = machine.run()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"outboard run: {machine.file}:{line}: "), done.stderr
    assert message in done.stderr


@pytest.mark.parametrize(
    "text, message",
    [
        ("[machine]\nprogram = true\n", "got no device; give at least one [device \"NAME\"]"),
        ('[machine]\nprogram = true\n[device "a"]\nprogram = "no-such"\n', "program: got 'no-such', expected a program of"),
        ('[machine]\nprogram = true\n[device "a"]\nprogram = "nvme"\n', "got a VMM that is not QEMU; name %fd:a%"),
        ('[machine]\nprogram = "{FOLDER}/qemu-fake"\n[device "a"]\nprogram = "nvme"\nwire = "vhost-user"\n',
         "got a program without a front end of QEMU, expected vmm.driver"),
        ('[machine]\nprogram = /no/qemu\n[device "a"]\nprogram = "nvme"\n', "can't ask /no/qemu -device help: No such file"),
    ],
)  # fmt: skip
def test_other_mistakes_are_named(machine, fake_qemu, text, message):
    fake_qemu("x-pci-proxy-dev")
    done = machine.write(text).run()
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_sixty_five_devices(machine):
    machine.write("".join(f'[device "d{i}"]\nprogram = nvme\nsocket-path = /run/{i}\n' for i in range(65)))
    assert "got more than 64 devices" in machine.run().stderr


def test_the_arguments_for_a_qemu_of_somebody_else(machine):
    machine.write("""
        [machine]
          memory = "2G"
        [device "disk0"]
          program = "nvme"
          socket-path = "/run/o'disk&<"
    """)
    words = shlex.split(machine.run(command="qemu-args").stdout)
    assert options(words, "-m") == ["2G"]
    device = {"driver": "vfio-user-pci", "id": "disk0", "socket": {"type": "unix", "path": "/run/o'disk&<"}}
    assert json.loads(options(words, "-device")[0]) == device
    tree = xml.etree.ElementTree.fromstring(machine.run("--libvirt", command="qemu-args").stdout)
    assert [argument.get("value") for argument in tree][0] == "-device"
    assert json.loads(tree[1].get("value")) == device


def test_arguments_need_paths(machine):
    done = machine.write('[device "a"]\nprogram = nvme\n').run(command="qemu-args")
    assert done.returncode == 2
    assert "got no socket-path, expected one" in done.stderr

# SPDX-License-Identifier: BSD-3-Clause
"""share/selinux/outboard.cil together with Debian's own policy, enforced by a guest's kernel."""
import pathlib
import subprocess

import maclab
import pytest
from guestlab import Guest, paths, selinux
from guestlab.initramfs import with_libraries
from maclab import BACKDOOR, DEEDS, IMAGES, LIBRARY, NVME, OTHERS, PREFIX, PROXY, SOCKET

MODULE = paths.TREE / "share/selinux/outboard.cil"
# In the guest, the shell that starts a device runs as the kernel's first process does. Debian refuses executable
# memory to that domain.
LAUNCHER = "(typeattributeset outboard_launcher kernel_t) (allow kernel_t self (process (execmem)))"
OWN, OTHER = "s0:c1,c2", "s0:c3,c4"
CONTEXTS = "/etc/selinux/file_contexts"

# An initramfs has no labels. A tmpfs has, and becomes the root of those who enter the holder's mount namespace.
ROOT_SCRIPT = f"""
mkdir /new && mount -t tmpfs root /new && cp -a /bin /etc /lib* /usr /opt /sbin /run /var /new
cd /new && mkdir dev proc sys tmp && chmod 1777 tmp
mount -t selinuxfs selinuxfs /sys/fs/selinux
dd if=/etc/selinux/policy of=/sys/fs/selinux/load bs=16M count=1 2>/dev/null
for folder in dev proc sys; do mount --rbind /$folder $folder; done
/sbin/setfiles -F -r /new {CONTEXTS} /new
/sbin/setfiles -F {CONTEXTS} /dev/null /dev/urandom
unshare -m sh -c 'cd /new && mount --move . / && exec chroot . sleep 100000' &
until nsenter -t $! -m test -e /etc/lab.sh 2>/dev/null; do usleep 10000; done
echo $! >/tmp/holder
"""


def context(program, level=OWN):
    return f"system_u:system_r:outboard_{program}_t:{level}"


def build_label(folder):
    path = folder / "label"
    subprocess.run(["cc", "-static", "-o", path, pathlib.Path(__file__).with_name("label.c")], check=True)
    return path


@pytest.fixture(scope="module")
def lab(shared_logs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("selinux")
    launcher = folder / "launcher.cil"
    launcher.write_text(LAUNCHER)
    policy, contexts = selinux.compile_policy(MODULE, launcher, folder=folder)
    setfiles = {path.replace(str(selinux.SETFILES), "/sbin/setfiles"): source for path, source in with_libraries(str(selinux.SETFILES)).items()}
    files = maclab.files(maclab.build_library(folder)) | setfiles
    files |= {"/etc/selinux/policy": policy, CONTEXTS: contexts, f"{CONTEXTS}.subs_dist": selinux.SUBSTITUTIONS}
    options = {"append": "security=selinux selinux=1 enforcing=0", "memory_mib": 512}
    with Guest(shared_logs / "guest", programs=[maclab.ROOT / "bin/backdoor", build_label(folder)], files=files, **options) as guest:
        maclab.prepare(guest)
        guest.run(ROOT_SCRIPT, timeout=120)
        lab = maclab.Lab(guest, "avc:  denied.*scontext=[^ ]*outboard_", "nsenter -t $(cat /tmp/holder) -m sh -c {}")
        lab.run(f"echo 1 >/sys/fs/selinux/enforce")
        yield lab


def test_the_policy_is_enforced(lab):
    assert lab.guest.read("/sys/fs/selinux/enforce") == "1"
    assert "outboard" not in lab.guest.run("dmesg | grep 'SELinux:.*invalid' || true")


@pytest.mark.parametrize("program, path", [("backdoor", BACKDOOR), ("nvme", NVME)])
@pytest.mark.parametrize("user", ["root", "plain"])
def test_a_cell_is_complete_in_its_domain(lab, program, path, user):
    lab.check_cell_is_complete(f"{path} --label={context(program)}", user)


def test_the_backdoor_works_in_its_domain(lab):
    lab.check_backdoor(f"{BACKDOOR} --label={context('backdoor')}", context("backdoor"))


def test_a_disk_works_in_its_domain(lab):
    lab.check_disk(f"{NVME} --label={context('nvme')}", context("nvme"))


@pytest.mark.parametrize("name", OTHERS)
def test_others_serve_in_their_domains(lab, name):
    program = f"{PREFIX}/libexec/outboard/outboard-{name}"
    lab.check_serves(f"{program} --label={context(name)} {OTHERS[name]}", context(name))


def test_devices_of_all_categories_share_the_record_of_user_ids(lab):
    lab.denials()
    said = lab.run(
        f"start {NVME} --label={context('nvme')} --cell=required --image={IMAGES}/own.img;"
        f" {NVME} --label={context('nvme', OTHER)} --cell=required --print-cell | head -n1; stop"
    )
    assert said.startswith("own user id") and said.endswith(" yes\n")
    assert lab.denials() == ""


def test_a_disk_of_other_categories_is_refused(lab):
    """The image has the categories that its launcher gave it, by chcon(1) where that exists."""
    lab.denials()
    lab.run(f"label system_u:object_r:outboard_image_t:{OTHER} {IMAGES}/other.img")
    lab.check_image_is_refused(f"{NVME} --label={context('nvme')}", f"{IMAGES}/other.img")
    assert "other.img" in lab.denials()
    lab.run(f"start {NVME} --label={context('nvme', OTHER)} --image={IMAGES}/other.img; stop")
    assert "asked to stop" in lab.log()


def test_a_passed_descriptor_is_checked(lab):
    """The kernel puts a null device in the place of a file that the new domain may not use. The number in --poll-us keeps
    the descriptor from being closed as one that a launcher has left open."""
    lab.run(f"label system_u:object_r:outboard_image_t:{OTHER} {IMAGES}/other.img")
    script = f"exec 7<>{IMAGES}/other.img; start {BACKDOOR} {{}} --library={LIBRARY} --poll-us=7; readlink /proc/$device/fd/7; stop"
    assert lab.run(script.format("")) == f"{IMAGES}/other.img\n"
    assert lab.run(script.format(f"--label={context('backdoor')}")) == "/null\n"


def test_a_disk_elsewhere_is_refused(lab):
    lab.check_image_is_refused(f"{NVME} --label={context('nvme')}", "/var/lib/disk.img")


def test_what_a_backdoor_can_do_without_a_cell(lab):
    assert maclab.refused(lab.answers(f"--label={context('backdoor')}", "--cell=none")) == set(DEEDS)
    assert maclab.refused(lab.answers("--cell=none")) == set()


@pytest.mark.parametrize(
    "label, says",
    [
        (context("nvme"), "got 'Permission denied'; allow the transition"),
        ("system_u:system_r:no_such_type_t:s0", "got 'Invalid argument'; boot with SELinux, and load a policy that has this context"),
        ("outboard-backdoor", "got 'Invalid argument'; boot with AppArmor"),
    ],
)
def test_a_label_that_is_refused_is_named(lab, label, says):
    said = lab.run(f"{BACKDOOR} --label={label} --print-cell 2>&1; echo $?")
    assert f"outboard-backdoor: --label={label}: {says}" in said and said.endswith("\n2\n")


def test_only_a_disk_on_a_server_has_a_network(lab):
    lab.check_network(f"{NVME} --label={context('nvme_nbd')}", f"{NVME} --label={context('nvme')}", "tclass=tcp_socket")


def test_a_proxy_serves_in_its_domain_and_runs_no_command(lab):
    start = f"sh -c 'printf {context('proxy')} >/proc/self/attr/exec; exec \"$@\"' sh {PROXY}"
    said = lab.run(maclab.PROXIES.format(start=start)).splitlines()
    assert said == [context("proxy"), "outboard proxy run: can't start the command: Permission denied", "status 126"]
    assert lab.run(maclab.PROXIES.format(start=PROXY)).splitlines() == ["system_u:system_r:kernel_t:s0", "status 0"]

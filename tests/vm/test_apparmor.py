# SPDX-License-Identifier: BSD-3-Clause
"""The profiles of share/apparmor, loaded into a guest's kernel by AppArmor's own parser."""
import maclab
import pytest
from guestlab import Guest, paths
from guestlab.initramfs import with_libraries
from maclab import BACKDOOR, DEEDS, IMAGES, LIBRARY, NVME, OTHERS, PREFIX, PROXY, SOCKET

PARSER = "/sbin/apparmor_parser"
PROFILES = paths.TREE / "share/apparmor"
# The same program where no profile is attached.
ELSEWHERE = "/opt/libexec/outboard/outboard-backdoor"


# A profile for one disk, as docs/access-control.md has it.
ONE_DISK = """abi <abi/3.0>,
profile outboard-nvme-one flags=(attach_disconnected) {
  include <abstractions/outboard-device>
  /usr/local/libexec/outboard/outboard-nvme mr,
  /var/lib/outboard/images/own.img rwk,
}
"""


def parser_files():
    profiles = {f"/etc/apparmor.d/{path.relative_to(PROFILES)}": path for path in PROFILES.rglob("*") if path.is_file()}
    abi = {"/etc/apparmor.d/abi/3.0": "/etc/apparmor.d/abi/3.0", "/etc/apparmor/parser.conf": b""}
    return with_libraries(PARSER) | profiles | abi | {"/etc/apparmor.d/outboard-nvme-one": ONE_DISK.encode()}


@pytest.fixture(scope="module")
def lab(shared_logs, tmp_path_factory):
    library = maclab.build_library(tmp_path_factory.mktemp("deeds"))
    files = maclab.files(library) | parser_files() | {ELSEWHERE: maclab.ROOT / "libexec/outboard/outboard-backdoor"}
    with Guest(shared_logs / "guest", programs=[maclab.ROOT / "bin/backdoor"], files=files) as guest:
        maclab.prepare(guest)
        guest.run("mount -t securityfs securityfs /sys/kernel/security")
        guest.run(f"for file in /etc/apparmor.d/outboard-*; do {PARSER} --replace --skip-cache $file || exit; done")
        yield maclab.Lab(guest, "apparmor=.DENIED")


def test_each_program_has_a_profile(lab):
    loaded = lab.guest.read("/sys/kernel/security/apparmor/profiles").splitlines()
    names = ["outboard-backdoor", "outboard-nvme", "outboard-nvme-nbd", "outboard-proxy", *(f"outboard-{name}" for name in OTHERS)]
    assert {f"{name} (enforce)" for name in names} <= set(loaded)


@pytest.mark.parametrize("program", [BACKDOOR, NVME])
@pytest.mark.parametrize("user", ["root", "plain"])
def test_a_cell_is_complete_under_a_profile(lab, program, user):
    lab.check_cell_is_complete(program, user)


def test_the_backdoor_works_under_its_profile(lab):
    lab.check_backdoor(BACKDOOR, "outboard-backdoor (enforce)")


def test_a_disk_works_under_its_profile(lab):
    lab.check_disk(NVME, "outboard-nvme (enforce)")


@pytest.mark.parametrize("name", OTHERS)
def test_others_serve_under_their_profiles(lab, name):
    lab.check_serves(f"{PREFIX}/libexec/outboard/outboard-{name} {OTHERS[name]}", f"outboard-{name} (enforce)")


def test_a_disk_elsewhere_is_refused(lab):
    """Without a cell, so that the profile alone refuses."""
    lab.check_image_is_refused(f"{NVME} --cell=none", "/var/lib/disk.img")


def test_what_a_backdoor_can_do_without_a_cell(lab):
    """AppArmor does not refuse executable memory."""
    outside = {"map executable memory"}
    assert maclab.refused(lab.answers("--cell=none")) == set(DEEDS) - outside
    assert maclab.refused(lab.answers("--cell=none", program=ELSEWHERE)) == set()


def test_a_label_is_taken_by_the_program_itself(lab):
    said = lab.run(f"start {ELSEWHERE} --label=outboard-backdoor --library={LIBRARY}; cat /proc/$device/attr/current /proc/$device/comm; stop")
    assert said.splitlines() == ["outboard-backdoor (enforce)", "outboard-backdo"]
    assert "read a file" in maclab.refused(lab.answers("--label=outboard-backdoor", "--cell=none", program=ELSEWHERE))
    assert lab.run(f"{BACKDOOR} --label=outboard-backdoor --version").startswith("outboard-backdoor ")


@pytest.mark.parametrize(
    "program, label, says",
    [
        (ELSEWHERE, "no-such-profile", "got 'No such file or directory'; load the profile"),
        (ELSEWHERE, "some_u:some_r:some_t", "got 'Invalid argument'; boot with SELinux"),
        (BACKDOOR, "outboard-nvme", "got 'Permission denied'; allow the change"),
        (NVME, "outboard-backdoor", "got 'Permission denied'; allow the change"),
    ],
)
def test_a_label_that_is_refused_is_named(lab, program, label, says):
    said = lab.run(f"{program} --label={label} --print-cell 2>&1; echo $?")
    assert f": --label={label}: {says}" in said and said.endswith("\n2\n")


def test_disks_of_one_machine_are_separated_by_profiles_of_their_own(lab):
    """Without a cell, so that the profile alone refuses."""
    command = f"{NVME} --label=outboard-nvme-one --cell=none --image={IMAGES}/"
    lab.run(f"start {command}own.img; stop")
    assert "asked to stop" in lab.log()
    lab.check_image_is_refused(f"{NVME} --label=outboard-nvme-one --cell=none", f"{IMAGES}/other.img")


def test_only_a_disk_on_a_server_has_a_network(lab):
    lab.check_network(f"{NVME} --label=outboard-nvme-nbd", NVME, 'family="inet"')


def test_a_disk_on_a_server_has_no_images(lab):
    lab.check_image_is_refused(f"{NVME} --label=outboard-nvme-nbd", f"{IMAGES}/own.img")


def test_a_proxy_serves_under_its_profile_and_runs_no_command(lab):
    said = lab.run(maclab.PROXIES.format(start=PROXY)).splitlines()
    assert said == ["outboard-proxy (enforce)", "outboard proxy run: can't start the command: Permission denied", "status 126"]
    assert lab.run(maclab.PROXIES.format(start="/opt/bin/outboard-proxy")).splitlines() == ["unconfined", "status 0"]

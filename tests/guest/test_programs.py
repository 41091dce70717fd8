# SPDX-License-Identifier: BSD-3-Clause
"""What people build on the backdoor and on the device API, and how the device programs behave."""
import re
import signal
import socket

import pytest
from guestlab import paths

from .conftest import DEVICE, PROGRAMS, ROOT, TOOL, build, pkg_config, proxy, run

EXAMPLES = ROOT / "share/outboard/examples"
HEADERS = sorted((ROOT / "include/outboard").glob("*.h"))


def in_tree_of(path, script):
    done = run("sh", "-c", script, env={"PATH": f"{ROOT}/bin:/usr/bin:/bin", "OUTBOARD_BACKDOOR": str(path)})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_example_library(serve):
    serve(DEVICE, f"--library={EXAMPLES}/backdoor_library.so")

    def ask(command, text):
        return in_tree_of(serve.socket, f"printf '{text}' | backdoor write 0; backdoor call {command}; backdoor read | head -1")

    assert ask(1, "hello, World\\n") == "HELLO, WORLD\n"
    assert ask(1, "\\n") == "\n"
    assert ask(2, "1 2 and -40 and 3\\n") == "-34\n"
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\n", ask(3, ""))
    assert ask(99, "nothing happens\\n") == "nothing happens\n"
    assert ask(1, "x" * 4096) == "X" * 255 + "\n"


def test_example_library_builds_out_of_tree(serve, tmp_path):
    library = build(tmp_path / "mine.so", EXAMPLES / "backdoor_library.c", *pkg_config("--cflags", "outboard-backdoor"),
                    "-shared", "-fPIC")  # fmt: skip
    serve(DEVICE, f"--library={library}")
    assert in_tree_of(serve.socket, "echo a | backdoor write 0; backdoor call 1; backdoor read 0 2") == "A\n"


def test_library_that_opens_its_file_before_the_cell(serve, tmp_path):
    source = tmp_path / "words.c"
    source.write_text(f"""
#include <fcntl.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>
static int words = -1;
__attribute__((constructor)) static void begin(void) {{ words = open("{tmp_path}/words", O_RDONLY); }}
void backdoor(uint64_t command, void *data)
{{
    time_t now = time(0);
    if (command == 1 && localtime(&now))
        pread(words, data, 5, 0);
    if (command == 2)
        open("{tmp_path}/words", O_RDONLY);
}}
""")
    (tmp_path / "words").write_text("words")
    library = build(tmp_path / "words.so", source, "-shared", "-fPIC", "-Wno-error", "-Wno-unused-result")
    process = serve(DEVICE, f"--library={library}")
    assert in_tree_of(serve.socket, "backdoor call 1; backdoor read 0 5") == "words"
    in_tree_of(serve.socket, "backdoor call 2 2>/dev/null || true")
    assert process.wait() != 0
    assert "refused the system call 'openat'" in process.log.read_text()


def test_library_with_the_names_of_2011(serve, programs):
    process = serve(DEVICE, f"--library={programs}/old_names.so", "--pages=2")
    in_tree_of(serve.socket, "backdoor call 0x11; backdoor call 0x22")
    assert process.terminate() == 0
    lines = ["old init 8192", "old command 0x11", "old command 0x22", "outboard-backdoor: asked to stop, ending"]
    assert [line for line in process.log.read_text().splitlines() if " VMM has " not in line] == lines


def test_program_with_linked_callbacks(serve, programs):
    process = serve(programs / "linked")
    in_tree_of(serve.socket, "backdoor call 0x77")
    assert "linked command 0x77" in process.log.read_text()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "give --library=PATH, a shared object with the function 'void backdoor(uint64_t command, void *data)'"),
        (["--library=/absent.so"], "can't load the library: /absent.so: cannot open shared object file"),
        (["--library=libm.so.6"], "libm.so.6: found no function 'backdoor' or 'qemu_backdoor'"),
    ],
)
def test_library_that_is_none(tmp_path, arguments, message):
    done = run(DEVICE, f"--socket-path={tmp_path}/x.sock", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("outboard-backdoor: ") and message in done.stderr


@pytest.mark.parametrize("pages", ["0", "256", "-1", "x", ""])
def test_pages_out_of_range(tmp_path, pages):
    done = run(DEVICE, f"--socket-path={tmp_path}/x.sock", f"--pages={pages}")
    assert done.returncode == 2
    assert done.stderr == f"outboard-backdoor: --pages: got '{pages}', expected a number from 1 to 255\n"


def test_notify_protocol(serve, notifications, programs):
    process = serve(DEVICE, f"--library={programs}/recorder.so")
    assert notifications.received == ["READY=1", "STATUS=waiting for a peer"]
    in_tree_of(serve.socket, "backdoor info")
    notifications.wait("STATUS=serving pid ")
    notifications.wait("STATUS=waiting for a peer")
    process.signal(signal.SIGTERM)
    notifications.wait("STOPPING=1")
    assert process.wait() == 0
    assert not serve.socket.exists()


def test_launcher_that_reads_no_notifications_stops_nobody(serve, programs):
    """More peers, each of which is announced, than a socket's queue has room for."""
    serve(DEVICE, f"--library={programs}/recorder.so")
    for _ in range(30):
        in_tree_of(serve.socket, "backdoor info")


@pytest.mark.parametrize("linkage", ["shared", "static"])
def test_led_builds_out_of_tree_and_shines_in_a_guest(boot, spawn, tmp_path, linkage):
    """The device of README, by pkg-config alone."""
    static = ["-static"] if linkage == "static" else []
    flags = pkg_config("--cflags", "--libs", *(f"--{word}" for word in ["static"] if static), "outboard")
    led = build(tmp_path / "led", EXAMPLES / "led.c", *static, *flags, f"-Wl,-rpath,{ROOT}/lib")
    ours, theirs = socket.socketpair()
    process = spawn([led, f"--fd={ours.fileno()}"], inherit=[ours])
    access = build(tmp_path / "access", PROGRAMS / "access.c", "-static")
    guest = boot(programs=[access], **proxy(theirs, "led"))
    folder = guest.run("cd /sys/bus/pci/devices; grep -lx 0x10f2 */device").strip().removesuffix("/device")
    registers = f"access /sys/bus/pci/devices/{folder}/resource0"
    assert guest.run(f"{registers} r4:0 r4:4 w4:0:0x00ff00 w4:0:0x12345678 r4:0 r4:4 r4:8").split() == [
        "0xffffff", "0x0", "0x345678", "0x2", "0xffffffff",
    ]  # fmt: skip
    guest.kill()
    assert process.wait() == 0
    assert process.log.read_text().splitlines() == ["led: #00ff00", "led: #345678", "led: the peer has gone, ending"]


def test_example_device_is_short():
    assert len((EXAMPLES / "led.c").read_text().splitlines()) < 80


@pytest.mark.parametrize("linkage", ["shared", "static"])
def test_program_of_cplusplus(serve, programs, tmp_path, linkage):
    static = ["-static"] if linkage == "static" else []
    flags = pkg_config("--cflags", "--libs", *(f"--{word}" for word in ["static"] if static), "backdoor")
    program = build(tmp_path / "program", PROGRAMS / "cplusplus.cpp", "-std=c++17", "-pedantic", *static, *flags,
                    f"-Wl,-rpath,{ROOT}/lib", compiler="g++")  # fmt: skip
    process = serve(DEVICE, f"--library={programs}/recorder.so")
    done = run(program, env={"OUTBOARD_BACKDOOR": str(serve.socket)})
    assert (done.returncode, done.stdout) == (0, "4096 bytes, hello\n"), done.stderr
    assert "command 0x0000000000000009" in process.log.read_text()


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: header.name)
@pytest.mark.parametrize("compiler, language", [("g++", "-std=c++11"), ("gcc", "-std=c99"), ("clang", "-std=c11")])
def test_public_header_stands_alone(tmp_path, compiler, language, header):
    suffix = "cpp" if compiler == "g++" else "c"
    source = tmp_path / f"alone.{suffix}"
    source.write_text(f"#include <outboard/{header.name}>\n#include <outboard/{header.name}>\nint main(void) {{ return 0; }}\n")
    build(tmp_path / "alone", source, language, "-pedantic", f"-I{ROOT}/include", compiler=compiler)


def test_tool_needs_no_other_file():
    """So it runs in an initramfs; it has no program interpreter."""
    headers = run("readelf", "--program-headers", TOOL).stdout
    assert "LOAD" in headers and "INTERP" not in headers


def test_tool_usage():
    done = run(TOOL, "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: backdoor VERB")
    assert run(TOOL, "--version").stdout.startswith("backdoor ")
    for arguments in ([], ["open"], ["call"], ["call", "1", "2"], ["call", "x"], ["call", "-1"], ["call", "0x"],
                      ["call", "18446744073709551616"], ["read", "1", "2", "3"], ["write"], ["info", "1"]):  # fmt: skip
        done = run(TOOL, *arguments)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("program, section", [(TOOL, 1), (DEVICE, 8)])
def test_manual_page_tells_every_option(program, section):
    text = run(program, "--help").stdout
    page = (ROOT / f"share/man/man{section}/{program.name}.{section}").read_text()
    words = re.findall(r"^  (?:--)?([a-z-]+)", text, re.MULTILINE)
    assert len(words) >= 5
    for word in words:
        assert re.search(rf"(Fl|Cm|,) -?{word}\b", page), word


def test_demonstration():
    done = run(paths.TREE / "tools/demo")
    assert done.returncode == 0, done.stdout + done.stderr
    for shown in (r"pid \d+ +outboard-backdoor", r"pid \d+ +qemu-system-x86_64", "1af4:10f0", "HELLO FROM THE GUEST",
                  "->  42", r"min .* us, median .* us", r"the peer has gone, ending \(exit status 0\)"):  # fmt: skip
        assert re.search(shown, done.stdout), shown
    assert "\033" not in done.stdout


def test_static_libraries_export_the_public_names_alone():
    """A program may be a device and use one: only ob_fault_set() is in both, and weak in one."""

    def names(library):
        lines = run("nm", "--defined-only", "--extern-only", ROOT / "lib" / library).stdout.splitlines()
        return {line.split()[2]: line.split()[1] for line in lines if len(line.split()) == 3}

    device, guest = names("liboutboard.a"), names("libbackdoor.a")
    assert "ob_device_new" in device and "ob_backdoor_open" in guest
    assert [name for name in [*device, *guest] if not name.startswith("ob_")] == []
    assert device.keys() & guest.keys() == {"ob_fault_set"}
    assert guest["ob_fault_set"] == "W"
    assert names("liboutboard-backdoor.a").keys() & (device.keys() | guest.keys()) == set()


def test_a_program_links_both_libraries_statically(tmp_path):
    source = tmp_path / "both.c"
    source.write_text(
        """
        #include <stdio.h>
        #include <outboard/backdoor.h>
        #include <outboard/device.h>
        int main(void)
        {
            struct ob_fault fault = {0};
            struct ob_device *device = NULL;
            struct ob_backdoor *backdoor = NULL;
            int device_err = ob_device_new(NULL, NULL, NULL, &device, &fault);
            puts(fault.text);
            return device_err < 0 && ob_backdoor_open(&backdoor, &fault) < 0 ? 0 : 1;
        }
        """
    )
    libraries = [ROOT / "lib/libbackdoor.a", ROOT / "lib/liboutboard.a", "-ljansson", "-lseccomp"]
    run("cc", f"-I{ROOT}/include", source, *libraries, "-o", tmp_path / "both")
    assert run(tmp_path / "both", env={"PATH": "/usr/bin", "OUTBOARD_BACKDOOR": "/nowhere"}).stdout


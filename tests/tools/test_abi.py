# SPDX-License-Identifier: BSD-3-Clause
"""A program that was built before a struct got a field works with the library that has the field, and the other way."""
import errno
import os
import re
import shutil
import subprocess

import pytest
from guestlab import paths

GROWN = {
    "device.h": [("ob_device_desc", "uint64_t colour;"), ("ob_device_ops", "uint64_t colour;")],
    "virtio.h": [("ob_virtio_desc", "uint64_t colour;"), ("ob_virtio_ops", "uint64_t colour;")],
    "program.h": [("ob_program", "void (*paint)(void *config);")],
    "server.h": [("ob_server_options", "uint64_t colour;")],
    "client.h": [("ob_client_options", "uint64_t colour;")],
    "session.h": [("ob_session_config", "uint64_t colour;")],
    "vault.h": [("ob_vault_state", "uint64_t colour;")],
}
ENVIRONMENT = {**os.environ, "PKG_CONFIG_PATH": str(paths.BUILD / "root/lib/pkgconfig")}
LED = ["cc", "-o", "led", str(paths.TREE / "examples/led.c")]


def grow(headers):
    """Gives each struct a last field more, as a later release would."""
    for header, structs in GROWN.items():
        path = headers / header
        text = path.read_text()
        for name, field in structs:
            text, count = re.subn(rf"(struct {name} {{\n(?:.*\n)*?)}};", rf"\1    {field}\n}};", text, count=1)
            assert count == 1, name
        path.write_text(text)


def flags(*words):
    return subprocess.run(["pkg-config", *words, "outboard"], env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout.split()


def look(folder, library):
    """What `outboard inspect` prints of the lamp there, which is linked to that library."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library)}
    command = [paths.BUILD / "root/bin/outboard", "pair", "./led", "--", paths.BUILD / "root/bin/outboard", "inspect", "--fd=3"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def newer_headers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("newer") / "include"
    shutil.copytree(paths.TREE / "include", folder)
    grow(folder / "outboard")
    return folder


@pytest.fixture(scope="module")
def newer_library(newer_headers, tmp_path_factory):
    """A folder with the shared library, version 9, built with structs that have grown."""
    library = tmp_path_factory.mktemp("lib")
    source = paths.TREE / "src"
    sources = sorted(path for folder in ("base", "wire", "memory", "pci", "virtio", "device", "server", "client", "session", "os",
                                    "sandbox", "program", "remote")
                     for path in (source / folder).rglob("*.c"))  # fmt: skip
    sources += [paths.BUILD / "release/src" / name for name in ("default_policy.c", "isolated_policy.c", "reach_policy.c", "vault_policy.c")]
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-std=gnu17", "-D_GNU_SOURCE", '-DOUTBOARD_VERSION="9"', f"-I{newer_headers}",
                    f"-I{source}", "-Wl,-soname,liboutboard.so.0", f"-Wl,--version-script={source / 'outboard.map'}",
                    "-o", library / "liboutboard.so.0", *sources, "-ljansson", "-lseccomp"], check=True)  # fmt: skip
    return library


def test_an_old_program_works_with_a_newer_library(newer_library, tmp_path):
    subprocess.run([*LED, *flags("--cflags"), "-L", str(paths.BUILD / "root/lib"), "-loutboard"], cwd=tmp_path, check=True)
    done = look(tmp_path, newer_library)
    assert "1af4:10f2" in done.stdout, done.stderr
    version = subprocess.run(["./led", "--version"], cwd=tmp_path, env={**os.environ, "LD_LIBRARY_PATH": str(newer_library)},
                             capture_output=True, text=True, check=True)  # fmt: skip
    assert version.stdout == "led 9\n", "the newer library was used"


def use_every_struct(folder, headers, library, *flags):
    """Builds every_struct.c with those headers; what it says and its status with that library."""
    subprocess.run(["cc", "-Wall", "-Wno-override-init", "-o", "every_struct", paths.TREE / "tests/tools/every_struct.c", f"-I{headers}", *flags,
                    "-L", str(paths.BUILD / "root/lib"), "-loutboard"], cwd=folder, check=True)  # fmt: skip
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library)}
    done = subprocess.run(["./every_struct"], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.splitlines(), done.returncode


def test_old_structs_with_a_newer_library(newer_library, tmp_path):
    assert use_every_struct(tmp_path, paths.TREE / "include", newer_library) == ([], 0)


def test_newer_structs_with_this_library(newer_headers, tmp_path):
    assert use_every_struct(tmp_path, newer_headers, paths.BUILD / "root/lib") == ([], 0)


def test_newer_structs_that_use_what_this_library_does_not_know(newer_headers, tmp_path):
    lines, status = use_every_struct(tmp_path, newer_headers, paths.BUILD / "root/lib", "-DSETS=.colour = 7")
    assert [line.split(":")[0] for line in lines] == ["session", "client", "ops", "vault", "server", "virtio"], lines
    assert status == 6
    assert all(f" {-errno.E2BIG} " in line + " " for line in lines), lines


@pytest.mark.parametrize("uses", [False, True])
def test_a_newer_program_with_this_library(newer_headers, tmp_path, uses):
    """It works unless it uses what the library does not know; then it is told so."""
    source = (paths.TREE / "examples/led.c").read_text()
    if uses:
        source = source.replace(".class_code = 0xff0000,", ".class_code = 0xff0000, .colour = 7,")
    (tmp_path / "led.c").write_text(source)
    subprocess.run(["cc", "-o", "led", "led.c", f"-I{newer_headers}", "-L", str(paths.BUILD / "root/lib"), "-loutboard"],
                   cwd=tmp_path, check=True)  # fmt: skip
    done = look(tmp_path, paths.BUILD / "root/lib")
    if uses:
        assert "ob_device_desc: the program uses fields that this library" in done.stderr
    else:
        assert "1af4:10f2" in done.stdout, done.stderr

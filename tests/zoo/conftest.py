# SPDX-License-Identifier: BSD-3-Clause
import array
import contextlib
import errno
import os
import signal
import socket
import subprocess

import driver
import pytest
import zoo
from devicelab import Device

PATIENCE_S = 30


@pytest.fixture(params=zoo.KINDS, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


@pytest.fixture
def animals(kind):
    """animals(): one more of its kind; animals.made are all of them. They end with the test."""
    made = []

    def one_more():
        made.append(zoo.make(kind))
        return made[-1]

    try:
        zoo.make(kind).close()
    except zoo.Missing as missing:
        pytest.skip(str(missing))

    one_more.made = made
    yield one_more
    for animal in made:
        animal.close()


@pytest.fixture
def stopped():
    """stopped(process): a context in which a process does not run, so that what it is sent meanwhile it has alone
    afterwards, whatever the sender closes."""

    @contextlib.contextmanager
    def stop(process):
        os.kill(process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process.pid, signal.SIGCONT)

    return stop


@pytest.fixture
def offering(animals, stopped):
    """offering(process): a function that sends bytes to a socket of the process, with animals that it alone has then if the
    kernel lets us. It returns a zoo.Stopwatch, which runs since the process does again."""

    def make(process):
        def send(sock, data):
            animal = animals()
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [animal.fd] * 3))]
            with stopped(process):
                try:
                    sock.sendmsg([data], rights)
                except OSError as error:
                    if error.errno != errno.EPERM:
                        raise
                    sock.sendall(data)
                    if animal.fd >= 0 and not isinstance(animal, zoo.Fuse):
                        animal.close()  # ours is the last copy
                animal.let_go()
                return zoo.Stopwatch(process.pid)

        return send

    return make


@pytest.fixture
def end(animals, kind):
    """end(process): it ends with 0 when it is asked to, and a file that hangs holds up nothing but its own end."""

    def ask(process):
        os.kill(process.pid, signal.SIGTERM)
        if kind is zoo.fuse:
            for animal in animals.made:
                animal.close()
        assert process.wait(PATIENCE_S) == 0

    return ask


@pytest.fixture(params=["as it is", "before 6.16"])
def environment(request, old_kernel):
    """Of a program on this kernel, and on one that refuses no descriptors."""
    return {} if request.param == "as it is" else {"LD_PRELOAD": str(old_kernel)}


@pytest.fixture
def device(tmp_path):
    """device(wire): a disk, made by another program if that is given; all of them end with the test."""
    made = []

    def start(wire, program=driver.PROGRAM):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Device(folder, wire, program))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


# What a kernel before Linux 6.16 says to SO_PASSRIGHTS, for a program that is linked dynamically.
OLD_KERNEL = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/socket.h>
#define REFUSE(name, ...)                                                                                              \\
    if (level == SOL_SOCKET && option == 83) { errno = ENOPROTOOPT; return -1; }                                       \\
    return ((int (*)(int, int, int, __VA_ARGS__))dlsym(RTLD_NEXT, name))(fd, level, option, value, len)
int setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{ REFUSE("setsockopt", const void *, socklen_t); }
int getsockopt(int fd, int level, int option, void *value, socklen_t *len)
{ REFUSE("getsockopt", void *, socklen_t *); }
"""


@pytest.fixture(scope="session")
def old_kernel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old-kernel")
    (folder / "old.c").write_text(OLD_KERNEL)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "old.so", folder / "old.c"], check=True)
    return folder / "old.so"

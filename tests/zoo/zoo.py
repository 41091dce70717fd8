# SPDX-License-Identifier: BSD-3-Clause
"""The descriptor zoo: whatever a peer may send that stops, spins or kills who gets it, or should be harmless.

An animal is made fresh for each test. `fd` is what is sent; let_go() closes it here, so that whoever got it has the
last copy, and closes it last. close() ends all that is left of it.
"""
import contextlib
import ctypes
import fcntl
import mmap
import os
import pathlib
import pty
import socket
import struct
import tempfile
import threading
import time

import hung_fs

LEN = 1 << 20
AT_ONCE_S = 0.1  # for an answer to any of them
TRIES = 10
HUGE = 2 << 20
MFD_HUGETLB_2MB = 0x0004 | 21 << 26
SYS_USERFAULTFD = 323
USER_MODE_ONLY = 1
NR_HUGEPAGES = pathlib.Path("/proc/sys/vm/nr_hugepages")


class Stopwatch:
    """How long a program has waited since, while we waited for it. Time in which it or we ran, or were ready to and had no
    processor, does not count, so a busy machine can't make that long; a close(2), a write(2) or an fstat(2) that waits for
    a peer does, for as long as it lasts."""

    def __init__(self, pid):
        ours = pathlib.Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self.tasks = [pathlib.Path(f"/proc/{pid}/schedstat"), ours]
        self.began, self.before = time.monotonic(), [active_s(task) for task in self.tasks]

    def waited_s(self):
        elapsed = time.monotonic() - self.began
        return elapsed - sum(active_s(task, before) - before for task, before in zip(self.tasks, self.before))


def active_s(task, ended=None):
    """How long a task has run, or been ready to. ended: what to say of one that is no more."""
    try:
        return sum(map(int, task.read_text().split()[:2])) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        if ended is None:
            raise
        return ended


def at_once(attempt):
    """Whether one of several attempts, each of which returns how long its slowest answer has been waited for, has all of
    them at once. A program may wait for a disk now and then, for its code or its log; for a peer it would each time."""
    slowest = []
    for _ in range(TRIES):
        slowest.append(attempt())
        if slowest[-1] < AT_ONCE_S:
            return
    raise AssertionError(f"it waits for {min(slowest):.3f} s, {AT_ONCE_S} s at most are promised")


class Missing(Exception):
    """This machine has no such thing, for the reason given."""


class Animal:
    """May be let go and closed more than once."""

    def __init__(self, fd, stack):
        self.fd = fd
        self.stack = stack

    def let_go(self):
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def close(self):
        self.let_go()
        self.stack.close()


class Fuse(Animal):
    """Our own copy is flushed too when it is closed, so it is not let go before the file system answers again."""

    def __init__(self, fs, stack):
        self.fs = fs
        super().__init__(os.open(fs.path, os.O_RDWR | os.O_CLOEXEC), stack)
        fs.hang()

    def let_go(self):
        pass

    def close(self):
        self.fs.go_on()
        super().let_go()
        self.stack.close()


class Lingering(Animal):
    """Where nobody else has it, we are the last."""

    def close(self):
        if self.fd >= 0:
            with socket.socket(fileno=os.dup(self.fd)) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
        super().close()


def fuse(stack):
    """A file on FUSE whose server answers neither getattr, nor read, nor flush."""
    reason = hung_fs.why_not()
    if reason:
        raise Missing(reason)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ob-zoo-"))
    all_of_them = (hung_fs.READ, hung_fs.WRITE, hung_fs.FSYNC, hung_fs.GETATTR, hung_fs.FLUSH)
    fs = hung_fs.HungFs(folder, bytes(LEN), hangs=all_of_them, cached=True)
    stack.callback(fs.close)
    return Fuse(fs, stack)


def lingering(stack):
    """A TCP socket that lingers for a day, with bytes that nobody reads: the last close(2) waits."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        sock = socket.create_connection(listener.getsockname())
        stack.enter_context(listener.accept()[0])
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(bytes(1 << 16))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 86400))
    return Lingering(sock.detach(), stack)


def full_eventfd(stack):
    """Writing one more waits for a reader."""
    fd = os.eventfd(0, os.EFD_CLOEXEC)
    os.eventfd_write(fd, 2**64 - 2)
    return fd


def semaphore_eventfd(stack):
    """Each of 2^63 reads leaves it readable."""
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
    os.eventfd_write(fd, 2**63)
    return fd


def add_huge_pages(count):
    """Others do the same meanwhile, so nothing is put back to what it was."""
    NR_HUGEPAGES.write_text(str(max(0, int(NR_HUGEPAGES.read_text()) + count)))


def huge_pages(stack):
    """Memory on huge pages, which is cut once it was sent."""
    try:
        add_huge_pages(2)
        stack.callback(add_huge_pages, -2)
    except OSError as error:
        raise Missing(f"no huge pages can be set aside: {error.strerror}") from error
    fd = os.memfd_create("zoo", MFD_HUGETLB_2MB)
    os.ftruncate(fd, 2 * HUGE)
    try:
        mmap.mmap(fd, HUGE).close()
    except OSError as error:
        os.close(fd)
        raise Missing(f"no huge page is free: {error.strerror}") from error
    return fd


def path_only(stack):
    return os.open("/", os.O_PATH | os.O_CLOEXEC)


def pidfd(stack):
    return os.pidfd_open(os.getpid())


def userfaultfd(stack):
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(SYS_USERFAULTFD, os.O_CLOEXEC | USER_MODE_ONLY)
    if fd < 0:
        raise Missing(f"no userfaultfd: {os.strerror(ctypes.get_errno())}")
    return fd


def directory(stack):
    return os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def pipe(stack):
    reader, writer = os.pipe()
    stack.callback(os.close, reader)
    return writer


def memory(stack, seals=0, length=LEN):
    fd = os.memfd_create("zoo", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, length)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def sealed_memory(stack):
    return memory(stack, seals=0x0002 | 0x0004 | 0x0001)  # shrink, grow, seal


def unsealed_memory(stack):
    return memory(stack)


def empty_memory(stack):
    return memory(stack, length=0)


def terminal(stack):
    controller, fd = pty.openpty()
    stack.callback(os.close, controller)
    return fd


KINDS = [
    fuse,
    lingering,
    full_eventfd,
    semaphore_eventfd,
    huge_pages,
    path_only,
    pidfd,
    userfaultfd,
    directory,
    pipe,
    sealed_memory,
    unsealed_memory,
    empty_memory,
    terminal,
]


def make(kind):
    """An Animal of that kind. Missing when there can be none here."""
    stack = contextlib.ExitStack()
    try:
        made = kind(stack)
    except BaseException:
        stack.close()
        raise
    return made if isinstance(made, Animal) else Animal(made, stack)

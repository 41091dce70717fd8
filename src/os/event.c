// SPDX-License-Identifier: BSD-3-Clause
#include "os/event.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/guarded_event.h"

/* Completions that may lie there until they are thrown away, all at once. */
#define COMPLETIONS 64

/* Of RWF_*, <linux/fs.h>: the highest bit there can be. */
#define NO_SUCH_FLAG 0x40000000

/* A signal that finds no room for its completion makes room and tries again; threads may race. */
#define SIGNAL_TRIES 16

/* The reads whose completions signal: of an empty file, of no bytes. A process has one context. */
static struct {
    pthread_mutex_t lock;
    _Atomic pid_t owner; /* the process that has set it up; 0: none */
    aio_context_t context;
    int empty_fd;
} aio = {.lock = PTHREAD_MUTEX_INITIALIZER, .empty_fd = -1};

static void set_up_aio(void)
{
    aio_context_t context = 0;
    if (aio.empty_fd < 0)
        aio.empty_fd = memfd_create("outboard-aio", MFD_CLOEXEC);
    if (aio.empty_fd < 0 || syscall(SYS_io_setup, COMPLETIONS, &context) < 0)
        return;
    aio.context = context;
    aio.owner = getpid();
}

void event_prepare_program(void)
{
    if (guarded_event_prepare() < 0)
        event_prepare();
}

void event_prepare(void)
{
    pthread_mutex_lock(&aio.lock);
    if (aio.owner != getpid())
        set_up_aio();
    pthread_mutex_unlock(&aio.lock);
}

static bool has_aio(void)
{
    return aio.owner != 0;
}

/* Reads no bytes and signals fd when that is done, which is at once. 0 or a negative errno. */
static int submit(int fd, int rw_flags)
{
    struct iocb iocb = {.aio_lio_opcode = IOCB_CMD_PREAD,
                        .aio_rw_flags = rw_flags,
                        .aio_fildes = (uint32_t)aio.empty_fd,
                        .aio_flags = IOCB_FLAG_RESFD,
                        .aio_resfd = (uint32_t)fd};
    struct iocb *iocbs = &iocb;
    return syscall(SYS_io_submit, aio.context, 1, &iocbs) < 0 ? -errno : 0;
}

static int submit_with_room(int fd, int rw_flags)
{
    struct io_event done[COMPLETIONS];
    int err = submit(fd, rw_flags);
    for (unsigned i = 0; err == -EAGAIN && i < SIGNAL_TRIES; i++) {
        syscall(SYS_io_getevents, aio.context, 0L, (long)COMPLETIONS, done, NULL);
        err = submit(fd, rw_flags);
    }
    return err;
}

int event_new(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

/* Without aio: the name that the kernel gives to an open file, which asks nobody either. */
static bool is_called_eventfd(int fd)
{
    char path[32], name[32] = "";
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(path, name, sizeof(name) - 1);
    return len > 0 && strcmp(name, "anon_inode:[eventfd]") == 0;
}

/* The kernel looks at the eventfd before it looks at flags that no read has. */
static bool is_taken_for_eventfd(int fd)
{
    return submit_with_room(fd, NO_SUCH_FLAG) == -EOPNOTSUPP;
}

int event_check(int fd)
{
    if (fcntl(fd, F_GETFD) < 0)
        return -errno;
    if (guarded_event_is_ready())
        return guarded_event_is_one(fd) ? 0 : -EINVAL;
    return (has_aio() ? is_taken_for_eventfd(fd) : is_called_eventfd(fd)) ? 0 : -EINVAL;
}

bool event_is_same(int one, int other)
{
    return one == other || syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, one, other) == 0;
}

static void signal_by_write(int fd)
{
    const uint64_t value = 1;
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    if (poll(&ready, 1, 0) <= 0 || ready.revents != POLLOUT)
        return;
    ssize_t written = write(fd, &value, sizeof(value));
    (void)written;
}

void event_signal(int fd)
{
    if (guarded_event_is_ready())
        guarded_event_signal(fd);
    else if (!has_aio() || submit_with_room(fd, 0) < 0)
        signal_by_write(fd);
}

void event_drain(int fd)
{
    uint64_t count;
    ssize_t got = read(fd, &count, sizeof(count));
    (void)got;
}

void event_drain_nowait(int fd)
{
    uint64_t count;
    struct iovec iov = {.iov_base = &count, .iov_len = sizeof(count)};
    ssize_t got = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);
    (void)got;
}

// SPDX-License-Identifier: BSD-3-Clause
#include "os/guarded_event.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"

#define TICK_NS  10000000
#define BREAK_NS 1000000

#define ABSENT_LEN 4096

/* The C library may not have the name. */
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static struct {
    bool is_ready;
    timer_t ticker, breaker;
    struct statx eventfd; /* all files like it have this inode */
    const void *absent;   /* memory that is not there for the kernel */
    volatile sig_atomic_t ticks;
    volatile sig_atomic_t writes; /* a write has begun and not ended */
    volatile sig_atomic_t broke;  /* it was told to end */
} guard;

/* Calls restart after this one, so that nobody but the write that waits is disturbed. That has
 * restarted too when the break comes. */
static void on_tick(int number)
{
    static const struct itimerspec never = {0}, soon = {.it_value.tv_nsec = BREAK_NS};
    int err = errno;
    if (guard.writes) {
        timer_settime(guard.breaker, 0, &soon, NULL);
    } else {
        guard.ticks = 0;
        timer_settime(guard.ticker, 0, &never, NULL);
    }
    errno = err;
}

static void on_break(int number)
{
    guard.broke = 1;
}

static int make_timer(int number, timer_t *ret_timer)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = number};
    event.sigev_notify_thread_id = gettid();
    return timer_create(CLOCK_MONOTONIC, &event, ret_timer) < 0 ? -errno : 0;
}

static int look_at(int fd, struct statx *ret_status)
{
    return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, ret_status) < 0
               ? -errno
               : 0;
}

/* A page of a file behind its end. It stays, also if a timer can't be made. */
static int map_absent(void)
{
    if (guard.absent)
        return 0;
    AUTO_FD fd = memfd_create("outboard-absent", MFD_CLOEXEC);
    const void *page = fd < 0 ? MAP_FAILED : mmap(NULL, ABSENT_LEN, PROT_READ, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return -errno;
    guard.absent = page;
    return 0;
}

int guarded_event_prepare(void)
{
    if (guarded_event_is_ready())
        return 0;
    AUTO_FD fd = eventfd(0, EFD_CLOEXEC);
    int err = fd < 0 ? -errno : look_at(fd, &guard.eventfd);
    if (err == 0)
        err = map_absent();
    if (err == 0)
        err = make_timer(GUARD_TICK, &guard.ticker);
    if (err < 0)
        return err;
    err = make_timer(GUARD_BREAK, &guard.breaker);
    if (err < 0) {
        timer_delete(guard.ticker);
        return err;
    }
    sigaction(GUARD_TICK, &(struct sigaction){.sa_handler = on_tick, .sa_flags = SA_RESTART}, NULL);
    sigaction(GUARD_BREAK, &(struct sigaction){.sa_handler = on_break}, NULL);
    guard.ticks = guard.writes = 0;
    guard.is_ready = true;
    return 0;
}

bool guarded_event_is_ready(void)
{
    return guard.is_ready;
}

static void tick(void)
{
    static const struct itimerspec ticks = {.it_value.tv_nsec = TICK_NS,
                                            .it_interval.tv_nsec = TICK_NS};
    if (!guard.ticks) {
        guard.ticks = 1;
        timer_settime(guard.ticker, 0, &ticks, NULL);
    }
}

void guarded_event_signal(int fd)
{
    const uint64_t one = 1;
    ssize_t written;
    guard.broke = 0;
    guard.writes = 1;
    tick();
    do
        written = write(fd, &one, sizeof(one));
    while (written < 0 && errno == EINTR && !guard.broke);
    guard.writes = 0;
}

/* Files without a file system have one inode together. Of these, eventfds alone refuse to be read
 * by less than 8 bytes without waiting, and look at the bytes to be written. */
bool guarded_event_is_one(int fd)
{
    struct statx status;
    uint8_t half[4];
    struct iovec iov = {.iov_base = half, .iov_len = sizeof(half)};
    if (look_at(fd, &status) < 0 || status.stx_ino != guard.eventfd.stx_ino ||
        status.stx_dev_major != guard.eventfd.stx_dev_major ||
        status.stx_dev_minor != guard.eventfd.stx_dev_minor)
        return false;
    if (preadv2(fd, &iov, 1, -1, RWF_NOWAIT) >= 0 || errno != EINVAL)
        return false;
    return write(fd, guard.absent, sizeof(uint64_t)) < 0 && errno == EFAULT;
}

// SPDX-License-Identifier: BSD-3-Clause
#include "os/ticker.h"

#include <errno.h>
#include <stdint.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)

int ticker_new(unsigned interval_ms)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    ticker_set(fd, interval_ms);
    return fd;
}

void ticker_set(int fd, unsigned interval_ms)
{
    const struct timespec interval = {.tv_sec = interval_ms / 1000,
                                      .tv_nsec = (long)(interval_ms % 1000) * 1000000};
    const struct itimerspec times = {.it_interval = interval, .it_value = interval};
    timerfd_settime(fd, 0, &times, NULL);
}

void ticker_set_once(int fd, uint64_t at_ns)
{
    const struct itimerspec times = {
        .it_value = {.tv_sec = (time_t)(at_ns / NS_PER_S), .tv_nsec = (long)(at_ns % NS_PER_S)}};
    timerfd_settime(fd, TFD_TIMER_ABSTIME, &times, NULL);
}

void ticker_drain(int fd)
{
    uint64_t times;
    ssize_t got = read(fd, &times, sizeof(times));
    (void)got;
}

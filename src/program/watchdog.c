// SPDX-License-Identifier: BSD-3-Clause
#include "program/watchdog.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/number.h"
#include "os/notify.h"
#include "os/ticker.h"

/* The interval in milliseconds; 0: none is asked for, or it is another process that is asked. */
static unsigned asked_ms(void)
{
    const char *interval = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    uint64_t usec, asked;
    if (!interval || number_parse(interval, 10, UINT64_MAX, &usec) < 0)
        return 0;
    if (pid && (number_parse(pid, 10, INT_MAX, &asked) < 0 || asked != (uint64_t)getpid()))
        return 0;
    return usec / 1000 < UINT_MAX ? (unsigned)(usec / 1000) : UINT_MAX;
}

static void on_tick(void *argument, uint32_t events)
{
    const struct watchdog *watchdog = argument;
    ticker_drain(watchdog->ticker_fd);
    notify_send_to(watchdog->notify_fd, "WATCHDOG=1");
}

int watchdog_begin(struct watchdog *watchdog, struct loop *loop, int notify_fd)
{
    unsigned interval_ms = asked_ms();
    *watchdog = (struct watchdog){.ticker_fd = -1, .notify_fd = notify_fd};
    if (interval_ms == 0 || notify_fd < 0)
        return 0;
    int fd = ticker_new(interval_ms > 1 ? interval_ms / 2 : 1);
    if (fd < 0)
        return fd;
    watchdog->ticker_fd = fd;
    return loop_add(loop, fd, EPOLLIN, on_tick, watchdog, &watchdog->source);
}

void watchdog_end(struct watchdog *watchdog)
{
    loop_remove(watchdog->source);
    if (watchdog->ticker_fd >= 0)
        close(watchdog->ticker_fd);
    watchdog->source = NULL;
    watchdog->ticker_fd = -1;
}

// SPDX-License-Identifier: BSD-3-Clause
#include "os/write_signals.h"

#include <pthread.h>
#include <time.h>

void write_signals_hold(sigset_t *ret_before)
{
    sigset_t held;
    sigemptyset(&held);
    sigaddset(&held, SIGPIPE);
    sigaddset(&held, SIGTTOU);
    pthread_sigmask(SIG_BLOCK, &held, ret_before);
}

void write_signals_release(const sigset_t *before, bool broke)
{
    const struct timespec now = {0};
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    if (broke && !sigismember(before, SIGPIPE))
        sigtimedwait(&pipe_signal, NULL, &now);
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

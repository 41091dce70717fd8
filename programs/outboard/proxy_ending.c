// SPDX-License-Identifier: BSD-3-Clause
#include "proxy_ending.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/log.h"

#define EXIT_SIGNAL 128
#define NS_PER_S    1000000000u

/* Wakes the thread when it is to end. */
#define WAKE_SIGNAL SIGRTMIN

static const int ending_signals[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP};
static const int other_signals[] = {SIGUSR1, SIGUSR2, SIGWINCH};

static bool is_ending(int number)
{
    for (size_t i = 0; i < sizeof(ending_signals) / sizeof(ending_signals[0]); i++) {
        if (ending_signals[i] == number)
            return true;
    }
    return false;
}

/* nohup(1) means it. A shell has its background jobs ignore SIGINT too, but who sends that to one
 * of them means it likewise. */
static bool is_wanted(int number)
{
    struct sigaction action;
    return number != SIGHUP || sigaction(number, NULL, &action) < 0 || action.sa_handler != SIG_IGN;
}

static void choose(sigset_t *ret_set)
{
    sigemptyset(ret_set);
    for (size_t i = 0; i < sizeof(ending_signals) / sizeof(ending_signals[0]); i++) {
        if (is_wanted(ending_signals[i]))
            sigaddset(ret_set, ending_signals[i]);
    }
    for (size_t i = 0; i < sizeof(other_signals) / sizeof(other_signals[0]); i++)
        sigaddset(ret_set, other_signals[i]);
    sigaddset(ret_set, WAKE_SIGNAL);
}

static void put_back(const struct ending *ending)
{
    if (ending->is_raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &ending->before);
}

static void leave(const struct ending *ending, int number)
{
    put_back(ending);
    _exit(EXIT_SIGNAL + number);
}

/* Waits for the next signal, until then at most (0: for ever). Its number; 0: the time is over. */
static int next_signal(const struct ending *ending, uint64_t until_ns)
{
    for (;;) {
        uint64_t now = clock_now_ns();
        uint64_t left = until_ns > now ? until_ns - now : 0;
        const struct timespec timeout = {.tv_sec = (time_t)(left / NS_PER_S),
                                         .tv_nsec = (long)(left % NS_PER_S)};
        int number = until_ns ? sigtimedwait(&ending->signals, NULL, &timeout)
                              : sigwaitinfo(&ending->signals, NULL);
        if (number > 0)
            return number;
        if (errno == EAGAIN)
            return 0;
    }
}

static void *wait_for_signals(void *argument)
{
    const struct ending *ending = argument;
    int first = 0;
    uint64_t until = 0;
    for (;;) {
        int number = next_signal(ending, until);
        if (ending->over)
            return NULL;
        if (number == WAKE_SIGNAL)
            continue;
        if (number == 0)
            log_line("SIG%s: the command has not ended within %d s, and is hung up",
                     sigabbrev_np(first), ENDING_GRACE_S);
        if (number == 0 || (first && is_ending(number)))
            leave(ending, number ? number : first);
        if (is_ending(number)) {
            first = number;
            until = clock_now_ns() + (uint64_t)ENDING_GRACE_S * NS_PER_S;
        }
        uint8_t byte = (uint8_t)number;
        ssize_t put = write(ending->signals_fd, &byte, 1);
        (void)put; /* where 65,536 wait already, one more tells nothing */
    }
}

static void make_raw(struct ending *ending)
{
    struct termios raw;
    if (tcgetattr(STDIN_FILENO, &ending->before) < 0)
        return;
    raw = ending->before;
    cfmakeraw(&raw);
    ending->is_raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

int ending_begin(bool raw, struct ending *ret_ending)
{
    int ends[2];
    *ret_ending = (struct ending){0};
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    ret_ending->fd = ends[0];
    ret_ending->signals_fd = ends[1];
    choose(&ret_ending->signals);
    if (raw)
        make_raw(ret_ending); /* in the background this stops us, as it should */
    sigset_t blocked = ret_ending->signals;
    sigaddset(&blocked, SIGTTOU); /* but putting it back does not */
    pthread_sigmask(SIG_BLOCK, &blocked, &ret_ending->blocked_before);
    int err = pthread_create(&ret_ending->thread, NULL, wait_for_signals, ret_ending);
    if (err) {
        ret_ending->over = true;
        ending_done(ret_ending);
    }
    return -err;
}

void ending_done(struct ending *ending)
{
    if (!ending->over) {
        ending->over = true;
        pthread_kill(ending->thread, WAKE_SIGNAL);
        pthread_join(ending->thread, NULL);
    }
    put_back(ending);
    close(ending->fd);
    close(ending->signals_fd);
    pthread_sigmask(SIG_SETMASK, &ending->blocked_before, NULL);
}

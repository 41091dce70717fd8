// SPDX-License-Identifier: BSD-3-Clause
/*
 * How people end `outboard proxy run` and `connect`, whatever the other end does.
 *
 * INT, QUIT, TERM and HUP: the first one is for the command. A second one, or the end of
 * ENDING_GRACE_S seconds, ends the program from a thread of its own, so that no write of the
 * program can hold it up; the terminal is put back first. Other signals are only handed on.
 */
#ifndef OUTBOARD_PROGRAMS_PROXY_ENDING_H
#define OUTBOARD_PROGRAMS_PROXY_ENDING_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <termios.h>

#define ENDING_GRACE_S 5

struct ending {
    int fd;         /* reads as a byte for each signal: its number */
    int signals_fd; /* the other end */
    sigset_t signals, blocked_before;
    atomic_bool over; /* the thread is to end */
    bool is_raw;
    struct termios before; /* of the terminal, if it is raw */
    pthread_t thread;
};

/* Takes the signals from now on; raw: makes the terminal at stdin so, if there is one. 0 or a
 * negative errno; then there is nothing to undo. */
int ending_begin(bool raw, struct ending *ret_ending);

/* Puts everything back. */
void ending_done(struct ending *ending);

#endif

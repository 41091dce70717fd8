// SPDX-License-Identifier: BSD-3-Clause
/* Signals of write(2) to the thread that calls it: SIGPIPE when the reader has gone, and SIGTTOU, which stops a program
 * in the background of a terminal with "stty tostop". */
#ifndef OUTBOARD_OS_WRITE_SIGNALS_H
#define OUTBOARD_OS_WRITE_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

/* Before a write. */
void write_signals_hold(sigset_t *ret_before);

/* After it. broke: it has failed with EPIPE. Its SIGPIPE is taken back then, so that a program that
 * handles the signal never sees it. */
void write_signals_release(const sigset_t *before, bool broke);

#endif

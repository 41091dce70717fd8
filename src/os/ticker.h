// SPDX-License-Identifier: BSD-3-Clause
/* A descriptor that becomes readable at regular times, or once. */
#ifndef OUTBOARD_OS_TICKER_H
#define OUTBOARD_OS_TICKER_H

#include <stdint.h>

/* Returns a ticker that fires every interval_ms from now on (0: not yet), or a negative errno. */
int ticker_new(unsigned interval_ms);
/* Has it fire every interval_ms from now on; 0: no more. */
void ticker_set(int fd, unsigned interval_ms);
/* Has it fire once, at a time of clock_now_ns() or at once when that is past. */
void ticker_set_once(int fd, uint64_t at_ns);
/* Takes note that it has fired. */
void ticker_drain(int fd);

#endif

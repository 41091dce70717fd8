// SPDX-License-Identifier: BSD-3-Clause
/* A descriptor that becomes readable at regular times. */
#ifndef OUTBOARD_OS_TICKER_H
#define OUTBOARD_OS_TICKER_H

/* Returns a ticker that fires every interval_ms from now on (0: not yet), or a negative errno. */
int ticker_new(unsigned interval_ms);
/* Has it fire every interval_ms from now on; 0: no more. */
void ticker_set(int fd, unsigned interval_ms);
/* Takes note that it has fired. */
void ticker_drain(int fd);

#endif

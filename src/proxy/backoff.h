// SPDX-License-Identifier: BSD-3-Clause
/*
 * Back-off: how long a channel waits before it is opened again.
 *
 * After an ordinary break the next session stands within a second, so the first tries follow at
 * once. A channel that opens and brings no session that lasts, time after time, has a cause that
 * waiting does not mend (another key, another framing, two ends that take it from each other), and
 * comes back ever more slowly. So does one that can't be opened: appearance.h tells when that
 * changes, where it is a file.
 */
#ifndef OUTBOARD_PROXY_BACKOFF_H
#define OUTBOARD_PROXY_BACKOFF_H

#include <stdint.h>

#define BACKOFF_FIRST_NS   10000000u    /* before the first try */
#define BACKOFF_OPEN_NS    10000000000u /* at most, while the channel can't be opened */
#define BACKOFF_UNHEARD_NS 1000000000u  /* at most, while it opens and nothing comes */
#define BACKOFF_LAST_NS    30000000000u /* at most, while it opens without success */
#define BACKOFF_STEADY_NS  2000000000u  /* a session that has stood so long did last */

struct backoff {
    uint64_t open_ns;  /* before the next try, while opening fails */
    unsigned vain;     /* channels in a row without a session that lasted */
    uint64_t stood_ns; /* since when there is a session on the open channel; 0: none */
};

void backoff_init(struct backoff *backoff);

/* It could not be opened. Returns how long to wait. */
uint64_t backoff_failed(struct backoff *backoff);

/* It was open and is lost before anything came: its carrier has accepted, and nobody is at
 * the other end yet, or refuses our bytes. Returns how long to wait. */
uint64_t backoff_unheard(struct backoff *backoff);

/* A session stands. */
void backoff_stands(struct backoff *backoff, uint64_t now_ns);

/* It was open and is lost. Returns how long to wait. */
uint64_t backoff_lost(struct backoff *backoff, uint64_t now_ns);

#endif

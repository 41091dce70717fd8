// SPDX-License-Identifier: BSD-3-Clause
/* The ring of a program that was taken over, found when the program makes it. */
#ifndef OUTBOARD_TESTS_RING_H
#define OUTBOARD_TESTS_RING_H

struct io_uring;

/* The program has made this ring. */
void escape_keep_ring(struct io_uring *ring);

/* How a ring is made, in a program with liburing. NULL: it has none. */
typedef int (*escape_make_ring_fn)(unsigned entries, struct io_uring *ring, unsigned flags);
void escape_ring_maker(escape_make_ring_fn maker);

#endif

// SPDX-License-Identifier: BSD-3-Clause
/* The ring of an image, which can read, write, flush and allocate in its own files, and nothing
 * else. */
#ifndef OUTBOARD_BACKENDS_BLOCK_RING_H
#define OUTBOARD_BACKENDS_BLOCK_RING_H

#include <liburing.h>

/* A flag that each entry has besides: its descriptor is the number of one of the ring's files. */
#define RING_ENTRY_FLAGS IOSQE_FIXED_FILE

/* The files, with their locks, stay open until the kernel has taken the ring apart, some time after
 * its end. 0 or a negative errno. */
int ring_make(const int *fds, unsigned count, struct io_uring *ret_ring);

#endif

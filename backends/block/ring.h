// SPDX-License-Identifier: BSD-3-Clause
/* The ring of an image, which can read, write, flush and allocate, and nothing else. */
#ifndef OUTBOARD_BACKENDS_BLOCK_RING_H
#define OUTBOARD_BACKENDS_BLOCK_RING_H

#include <liburing.h>

/* 0 or a negative errno. */
int ring_make(struct io_uring *ring);

#endif

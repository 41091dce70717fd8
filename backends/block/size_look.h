// SPDX-License-Identifier: BSD-3-Clause
/*
 * The size of a file whose file system may wait for others before it tells: a thread asks.
 */
#ifndef OUTBOARD_BACKENDS_BLOCK_SIZE_LOOK_H
#define OUTBOARD_BACKENDS_BLOCK_SIZE_LOOK_H

#include <stdbool.h>
#include <stdint.h>

struct size_look;

/* Starts the thread. The descriptor must stay open until size_look_free() has said that it may be
 * closed. 0 or a negative errno. */
int size_look_new(int fd, uint64_t size, struct size_look **ret_look);
/* The size that was found last, in bytes. Has the thread ask again, if it has finished. */
uint64_t size_look_take(struct size_look *look);
/* Returns whether the descriptor may be closed: not if the file system still owes the answer. NULL
 * is fine. */
bool size_look_free(struct size_look *look);

#endif

// SPDX-License-Identifier: BSD-3-Clause
/*
 * Image lock: one writer, or any number of readers, among outboard-nvme and QEMU's programs.
 *
 * QEMU has a lock for reading on a byte of its own for each thing that it does with an image and
 * for each that it lets nobody else do, and looks for the locks of others afterwards.
 *
 * A killed program's image is free at once, but the kernel may still write requests of its ring. So
 * the ring's own file has a lock on a byte that only outboard-nvme looks at: it ends with the ring.
 */
#ifndef OUTBOARD_BACKENDS_BLOCK_IMAGE_LOCK_H
#define OUTBOARD_BACKENDS_BLOCK_IMAGE_LOCK_H

#include <stdbool.h>

/* Locks an image for as long as fd is open. 0, -EAGAIN: who has it does not go with that; or
 * another negative errno. */
int image_lock(int fd, bool readonly);
/* Locks the requests to it for as long as fd is open, which a ring may have. 0; -EAGAIN: a program
 * that was killed still has requests; or another negative errno. */
int image_lock_requests(int fd, bool readonly);
/* Gives either lock back before fd is closed. Nothing may be written any more. */
void image_unlock(int fd);

#endif

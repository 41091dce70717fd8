// SPDX-License-Identifier: BSD-3-Clause
/*
 * User record: which user ids programs of this machine have taken, so that two never share one.
 *
 * The record is an empty file. A process that has taken an id holds a shared lock on the byte at
 * that offset, through a descriptor that can only read: a process that is taken over can't write to
 * the record. The kernel releases the lock when the process ends, however it ends. An exclusive
 * lock on the byte behind the last id makes looking and taking one step.
 */
#ifndef OUTBOARD_SANDBOX_USER_RECORD_H
#define OUTBOARD_SANDBOX_USER_RECORD_H

#include <sys/types.h>

/* Where user ids are drawn from. No distribution and no container manager gives these out. */
#define USER_RECORD_FIRST 0x70000000u
#define USER_RECORD_COUNT 0x0fff0000u

#define USER_RECORD_FOLDER "/run/outboard"

/* Takes one id of the `count` from `first`, drawn by chance, or `first` itself if count is 1. The
 * folder is made if it is missing. Returns a descriptor that keeps the id until the last copy of it
 * is closed; -EBUSY: no id is free; or another negative errno. */
int user_record_take(const char *folder, uid_t first, uid_t count, uid_t *ret_user);

#endif

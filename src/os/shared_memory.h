// SPDX-License-Identifier: BSD-3-Clause
/*
 * Memory shared by descriptor: our own (memfd) and the peer's.
 *
 * Whoever else holds the peer's file can shorten it, and touching a page beyond the new end raises
 * SIGBUS. shared_memory_guard() turns that into zeroes: the page is replaced by an empty one of
 * this process and shared_memory_was_cut() says so, upon which the peer is to be dropped.
 *
 * A file is mapped once, whole, and its parts are shared out: the kernel allows a process some
 * 65,000 mappings, and a VMM may name more parts than that.
 */
#ifndef OUTBOARD_OS_SHARED_MEMORY_H
#define OUTBOARD_OS_SHARED_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* Makes len bytes of zeroed memory. Undo with shared_memory_free(). 0 or a negative errno. */
int shared_memory_new(const char *name, uint64_t len, uint8_t **ret_address, int *ret_fd);
void shared_memory_free(uint8_t *address, uint64_t len, int fd);

/* Maps part of a peer's file and tells which file it is. fd is not kept. 0; -EOVERFLOW when the
 * file ends before; -EINVAL when it is no file; or another errno. */
int shared_memory_map(int fd, uint64_t offset, uint64_t len, bool writable, uint8_t **ret_address,
                      uint64_t *ret_device, uint64_t *ret_inode);
void shared_memory_unmap(uint8_t *address);

/* Installs the SIGBUS handler of this process. Faults outside of mapped peers' files still kill. */
int shared_memory_guard(void);
bool shared_memory_was_cut(void);
/* Starts afresh, for the next peer. */
void shared_memory_forget_cut(void);

#endif

// SPDX-License-Identifier: BSD-3-Clause
/*
 * Memory shared by descriptor: our own (memfd) and the peer's.
 *
 * Each holder of the peer's file can shorten it, and touching a page beyond the new end raises
 * SIGBUS. shared_memory_guard() turns that into zeroes: the page, a huge one where the file has
 * such, is replaced by an empty one of this process and shared_memory_was_cut() says so, upon which
 * the peer is to be dropped.
 *
 * A file of FUSE answers when its server likes to: fstat(2), a page fault and close(2) wait
 * for that, past SIGKILL. So a peer's file is looked at by shared_memory_check() before anything
 * else: memfd, tmpfs and hugetlbfs know seals, and nothing else does.
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

/* Maps the memory of a process that has died where memory as long was made, whose descriptor is
 * closed. -EOVERFLOW when it is shorter, or could become so; -EBADF; -EMEDIUMTYPE; or another errno.
 */
int shared_memory_adopt(uint8_t *address, uint64_t len, int fd, int old_fd);

/* Whether fd is a peer's memory, of at least this length, that can be mapped without asking
 * anybody. 0; -EBADF; -EOVERFLOW when it is shorter; or -EMEDIUMTYPE with its kind, for example "a
 * socket", a constant. */
int shared_memory_check(int fd, uint64_t len, const char **ret_what);

/* Maps part of a file, a peer's once it was checked, and tells which file it is. fd is not kept. 0;
 * -EOVERFLOW when the file ends before; -EINVAL when it is no file; or another errno. */
int shared_memory_map(int fd, uint64_t offset, uint64_t len, bool writable, uint8_t **ret_address,
                      uint64_t *ret_device, uint64_t *ret_inode);
void shared_memory_unmap(uint8_t *address);

/* Installs the SIGBUS handler of this process. Faults outside of mapped peers' files go to the
 * handler that was there before, or kill. */
int shared_memory_guard(void);
bool shared_memory_was_cut(void);
/* Starts afresh, for the next peer. */
void shared_memory_forget_cut(void);

#endif

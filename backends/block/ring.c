// SPDX-License-Identifier: BSD-3-Clause
#include "block/ring.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RING_ENTRIES 1024u

/* The rights of a ring, also in a process that was taken over: no filter of system calls sees the
 * operations of a ring. Cancelling reaches nothing but entries of the same ring. */
static const uint8_t ring_operations[] = {
    IORING_OP_READ,  IORING_OP_READV,     IORING_OP_WRITE,       IORING_OP_WRITEV,
    IORING_OP_FSYNC, IORING_OP_FALLOCATE, IORING_OP_ASYNC_CANCEL};

#define RING_OPERATIONS (sizeof(ring_operations) / sizeof(ring_operations[0]))

/* liburing 2.3 has functions for these two that Debian's does not export. */
static int restrict_ring(const struct io_uring *ring)
{
    struct io_uring_restriction rules[RING_OPERATIONS + 2] = {0};
    for (size_t i = 0; i < RING_OPERATIONS; i++)
        rules[i] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_OP,
                                                 .sqe_op = ring_operations[i]};
    rules[RING_OPERATIONS] =
        (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
                                      .sqe_flags = IOSQE_ASYNC | RING_ENTRY_FLAGS};
    rules[RING_OPERATIONS + 1] = (struct io_uring_restriction){
        .opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED, .sqe_flags = RING_ENTRY_FLAGS};
    if (syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS, rules,
                RING_OPERATIONS + 2) < 0 ||
        syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0)
        return -errno;
    return 0;
}

/* One thread has the ring and comes to the kernel all the time, so that completions need not
 * interrupt it (Linux 6.0). */
int ring_make(const int *fds, unsigned count, struct io_uring *ret_ring)
{
    unsigned flags = IORING_SETUP_R_DISABLED;
    int err = io_uring_queue_init(RING_ENTRIES, ret_ring,
                                  flags | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN);
    if (err == -EINVAL)
        err = io_uring_queue_init(RING_ENTRIES, ret_ring, flags);
    if (err < 0)
        return err;
    err = io_uring_register_files(ret_ring, fds, count);
    if (err == 0)
        err = restrict_ring(ret_ring);
    if (err < 0)
        io_uring_queue_exit(ret_ring);
    return err;
}

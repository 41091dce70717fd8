// SPDX-License-Identifier: BSD-3-Clause
/*
 * Counted transfers: receives and sends whose count is known although the process was killed in the
 * midst of the call.
 *
 * recvmmsg(2) and sendmmsg(2) write the length into the caller's struct mmsghdr before they return,
 * and SIGKILL takes effect only there. If that struct lies in memory that outlives the process, a
 * successor reads it: total is base plus that length if a call was armed. Each step can be done
 * again. The memory must be locked: a call that meets an absent page loses its count.
 *
 * Received descriptors are listed by their number in the process's table, with the position of the
 * byte behind the receive that brought them.
 */
#ifndef OUTBOARD_OS_COUNTED_H
#define OUTBOARD_OS_COUNTED_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <outboard/fault.h>

#include "os/socket.h"

/* Descriptors that wait for their messages: those of the first message and of the next. */
#define COUNTED_FDS (4u * LIMIT_FDS_PER_RECEIVE)

struct counted_transfer {
    struct mmsghdr header;
    struct iovec part;
    uint64_t armed;   /* a call may have been made from `base` on */
    uint64_t base;    /* bytes before it */
    uint64_t total;   /* bytes, ever */
    uint64_t fd_base; /* of descriptors: likewise */
    uint64_t fd_total;
    _Alignas(struct cmsghdr) uint8_t
        control[CMSG_SPACE(sizeof(int) * LIMIT_FDS_PER_MESSAGE) + CMSG_SPACE(sizeof(struct ucred))];
};

struct counted_fd {
    uint64_t end;
    int32_t fd[2]; /* by column, device/vault.h */
};

struct counted {
    struct counted_transfer rx, tx;
    struct counted_fd fds[COUNTED_FDS]; /* a ring, by number */
};

/* As socket_receive() and socket_send_fds(). */
ssize_t counted_receive(struct counted *counted, unsigned column, int fd, void *buf, size_t len,
                        struct received_fds *ret_fds);
ssize_t counted_send(struct counted *counted, int fd, const void *buf, size_t len, const int *fds,
                     unsigned num_fds);

/* Another connection begins. */
void counted_begin(struct counted *counted);

/* The process has ended: its last calls count now. -EINVAL with the fault filled when no process
 * can have written that. `column`: the one of its numbers. */
int counted_settle(struct counted *counted, unsigned column, struct ob_fault *fault);

#endif

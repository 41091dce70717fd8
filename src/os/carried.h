// SPDX-License-Identifier: BSD-3-Clause
/* The descriptors that a received message carries, one after the other. */
#ifndef OUTBOARD_OS_CARRIED_H
#define OUTBOARD_OS_CARRIED_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

struct carried {
    struct msghdr *message;
    struct cmsghdr *cmsg; /* NULL: there are no more */
    size_t next;          /* number of the next descriptor in cmsg */
};

static inline struct carried carried_begin(struct msghdr *message)
{
    return (struct carried){.message = message, .cmsg = CMSG_FIRSTHDR(message)};
}

/* The next descriptor, which is the caller's from then on; -1: there are no more. */
static inline int carried_take(struct carried *carried)
{
    for (; carried->cmsg; carried->cmsg = CMSG_NXTHDR(carried->message, carried->cmsg)) {
        const struct cmsghdr *cmsg = carried->cmsg;
        bool has_fds = cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS;
        size_t at = CMSG_LEN(0) + carried->next * sizeof(int);
        if (has_fds && at + sizeof(int) <= cmsg->cmsg_len) {
            int fd;
            memcpy(&fd, CMSG_DATA(cmsg) + carried->next++ * sizeof(int), sizeof(int));
            return fd;
        }
        carried->next = 0;
    }
    return -1;
}

#endif

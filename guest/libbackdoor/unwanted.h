// SPDX-License-Identifier: BSD-3-Clause
/*
 * Descriptors that a server has sent and nobody wants, closed without waiting.
 *
 * close(2) may wait for as long as the server likes: a TCP socket lingers, a file on FUSE is
 * flushed. So every descriptor but memory is closed by a thread that does nothing else and is made when
 * it is needed. If no thread can be made, the descriptor stays open.
 */
#ifndef OUTBOARD_GUEST_UNWANTED_H
#define OUTBOARD_GUEST_UNWANTED_H

#include <sys/socket.h>

/* Descriptors that one message may carry, the kernel's SCM_MAX_FD. */
#define UNWANTED_MAX 253

union unwanted_control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * UNWANTED_MAX)];
};

/* Closes the descriptors of a message, all of them or all but the first descriptor, which goes to *fd
 * when that is negative. Returns how many were closed. */
unsigned unwanted_sort(struct msghdr *message, int *fd);

/* Closes one that came before; a negative one is fine. */
void unwanted_close(int fd);

/* Closes a connection, with bytes and descriptors of the server that were not received. */
void unwanted_close_socket(int fd);

#endif

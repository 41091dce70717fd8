// SPDX-License-Identifier: BSD-3-Clause
#include "unwanted.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct batch {
    int socket; /* to be emptied and closed too; -1: none */
    unsigned count;
    int fd[UNWANTED_MAX];
};

static void add_all(struct batch *batch, struct msghdr *message)
{
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(message); cmsg; cmsg = CMSG_NXTHDR(message, cmsg)) {
        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count && batch->count < UNWANTED_MAX; i++)
            memcpy(&batch->fd[batch->count++], CMSG_DATA(cmsg) + i * sizeof(int), sizeof(int));
    }
}

/* The kernel continues to send the bytes that a socket has left; nobody waits for that. */
static void close_batch(struct batch *batch)
{
    const struct linger never = {0};
    while (batch->count > 0) {
        int fd = batch->fd[--batch->count];
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &never, sizeof(never));
        close(fd);
    }
}

/* The socket is shut down, so there is an end. */
static void drain(struct batch *batch)
{
    union unwanted_control control;
    char bytes[4096];
    for (;;) {
        struct iovec iov = {bytes, sizeof(bytes)}; // cppcheck-suppress legacyUninitvar ; is written
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof(control.bytes)};
        if (recvmsg(batch->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
            return;
        add_all(batch, &message);
        close_batch(batch);
    }
}

static void *close_all(void *argument)
{
    struct batch *batch = argument;
    close_batch(batch);
    if (batch->socket >= 0) {
        drain(batch);
        close(batch->socket);
    }
    free(batch);
    return NULL;
}

/* All signals are the program's own threads' business. */
static void hand_over(const struct batch *batch)
{
    pthread_t thread;
    sigset_t all, before;
    struct batch *copy = malloc(sizeof(*copy));
    if (!copy)
        return;
    *copy = *batch;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, close_all, copy) == 0)
        pthread_detach(thread);
    else
        free(copy);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

unsigned unwanted_sort(struct msghdr *message, int *fd)
{
    struct batch batch = {.socket = -1};
    add_all(&batch, message);
    if (*fd < 0 && batch.count > 0) {
        *fd = batch.fd[0];
        batch.fd[0] = batch.fd[--batch.count];
    }
    if (batch.count > 0)
        hand_over(&batch);
    return batch.count;
}

void unwanted_close(int fd)
{
    struct batch batch = {.socket = -1, .count = 1, .fd = {fd}};
    if (fd < 0)
        return;
    if (fcntl(fd, F_GET_SEALS) >= 0)
        close(fd);
    else
        hand_over(&batch);
}

void unwanted_close_socket(int fd)
{
    const struct batch batch = {.socket = fd};
    int unread = 0;
    shutdown(fd, SHUT_RDWR); /* now nothing comes any more */
    if (ioctl(fd, SIOCINQ, &unread) == 0 && unread == 0)
        close(fd);
    else
        hand_over(&batch);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "os/closer.h"

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "os/carried.h"
#include "os/event.h"

/* The thread calls nothing deep. */
#define STACK_LEN (64u << 10)

/* How long the end waits for a thread that waits for somebody. */
#define STOP_S 1

/* Bytes that are thrown away at once. */
#define DRAIN_LEN 4096u

struct closing {
    int fd;
    bool is_ours; /* a socket, and what lies in it is to be closed too */
};

/* A ring of what is to be closed. A process has one thread, as it has one table of descriptors. */
static struct {
    pthread_mutex_t lock;
    sem_t filled; /* counts what waits */
    pid_t owner;  /* the process whose thread runs; 0: none */
    pthread_t thread;
    bool stops; /* the thread ends once nothing waits */
    unsigned first, count;
    struct closing waiting[LIMIT_CLOSING];
} closer = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The kernel goes on sending what a socket has left; nobody waits for that. */
static void close_foreign(int fd)
{
    const struct linger never = {0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &never, sizeof(never));
    close(fd);
}

/* Receives what is left in a socket that is shut down, so it has an end: closed with the socket, a
 * descriptor in it would linger. */
static void drain(int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * LIMIT_FDS_PER_MESSAGE)];
    } control;
    char bytes[DRAIN_LEN];
    for (;;) {
        struct iovec iov = {bytes, sizeof(bytes)}; // cppcheck-suppress legacyUninitvar ; is written
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof(control.bytes)};
        if (recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
            return;
        struct carried carried = carried_begin(&message);
        for (int carried_fd; (carried_fd = carried_take(&carried)) >= 0;)
            close_foreign(carried_fd);
    }
}

/* Waits for the next one; false at the end. */
static bool take_next(struct closing *ret_next)
{
    while (sem_wait(&closer.filled) < 0)
        ;
    pthread_mutex_lock(&closer.lock);
    bool is_there = closer.count > 0;
    if (is_there) {
        *ret_next = closer.waiting[closer.first];
        closer.first = (closer.first + 1) % LIMIT_CLOSING;
        closer.count--;
    }
    pthread_mutex_unlock(&closer.lock);
    return is_there;
}

static void *close_all(void *unused)
{
    prctl(PR_SET_NAME, "outboard-closer");
    struct closing next;
    while (take_next(&next)) {
        if (!next.is_ours) {
            close_foreign(next.fd);
            continue;
        }
        drain(next.fd);
        close(next.fd);
    }
    return NULL;
}

static int start_thread(void)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int err = pthread_attr_init(&attributes);
    if (err)
        return -err;
    pthread_attr_setstacksize(&attributes, STACK_LEN);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(&closer.thread, &attributes, close_all, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -err;
}

int closer_start(void)
{
    int err = 0;
    pthread_mutex_lock(&closer.lock);
    if (closer.owner != getpid()) {
        /* What a parent's thread had still to close is no business of this one's. */
        closer.count = 0;
        closer.stops = false;
        sem_init(&closer.filled, 0, 0);
        err = start_thread();
    }
    if (err == 0)
        closer.owner = getpid();
    pthread_mutex_unlock(&closer.lock);
    return err;
}

void closer_stop(void)
{
    struct timespec until;
    pthread_mutex_lock(&closer.lock);
    bool runs = closer.owner == getpid() && !closer.stops;
    closer.stops = true;
    if (runs)
        sem_post(&closer.filled);
    pthread_mutex_unlock(&closer.lock);
    if (!runs)
        return;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += STOP_S;
    if (pthread_clockjoin_np(closer.thread, NULL, CLOCK_MONOTONIC, &until) != 0)
        return; /* it ends with the process, which it does not hold up by more than its files do */
    closer.owner = 0;
}

static void hand_over(int fd, bool is_ours)
{
    pthread_mutex_lock(&closer.lock);
    if (closer.owner && !closer.stops && closer.count < LIMIT_CLOSING) {
        unsigned last = (closer.first + closer.count++) % LIMIT_CLOSING;
        closer.waiting[last] = (struct closing){.fd = fd, .is_ours = is_ours};
        sem_post(&closer.filled);
    }
    pthread_mutex_unlock(&closer.lock);
}

void closer_close(int fd)
{
    if (fcntl(fd, F_GET_SEALS) >= 0 || event_check(fd) == 0)
        close(fd);
    else
        hand_over(fd, false);
}

void closer_close_socket(int fd)
{
    hand_over(fd, true);
}

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

/* Bytes that are thrown away at once. */
#define DRAIN_LEN 4096u

struct closing {
    int fd;
    bool is_ours; /* a socket, and descriptors that lie in it are to be closed too */
};

/* A process has one thread, as it has one table of descriptors. When its last user stops it, it is
 * joined if it waits for work: it ends at once then. While it closes it may be held up for ever: it
 * is detached, and ends by itself when it can, unless somebody needs it before. */
static struct {
    pthread_mutex_t turn; /* of who starts and stops the thread, which never takes it */
    pid_t process;        /* the one that has these users */
    unsigned users;
    pthread_t thread;
    bool is_detached;
    pthread_mutex_t lock; /* of the fields below, never held for long */
    sem_t changed;        /* counts entries that the thread has not seen */
    bool runs;
    bool closes; /* the thread, and may be held up */
    bool stops;  /* the thread ends once nothing waits */
    unsigned first, count;
    struct closing waiting[LIMIT_CLOSING];
} closer = {.turn = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER};

/* The kernel continues to send the bytes that a socket has left; nobody waits for that. */
static void close_foreign(int fd)
{
    const struct linger never = {0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &never, sizeof(never));
    close(fd);
}

/* Receives the rest of a socket that is shut down, so it has an end: closed with the socket, a
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

enum work {
    WORK_NONE,
    WORK_CLOSING,
    WORK_END,
};

static enum work next_work(struct closing *ret_next)
{
    enum work work = WORK_NONE;
    pthread_mutex_lock(&closer.lock);
    if (closer.count > 0) {
        *ret_next = closer.waiting[closer.first];
        closer.first = (closer.first + 1) % LIMIT_CLOSING;
        closer.count--;
        work = WORK_CLOSING;
    } else if (closer.stops) {
        closer.runs = false;
        work = WORK_END;
    }
    closer.closes = work == WORK_CLOSING;
    pthread_mutex_unlock(&closer.lock);
    return work;
}

/* Waits for the next one; false at the end. */
static bool take_next(struct closing *ret_next)
{
    enum work work;
    while ((work = next_work(ret_next)) == WORK_NONE)
        sem_wait(&closer.changed);
    return work == WORK_CLOSING;
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
    sigdelset(&all, SIGSYS); /* a system call that a cell refuses is named by its handler */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(&closer.thread, &attributes, close_all, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -err;
}

/* A child does not close the descriptors that a parent's thread still had to close. */
static void forget_parent(void)
{
    pthread_mutex_init(&closer.lock, NULL); /* that thread may have had it */
    closer.process = getpid();
    closer.users = 0;
    closer.runs = false;
}

/* Returns whether the thread continues. */
static bool keep_thread(void)
{
    pthread_mutex_lock(&closer.lock);
    closer.stops = false;
    bool runs = closer.runs;
    pthread_mutex_unlock(&closer.lock);
    return runs;
}

static int new_thread(void)
{
    closer.is_detached = closer.closes = false;
    closer.count = 0;
    closer.runs = true;
    sem_init(&closer.changed, 0, 0);
    int err = start_thread();
    if (err < 0)
        closer.runs = false;
    return err;
}

int closer_start(void)
{
    pthread_mutex_lock(&closer.turn);
    if (closer.process != getpid())
        forget_parent();
    closer.users++;
    int err = keep_thread() ? 0 : new_thread();
    pthread_mutex_unlock(&closer.turn);
    return err;
}

static void join(unsigned patience_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += patience_ms / 1000;
    until.tv_nsec += patience_ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    if (pthread_clockjoin_np(closer.thread, NULL, CLOCK_MONOTONIC, &until) == 0)
        return;
    pthread_detach(closer.thread);
    closer.is_detached = true;
}

static void end_thread(unsigned patience_ms)
{
    pthread_mutex_lock(&closer.lock);
    bool runs = closer.runs;
    bool may_hang = closer.closes || closer.count > 0;
    closer.stops = true;
    sem_post(&closer.changed);
    pthread_mutex_unlock(&closer.lock);
    if (!runs || closer.is_detached)
        return;
    if (may_hang)
        join(patience_ms);
    else
        pthread_join(closer.thread, NULL);
}

void closer_stop(unsigned patience_ms)
{
    pthread_mutex_lock(&closer.turn);
    if (closer.process == getpid() && closer.users > 0 && --closer.users == 0)
        end_thread(patience_ms);
    pthread_mutex_unlock(&closer.turn);
}

static void hand_over(int fd, bool is_ours)
{
    pthread_mutex_lock(&closer.lock);
    if (closer.runs && closer.count < LIMIT_CLOSING) {
        unsigned last = (closer.first + closer.count++) % LIMIT_CLOSING;
        closer.waiting[last] = (struct closing){.fd = fd, .is_ours = is_ours};
        sem_post(&closer.changed);
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

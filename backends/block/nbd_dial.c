// SPDX-License-Identifier: BSD-3-Clause
#include "block/nbd_dial.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* How often the thread looks whether somebody has hung up: shutting the socket down wakes it. */
#define LOOK_MS 1000

struct nbd_dial {
    pthread_mutex_t lock; /* of what follows up to handle */
    unsigned users;       /* the owner and the thread */
    bool hung_up;
    bool has_ended;
    int socket_fd; /* a copy of the one that libnbd waits for, or -1 */
    struct nbd_handle *handle;
    struct ob_fault fault; /* of the thread, until it has ended */
    int ended_fd;
    char uri[];
};

static void leave(struct nbd_dial *dial)
{
    pthread_mutex_lock(&dial->lock);
    bool last = --dial->users == 0;
    pthread_mutex_unlock(&dial->lock);
    if (!last)
        return;
    nbd_close(dial->handle);
    if (dial->socket_fd >= 0)
        close(dial->socket_fd);
    close(dial->ended_fd);
    pthread_mutex_destroy(&dial->lock);
    free(dial);
}

/* Lets the owner shut the socket down: a server can keep libnbd busy for as long as it likes.
 * Returns whether the thread is to go on. */
static bool show_socket(struct nbd_dial *dial, int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    pthread_mutex_lock(&dial->lock);
    int before = dial->socket_fd;
    dial->socket_fd = copy;
    bool goes_on = !dial->hung_up && copy >= 0;
    pthread_mutex_unlock(&dial->lock);
    if (before >= 0)
        close(before);
    return goes_on;
}

/* Returns a handle that is ready, or NULL with the dial's fault filled. */
static struct nbd_handle *connect_to(struct nbd_dial *dial)
{
    struct nbd_handle *handle = nbd_create();
    if (handle && nbd_aio_connect_uri(handle, dial->uri) == 0)
        while (nbd_aio_is_connecting(handle) == 1 && show_socket(dial, nbd_aio_get_fd(handle)))
            if (nbd_poll(handle, LOOK_MS) < 0)
                break;
    if (handle && nbd_aio_is_ready(handle) == 1)
        return handle;
    const char *reason = nbd_get_error();
    ob_fault_set(&dial->fault, -ECONNREFUSED, "%.150s", reason ? reason : "no answer");
    nbd_close(handle);
    return NULL;
}

static void *run(void *argument)
{
    static const uint64_t one = 1;
    struct nbd_dial *dial = argument;
    struct nbd_handle *handle = connect_to(dial);
    pthread_mutex_lock(&dial->lock);
    dial->handle = handle;
    dial->has_ended = true;
    pthread_mutex_unlock(&dial->lock);
    if (write(dial->ended_fd, &one, sizeof(one)) < 0) { /* can't be: it is our own, and empty */
    }
    leave(dial);
    return NULL;
}

/* The thread takes no signals: they are the loop's. */
static int start_thread(struct nbd_dial *dial)
{
    pthread_t thread;
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&thread, NULL, run, dial);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err == 0)
        pthread_detach(thread);
    return -err;
}

int nbd_dial_new(const char *uri, struct nbd_dial **ret_dial)
{
    size_t len = strlen(uri) + 1;
    struct nbd_dial *dial = calloc(1, sizeof(*dial) + len);
    if (!dial)
        return -ENOMEM;
    memcpy(dial->uri, uri, len);
    dial->socket_fd = -1;
    dial->users = 2;
    pthread_mutex_init(&dial->lock, NULL);
    dial->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int err = dial->ended_fd < 0 ? -errno : start_thread(dial);
    if (err < 0) {
        dial->users = 1;
        leave(dial);
        return err;
    }
    *ret_dial = dial;
    return 0;
}

int nbd_dial_fd(const struct nbd_dial *dial)
{
    return dial->ended_fd;
}

bool nbd_dial_has_ended(struct nbd_dial *dial)
{
    pthread_mutex_lock(&dial->lock);
    bool has_ended = dial->has_ended;
    pthread_mutex_unlock(&dial->lock);
    return has_ended;
}

struct nbd_handle *nbd_dial_take(struct nbd_dial *dial, struct ob_fault *fault)
{
    struct nbd_handle *handle = dial->handle;
    dial->handle = NULL;
    if (!handle)
        ob_fault_set(fault, dial->fault.code, "%s", dial->fault.text);
    return handle;
}

void nbd_dial_hang_up(struct nbd_dial *dial)
{
    pthread_mutex_lock(&dial->lock);
    dial->hung_up = true;
    if (dial->socket_fd >= 0)
        shutdown(dial->socket_fd, SHUT_RDWR);
    pthread_mutex_unlock(&dial->lock);
}

void nbd_dial_free(struct nbd_dial *dial)
{
    if (!dial)
        return;
    if (!nbd_dial_has_ended(dial)) /* else the socket is that of who has taken the handle */
        nbd_dial_hang_up(dial);
    leave(dial);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "block/nbd_dial.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <outboard/vault.h>

/* Threads of this process. */
static atomic_uint running;

struct nbd_dial {
    pthread_t thread;
    pthread_mutex_t lock; /* of the members from here to handle */
    unsigned users;       /* the owner and the thread */
    bool hung_up;
    bool has_ended;
    int socket_fd; /* a copy of the one that libnbd waits for, or -1 */
    int call;      /* to the connector */
    struct nbd_handle *handle;
    struct ob_fault fault; /* of the thread, until it has ended */
    int ended_fd;
    char export[];
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
    if (dial->ended_fd >= 0)
        close(dial->ended_fd);
    if (dial->call >= 0)
        close(dial->call);
    pthread_mutex_destroy(&dial->lock);
    free(dial);
}

/* Lets the owner shut the socket down: a server can keep libnbd busy for as long as it likes.
 * Returns whether the thread is to continue. */
static bool show_socket(struct nbd_dial *dial, int copy)
{
    pthread_mutex_lock(&dial->lock);
    dial->socket_fd = copy;
    bool goes_on = !dial->hung_up;
    pthread_mutex_unlock(&dial->lock);
    return goes_on;
}

/* The handle owns the socket, whatever becomes of it. */
static struct nbd_handle *negotiate(const struct nbd_dial *dial, int socket_fd)
{
    struct nbd_handle *handle = nbd_create();
    bool is_set = handle && nbd_set_export_name(handle, dial->export) == 0;
    if (is_set && ob_vault_role() != OB_VAULT_NONE) /* nbd_data.h reads simple ones */
        is_set = nbd_set_request_structured_replies(handle, false) == 0;
    if (!is_set) {
        close(socket_fd);
        return handle;
    }
    if (nbd_aio_connect_socket(handle, socket_fd) == 0)
        while (nbd_aio_is_connecting(handle) == 1 && nbd_poll(handle, -1) >= 0)
            ;
    return handle;
}

/* Returns a handle that is ready, or NULL with the dial's fault filled. */
static struct nbd_handle *connect_to(struct nbd_dial *dial)
{
    struct nbd_connected connected;
    nbd_connector_await(dial->call, &connected);
    if (connected.fd < 0 || !show_socket(dial, connected.copy)) {
        if (connected.fd >= 0)
            close(connected.fd);
        ob_fault_set(&dial->fault, -ECONNREFUSED, "%.150s", connected.reason);
        return NULL;
    }
    struct nbd_handle *handle = negotiate(dial, connected.fd);
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
    atomic_fetch_sub(&running, 1);
    return NULL;
}

/* The thread takes no signals: they are the loop's. */
static int start_thread(struct nbd_dial *dial)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    atomic_fetch_add(&running, 1);
    int err = pthread_create(&dial->thread, NULL, run, dial);
    if (err)
        atomic_fetch_sub(&running, 1);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -err;
}

int nbd_dial_new(const struct nbd_connector *connector, struct nbd_dial **ret_dial)
{
    const char *export = nbd_connector_export(connector);
    size_t len = strlen(export) + 1;
    struct nbd_dial *dial = calloc(1, sizeof(*dial) + len);
    if (!dial)
        return -ENOMEM;
    memcpy(dial->export, export, len);
    dial->socket_fd = dial->call = -1;
    dial->users = 2;
    pthread_mutex_init(&dial->lock, NULL);
    dial->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int err = dial->ended_fd < 0 ? -errno : 0;
    if (err == 0)
        err = dial->call = nbd_connector_call(connector);
    if (err >= 0)
        err = start_thread(dial);
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
    shutdown(dial->call, SHUT_RDWR);
    if (dial->socket_fd >= 0)
        shutdown(dial->socket_fd, SHUT_RDWR);
    pthread_mutex_unlock(&dial->lock);
}

void nbd_dial_free(struct nbd_dial *dial)
{
    if (!dial)
        return;
    if (nbd_dial_has_ended(dial)) { /* the socket is that of who has taken the handle */
        pthread_join(dial->thread, NULL);
    } else {
        nbd_dial_hang_up(dial);
        pthread_detach(dial->thread);
    }
    leave(dial);
}

bool nbd_dial_any_runs(void)
{
    return atomic_load(&running) > 0;
}

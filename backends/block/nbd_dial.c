// SPDX-License-Identifier: BSD-3-Clause
#include "block/nbd_dial.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

/* The longest name of an export that NBD has, and its end. */
#define EXPORT_MAX (4096 + 1)

/* How often the thread looks whether somebody has hung up: shutting the socket down wakes it. */
#define LOOK_MS 1000

struct nbd_dial {
    pthread_t thread;
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

/* libnbd has no use for descriptors: it would have the kernel close them in recv(2), which can wait
 * for as long as a server likes. Linux before 6.16 can't refuse them. */
static void refuse_fds(int fd)
{
    const int off = 0;
    setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
}

static int hex_digit(char letter)
{
    static const char digits[] = "0123456789abcdef";
    const char *digit = letter ? strchr(digits, tolower((unsigned char)letter)) : NULL;
    return digit ? (int)(digit - digits) : -1;
}

/* A part of a URI, up to the character that ends it (or the end, for 0). Returns what follows, or
 * NULL when it is none that is understood here or does not fit. */
static const char *decode(const char *text, char end, char *ret_part, size_t size)
{
    size_t len = 0;
    while (*text && *text != end) {
        char letter = *text++;
        if (letter == '%') {
            int high = hex_digit(text[0]);
            int low = high < 0 ? -1 : hex_digit(text[1]);
            if (low < 0 || high + low == 0)
                return NULL;
            letter = (char)(high << 4 | low);
            text += 2;
        } else if (strchr("#&?", letter)) {
            return NULL;
        }
        if (len + 1 >= size)
            return NULL;
        ret_part[len++] = letter;
    }
    ret_part[len] = '\0';
    return *text == end ? text : NULL;
}

/* Connects to nbd+unix:///EXPORT?socket=PATH by a socket that takes no descriptors from the first
 * byte on. False when that can't be, for whatever reason. */
static bool connect_unix(struct nbd_handle *handle, const char *uri)
{
    static const char scheme[] = "nbd+unix:///", query[] = "?socket=";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char export[EXPORT_MAX];
    const char *rest = NULL;
    if (strncmp(uri, scheme, sizeof(scheme) - 1) == 0)
        rest = decode(uri + sizeof(scheme) - 1, '?', export, sizeof(export));
    if (!rest || strncmp(rest, query, sizeof(query) - 1) != 0 ||
        !decode(rest + sizeof(query) - 1, '\0', address.sun_path, sizeof(address.sun_path)))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    refuse_fds(fd);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
        nbd_set_export_name(handle, export) == 0)
        return nbd_aio_connect_socket(handle, fd) == 0; /* which owns it in any case */
    close(fd);
    return false;
}

/* Whether connecting has begun. What can't be done here is libnbd's, and so is the reason. */
static bool begin(struct nbd_handle *handle, const char *uri)
{
    if (connect_unix(handle, uri))
        return true;
    if (nbd_aio_connect_uri(handle, uri) < 0)
        return false;
    refuse_fds(nbd_aio_get_fd(handle));
    return true;
}

/* Returns a handle that is ready, or NULL with the dial's fault filled. */
static struct nbd_handle *connect_to(struct nbd_dial *dial)
{
    struct nbd_handle *handle = nbd_create();
    if (handle && begin(handle, dial->uri))
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
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&dial->thread, NULL, run, dial);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
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
    if (nbd_dial_has_ended(dial)) { /* the socket is that of who has taken the handle */
        pthread_join(dial->thread, NULL);
    } else {
        nbd_dial_hang_up(dial);
        pthread_detach(dial->thread);
    }
    leave(dial);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "os/resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/auto.h"

struct resolve {
    int fd; /* the child writes the addresses, then ends */
    struct loop_source *source;
    struct child *child;
    resolve_fn done;
    void *argument;
    size_t len; /* bytes of addresses so far */
    struct sockaddr_storage addresses[RESOLVE_MAX];
};

/* The child. Fewer bytes than PIPE_BUF, so one write is whole. */
static int look_up(int fd, const void *name)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct sockaddr_storage found[RESOLVE_MAX];
    struct addrinfo *list;
    size_t count = 0;
    memset(found, 0, sizeof(found));
    if (getaddrinfo(name, NULL, &hints, &list) != 0)
        return EXIT_FAILURE;
    for (struct addrinfo *at = list; at && count < RESOLVE_MAX; at = at->ai_next) {
        if (at->ai_family == AF_INET || at->ai_family == AF_INET6)
            memcpy(&found[count++], at->ai_addr, at->ai_addrlen);
    }
    size_t len = count * sizeof(found[0]);
    return write(fd, found, len) == (ssize_t)len ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void on_child_exit(void *argument, int status)
{
    struct resolve *resolve = argument;
    resolve->child = NULL;
}

static void destroy(struct resolve *resolve)
{
    loop_remove(resolve->source);
    close(resolve->fd);
    child_forget(resolve->child);
    free(resolve);
}

static void on_readable(void *argument, uint32_t events)
{
    struct resolve *resolve = argument;
    struct sockaddr_storage addresses[RESOLVE_MAX];
    uint8_t *to = (uint8_t *)resolve->addresses + resolve->len;
    ssize_t got = read(resolve->fd, to, sizeof(resolve->addresses) - resolve->len);
    if (got > 0)
        resolve->len += (size_t)got;
    if (got > 0 || (got < 0 && errno == EAGAIN))
        return;
    resolve_fn done = resolve->done;
    void *done_argument = resolve->argument;
    int count = (int)(resolve->len / sizeof(addresses[0]));
    memcpy(addresses, resolve->addresses, sizeof(addresses));
    destroy(resolve);
    done(done_argument, addresses, count);
}

int resolve_start(struct loop *loop, struct children *children, const char *name, resolve_fn done,
                  void *argument, struct resolve **ret_resolve)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    AUTO_FD reader = ends[0];
    AUTO_FD writer = ends[1];
    AUTO_FREE struct resolve *resolve = calloc(1, sizeof(*resolve));
    if (!resolve)
        return -ENOMEM;
    *resolve = (struct resolve){.fd = reader, .done = done, .argument = argument};
    int err = loop_add(loop, reader, EPOLLIN, on_readable, resolve, &resolve->source);
    if (err < 0)
        return err;
    err = child_fork(children, writer, look_up, name, &resolve->child);
    if (err < 0) {
        loop_remove(resolve->source);
        return err;
    }
    child_watch(resolve->child, on_child_exit, resolve);
    take_fd(&reader);
    *ret_resolve = take_ptr(&resolve);
    return 0;
}

void resolve_cancel(struct resolve *resolve)
{
    if (!resolve)
        return;
    if (resolve->child)
        child_signal(resolve->child, SIGKILL);
    destroy(resolve);
}

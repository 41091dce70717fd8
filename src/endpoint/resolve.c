// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "endpoint/hostname.h"
#include "endpoint/lookup.h"

/* The length of a child's output; more is passed over. */
#define TEXT_MAX 4096

/* The exit status of getent(1) for a name that has no address. */
#define NO_SUCH_KEY 2

struct resolve {
    struct loop *loop;
    struct children *children;
    char *name;
    int fd; /* the child writes to it; -1: it has ended that */
    struct loop_source *source;
    struct child *child;
    int status; /* of the child that has ended */
    bool asked_getent;
    resolve_fn done;
    void *argument;
    size_t len;
    char text[TEXT_MAX + 1];
};

/* The child. */
static int look_up(int fd, const void *name)
{
    static const struct lookup_files files = {
        .hosts = "/etc/hosts", .resolv_conf = "/etc/resolv.conf", .port = 53};
    return lookup_name(fd, name, &files);
}

static void stop_reading(struct resolve *resolve)
{
    loop_remove(take_ptr(&resolve->source));
    auto_close(&resolve->fd);
    resolve->fd = -1;
}

static void destroy(struct resolve *resolve)
{
    stop_reading(resolve);
    child_forget(resolve->child);
    free(resolve->name);
    free(resolve);
}

static bool has(const struct resolved *resolved, const struct sockaddr_storage *address)
{
    for (unsigned i = 0; i < resolved->count; i++)
        if (memcmp(&resolved->address[i], address, sizeof(*address)) == 0)
            return true;
    return false;
}

/* One line: ADDRESS TYPE [NAME]. The type differs between lines with the same address. */
static void take_line(char *line, struct resolved *resolved)
{
    char *rest;
    struct address address = {.kind = ADDRESS_TCP};
    struct sockaddr_storage kernel;
    const char *number = strtok_r(line, " \t", &rest);
    strtok_r(NULL, " \t", &rest);
    const char *name = strtok_r(NULL, " \t", &rest);
    if (!number || strlen(number) > ADDRESS_NAME_MAX)
        return;
    memcpy(address.name, number, strlen(number) + 1);
    if (address_to_kernel(&address, &kernel) < 0)
        return;
    if (name && !resolved->canonical[0])
        hostname_canonical(name, resolved->canonical);
    if (resolved->count < RESOLVE_MAX && !has(resolved, &kernel))
        resolved->address[resolved->count++] = kernel;
}

static void parse(struct resolve *resolve, struct resolved *ret_resolved)
{
    char *rest;
    memset(ret_resolved, 0, sizeof(*ret_resolved));
    resolve->text[resolve->len] = '\0';
    for (char *line = strtok_r(resolve->text, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest))
        take_line(line, ret_resolved);
}

static int start_child(struct resolve *resolve);

/* Continues once the child has ended and all that it wrote is read. */
static void go_on(struct resolve *resolve)
{
    struct resolved resolved;
    if (resolve->fd >= 0 || resolve->child)
        return;
    bool knew = WIFEXITED(resolve->status) && (WEXITSTATUS(resolve->status) == EXIT_SUCCESS ||
                                               WEXITSTATUS(resolve->status) == NO_SUCH_KEY);
    bool again = resolve->asked_getent && !knew;
    resolve->asked_getent = false;
    if (again && start_child(resolve) == 0)
        return;
    parse(resolve, &resolved);
    resolve_fn done = resolve->done;
    void *argument = resolve->argument;
    destroy(resolve);
    done(argument, &resolved);
}

static void on_exit_of_child(void *argument, int status)
{
    struct resolve *resolve = argument;
    resolve->child = NULL;
    resolve->status = status;
    go_on(resolve);
}

static void on_readable(void *argument, uint32_t events)
{
    struct resolve *resolve = argument;
    char dropped[512];
    size_t room = TEXT_MAX - resolve->len;
    ssize_t got = read(resolve->fd, room ? resolve->text + resolve->len : dropped,
                       room ? room : sizeof(dropped));
    if (got > 0 && room)
        resolve->len += (size_t)got;
    if (got > 0 || (got < 0 && errno == EAGAIN))
        return;
    stop_reading(resolve);
    go_on(resolve);
}

/* getent, if it was not asked yet. 0 or a negative errno. */
static int spawn(struct resolve *resolve, int writer)
{
    char *const argv[] = {"getent", "ahosts", resolve->name, NULL};
    const struct child_spec spec = {.argv = argv, .fd = {-1, writer, -1}};
    int err =
        resolve->asked_getent ? child_spawn(resolve->children, &spec, &resolve->child) : -ENOENT;
    if (err < 0 && err != -EAGAIN && err != -ENOMEM) {
        resolve->asked_getent = false;
        err = child_fork(resolve->children, writer, look_up, resolve->name, &resolve->child);
    }
    return err;
}

/* Starts getent, or the child that does without it. 0 or a negative errno. */
static int start_child(struct resolve *resolve)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    AUTO_FD reader = ends[0];
    AUTO_FD writer = ends[1];
    resolve->len = 0;
    fcntl(reader, F_SETFL, O_NONBLOCK);
    int err = loop_add(resolve->loop, reader, EPOLLIN, on_readable, resolve, &resolve->source);
    if (err < 0)
        return err;
    err = spawn(resolve, writer);
    if (err < 0) {
        loop_remove(take_ptr(&resolve->source));
        return err;
    }
    child_watch(resolve->child, on_exit_of_child, resolve);
    resolve->fd = take_fd(&reader);
    return 0;
}

int resolve_start(struct loop *loop, struct children *children, const char *name, resolve_fn done,
                  void *argument, struct resolve **ret_resolve)
{
    struct resolve *resolve = calloc(1, sizeof(*resolve));
    if (!resolve)
        return -ENOMEM;
    *resolve = (struct resolve){.loop = loop,
                                .children = children,
                                .name = strdup(name),
                                .fd = -1,
                                .asked_getent = name[0] != '-', /* that would be an option */
                                .done = done,
                                .argument = argument};
    int err = resolve->name ? start_child(resolve) : -ENOMEM;
    if (err < 0) {
        destroy(resolve);
        return err;
    }
    *ret_resolve = resolve;
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

// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/appearance.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/auto.h"
#include "endpoint/outside.h"

#define EVENTS      (IN_CREATE | IN_MOVED_TO | IN_ATTRIB)
#define PORT_FOLDER "/dev"
#define PORT_NAME   "vport" /* and its number; which port has which name is not known yet */

struct appearance {
    int fd;
    struct loop_source *source;
    void (*appeared)(void *argument);
    void *argument;
    bool by_prefix;
    char folder[256], name[256];
};

static bool is_meant(const struct appearance *appearance, const struct inotify_event *event)
{
    if (event->mask & IN_Q_OVERFLOW)
        return true;
    size_t len = strlen(appearance->name) + !appearance->by_prefix;
    return event->len > 0 && strncmp(event->name, appearance->name, len) == 0;
}

static void on_event(void *argument, uint32_t events)
{
    struct appearance *appearance = argument;
    _Alignas(struct inotify_event) char bytes[4096];
    bool meant = false;
    ssize_t got = read(appearance->fd, bytes, sizeof(bytes));
    for (ssize_t at = 0; at < got;) {
        const struct inotify_event *event = (const struct inotify_event *)(bytes + at);
        meant |= is_meant(appearance, event);
        at += (ssize_t)(sizeof(*event) + event->len);
    }
    if (meant)
        appearance->appeared(appearance->argument); /* may free it */
}

/* The file's path, or NULL. */
static const char *path_of(const struct channel_spec *spec)
{
    if (spec->kind == CHANNEL_SERIAL)
        return spec->path;
    bool is_path = spec->kind == CHANNEL_CONNECT && spec->address.kind == ADDRESS_UNIX &&
                   spec->address.name[0] != '@';
    return is_path ? spec->address.name : NULL;
}

/* 0 or -ENOTSUP. */
static int choose(const struct channel_spec *spec, struct appearance *appearance)
{
    const char *path = path_of(spec);
    if (spec->kind == CHANNEL_VIRTIO) {
        appearance->by_prefix = true;
        strcpy(appearance->folder, PORT_FOLDER);
        strcpy(appearance->name, PORT_NAME);
        return 0;
    }
    if (!path || strlen(path) >= sizeof(appearance->folder))
        return -ENOTSUP;
    const char *slash = strrchr(path, '/');
    if (slash == path)
        strcpy(appearance->folder, "/");
    else
        snprintf(appearance->folder, sizeof(appearance->folder), "%.*s",
                 slash ? (int)(slash - path) : 1, slash ? path : ".");
    snprintf(appearance->name, sizeof(appearance->name), "%s", slash ? slash + 1 : path);
    return 0;
}

/* The inotify descriptor, or a negative errno. */
static int watch_folder(const char *folder)
{
    AUTO_FD fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0 || inotify_add_watch(fd, folder, EVENTS | IN_ONLYDIR) < 0)
        return -errno;
    return take_fd(&fd);
}

int appearance_open(const struct channel_spec *spec)
{
    struct appearance appearance = {0};
    int err = choose(spec, &appearance);
    return err < 0 ? err : watch_folder(appearance.folder);
}

int appearance_watch(struct loop *loop, const struct channel_spec *spec, struct outside *outside,
                     void (*appeared)(void *argument), void *argument,
                     struct appearance **ret_appearance)
{
    AUTO_FREE struct appearance *appearance = calloc(1, sizeof(*appearance));
    if (!appearance)
        return -ENOMEM;
    int err = choose(spec, appearance);
    if (err < 0)
        return err;
    AUTO_FD fd = outside ? outside_open(outside, OUTSIDE_WATCH) : watch_folder(appearance->folder);
    if (fd < 0)
        return fd;
    err = loop_add(loop, fd, EPOLLIN, on_event, appearance, &appearance->source);
    if (err < 0)
        return err;
    appearance->fd = take_fd(&fd);
    appearance->appeared = appeared;
    appearance->argument = argument;
    *ret_appearance = take_ptr(&appearance);
    return 0;
}

void appearance_free(struct appearance *appearance)
{
    if (!appearance)
        return;
    loop_remove(appearance->source);
    close(appearance->fd);
    free(appearance);
}

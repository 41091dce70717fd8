// SPDX-License-Identifier: BSD-3-Clause
#include "nbd_link.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* How often a link that is being opened is looked at before it is given up. */
#define PATIENCE 5u

static int refuse_export(const struct block_options *options, const struct nbd_export *export,
                         struct nbd_handle *handle, struct ob_fault *fault)
{
    if (export->min_block > options->block_size)
        return ob_fault_set(fault, -EINVAL, "%s has blocks of %u bytes: give block-size=4096",
                            options->path, (unsigned)export->min_block);
    if (!options->readonly && nbd_is_read_only(handle) == 1)
        return ob_fault_set(fault, -EROFS, "%s is read only: give 'readonly'", options->path);
    if (!options->readonly && nbd_can_flush(handle) != 1)
        return ob_fault_set(fault, -ENOTSUP,
                            "%s can't flush, so nothing written would ever be known to be stable: "
                            "give 'readonly', or serve it by a server that can",
                            options->path);
    return 0;
}

static int learn(struct nbd_link *link, struct ob_fault *fault)
{
    struct nbd_handle *handle = link->handle;
    int64_t size = nbd_get_size(handle);
    int64_t min_block = nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM);
    if (size < 0)
        return ob_fault_set(fault, -EIO, "%s: %.150s", link->options.path, nbd_get_error());
    const struct nbd_export export = {
        .size = (uint64_t)size,
        .min_block = min_block > 0 ? (uint64_t)min_block : 1,
        .has_fua = nbd_can_fua(handle) == 1,
        .has_zero = nbd_can_zero(handle) == 1,
        .can_trim = nbd_can_trim(handle) == 1,
    };
    int err = refuse_export(&link->options, &export, handle, fault);
    if (err == 0)
        link->export = export;
    return err;
}

static void unwatch(struct nbd_link *link)
{
    if (link->device && link->watched_fd >= 0)
        ob_device_unwatch(link->device, link->watched_fd);
    link->watched_fd = -1;
    link->watched_events = 0;
}

void nbd_link_close(struct nbd_link *link)
{
    unwatch(link);
    nbd_close(link->handle);
    link->handle = NULL;
    link->state = NBD_DOWN;
}

int nbd_link_open(struct nbd_link *link, const struct block_options *options,
                  struct ob_fault *fault)
{
    *link = (struct nbd_link){.options = *options, .watched_fd = -1, .handle = nbd_create()};
    int err = 0;
    if (!link->handle)
        err = ob_fault_set(fault, -ENOMEM, "no memory for %s", options->path);
    else if (nbd_connect_uri(link->handle, options->path) < 0)
        err = ob_fault_set(fault, -ECONNREFUSED, "%.150s", nbd_get_error());
    else
        err = learn(link, fault);
    if (err < 0)
        nbd_link_close(link);
    else
        link->state = NBD_UP;
    return err;
}

static bool is_gone(const struct nbd_link *link)
{
    return nbd_aio_is_dead(link->handle) == 1 || nbd_aio_is_closed(link->handle) == 1;
}

/* What libnbd's work has made of the link. */
static void update_state(struct nbd_link *link, struct ob_fault *fault)
{
    if (link->state == NBD_UP && is_gone(link)) {
        link->state = NBD_LOST;
    } else if (link->state == NBD_OPENING && is_gone(link)) {
        nbd_link_close(link);
    } else if (link->state == NBD_OPENING && nbd_aio_is_ready(link->handle) == 1) {
        link->state = NBD_UP;
        if (learn(link, fault) < 0)
            nbd_link_close(link);
    }
}

void nbd_link_retry(struct nbd_link *link)
{
    if (link->state == NBD_OPENING && link->patience-- == 0)
        nbd_link_close(link);
    if (link->state != NBD_DOWN)
        return;
    link->handle = nbd_create();
    link->state = NBD_OPENING;
    link->patience = PATIENCE;
    if (!link->handle || nbd_aio_connect_uri(link->handle, link->options.path) < 0)
        nbd_link_close(link);
}

int nbd_link_watch(struct nbd_link *link, struct ob_device *device, ob_watch_fn ready,
                   void *argument)
{
    link->device = device;
    link->ready = ready;
    link->argument = argument;
    link->watched_fd = nbd_aio_get_fd(link->handle);
    link->watched_events = OB_WATCH_READABLE;
    return ob_device_watch(device, link->watched_fd, link->watched_events, ready, argument);
}

static unsigned wanted_events(const struct nbd_link *link)
{
    unsigned direction = nbd_aio_get_direction(link->handle);
    unsigned events = 0;
    if (direction & LIBNBD_AIO_DIRECTION_READ)
        events |= OB_WATCH_READABLE;
    if (direction & LIBNBD_AIO_DIRECTION_WRITE)
        events |= OB_WATCH_WRITABLE;
    return events;
}

void nbd_link_update_watch(struct nbd_link *link)
{
    if (!link->device || link->state == NBD_DOWN)
        return;
    int fd = link->state == NBD_LOST ? -1 : nbd_aio_get_fd(link->handle);
    unsigned events = fd >= 0 ? wanted_events(link) : 0;
    if (fd == link->watched_fd && events == link->watched_events)
        return;
    if (fd != link->watched_fd || events == 0)
        unwatch(link);
    if (events == 0 || ob_device_watch(link->device, fd, events, link->ready, link->argument) < 0)
        return;
    link->watched_fd = fd;
    link->watched_events = events;
}

bool nbd_link_work(struct nbd_link *link, unsigned timeout_ms, struct ob_fault *fault)
{
    int worked = 0;
    bool any = false;
    if (link->state != NBD_UP && link->state != NBD_OPENING)
        return false;
    do {
        worked = nbd_poll(link->handle, any ? 0 : (int)timeout_ms);
        any |= worked != 0;
    } while (worked > 0);
    update_state(link, fault);
    return any;
}

void nbd_link_shut(struct nbd_link *link)
{
    int fd = link->state == NBD_UP ? nbd_aio_get_fd(link->handle) : -1;
    if (fd >= 0)
        shutdown(fd, SHUT_RDWR);
    while (link->state == NBD_UP && nbd_link_work(link, 0, NULL))
        ;
}

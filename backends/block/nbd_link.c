// SPDX-License-Identifier: BSD-3-Clause
#include "block/nbd_link.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <outboard/vault.h>

/* The lengths of zeroes and trims are multiples of this, unless the server prefers more. */
#define EFFECT_BLOCK UINT64_C(65536)

static int refuse_export(const struct block_options *options, const struct nbd_export *export,
                         struct nbd_handle *handle, struct ob_fault *fault)
{
    if (export->min_block > options->block_size)
        return ob_fault_set(fault, -EINVAL,
                            "%s: got blocks of %u bytes, expected 512; give block-size=4096",
                            options->path, (unsigned)export->min_block);
    if (export->max_data == 0)
        return ob_fault_set(
            fault, -EPROTO,
            "%s: the server accepts no request of a whole block, %u bytes; use another server",
            options->path, (unsigned)export->min_block);
    if (!options->readonly && nbd_is_read_only(handle) == 1)
        return ob_fault_set(fault, -EROFS, "%s: the image is read only; give 'readonly'",
                            options->path);
    if (!options->readonly && nbd_can_flush(handle) != 1)
        return ob_fault_set(fault, -ENOTSUP,
                            "%s: the server can't flush, so writes would never be durable; give "
                            "'readonly', or use a server that can flush",
                            options->path);
    if (ob_vault_role() != OB_VAULT_NONE && nbd_can_multi_conn(handle) != 1)
        return ob_fault_set(fault, -ENOTSUP,
                            "%s: got on-death = \"restart\", and the server does not let a second "
                            "connection share the export; start qemu-nbd with --shared=0",
                            options->path);
    return 0;
}

static uint64_t whole_blocks(uint64_t len, uint64_t block)
{
    return len - len % block;
}

/* Fills the largest sizes of a request from the server's limits, if it has told them. */
static void learn_sizes(struct nbd_handle *handle, struct nbd_export *export)
{
    int64_t min_block = nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM);
    int64_t preferred = nbd_get_block_size(handle, LIBNBD_SIZE_PREFERRED);
    int64_t max_data = nbd_get_block_size(handle, LIBNBD_SIZE_MAXIMUM);
    export->min_block = min_block > 0 ? (uint64_t)min_block : 1;
    if (max_data <= 0 || (uint64_t)max_data > NBD_USUAL_LEN)
        max_data = NBD_USUAL_LEN;
    export->max_data = whole_blocks((uint64_t)max_data, export->min_block);
    bool is_large = preferred > (int64_t)EFFECT_BLOCK && (uint64_t)preferred <= NBD_USUAL_LEN;
    export->max_effect =
        whole_blocks(NBD_LONGEST_LEN, is_large ? (uint64_t)preferred : EFFECT_BLOCK);
}

static int learn(struct nbd_link *link, struct ob_fault *fault)
{
    struct nbd_handle *handle = link->handle;
    int64_t size = nbd_get_size(handle);
    if (size < 0)
        return ob_fault_set(fault, -EIO, "%s: %.150s", link->options.path, nbd_get_error());
    struct nbd_export export = {
        .size = (uint64_t)size,
        .has_fua = nbd_can_fua(handle) == 1,
        .has_zero = nbd_can_zero(handle) == 1,
        .can_trim = nbd_can_trim(handle) == 1,
    };
    learn_sizes(handle, &export);
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
    nbd_dial_free(link->dial);
    if (link->memory.shared)
        link->memory.shared->connected = 0;
    nbd_data_free(link->data);
    link->data = NULL;
    nbd_close(link->handle);
    link->dial = NULL;
    link->handle = NULL;
    link->state = NBD_DOWN;
}

void nbd_link_done(struct nbd_link *link)
{
    nbd_link_close(link);
    nbd_connector_free(link->connector);
    link->connector = NULL;
    nbd_memory_done(&link->memory);
}

/* Has our own data phase begin, if there is memory for it. */
static int begin_data(struct nbd_link *link, struct ob_fault *fault)
{
    if (!link->memory.shared)
        return 0;
    if (nbd_get_structured_replies_negotiated(link->handle) != 0)
        return ob_fault_set(fault, -EPROTO, "%s: the server insists on structured replies",
                            link->options.path);
    link->data = nbd_data_new(nbd_aio_get_fd(link->handle), link->memory.shared, link->completed);
    return link->data ? 0 : ob_fault_set(fault, -ENOMEM, "no memory for %s", link->options.path);
}

/* The dial has ended: its handle is UP, or the link is closed, with the fault filled. */
static int end_dial(struct nbd_link *link, struct ob_fault *fault)
{
    unwatch(link); /* the dial's descriptor */
    link->handle = nbd_dial_take(link->dial, fault);
    nbd_dial_free(link->dial);
    link->dial = NULL;
    int err = link->handle ? learn(link, fault) : -ECONNREFUSED;
    if (err == 0)
        err = begin_data(link, fault);
    if (err < 0)
        nbd_link_close(link);
    else
        link->state = NBD_UP;
    return err;
}

static void dial(struct nbd_link *link)
{
    link->patient_until_ms = block_clock_ms() + NBD_DIAL_MS;
    if (nbd_dial_new(link->connector, &link->dial) == 0)
        link->state = NBD_OPENING;
}

/* Waits for the first connection. */
static int open_first(struct nbd_link *link, struct ob_fault *fault)
{
    dial(link);
    if (!link->dial)
        return ob_fault_set(fault, -ENOMEM, "no memory for %s", link->options.path);
    struct pollfd ended = {.fd = nbd_dial_fd(link->dial), .events = POLLIN};
    poll(&ended, 1, NBD_START_MS);
    if (nbd_dial_has_ended(link->dial))
        return end_dial(link, fault);
    return ob_fault_set(fault, -ETIMEDOUT, "%s: the server has not answered for %u s",
                        link->options.path, NBD_START_MS / 1000);
}

int nbd_link_open(struct nbd_link *link, const struct block_options *options,
                  nbd_completed_fn completed, struct ob_fault *fault)
{
    *link = (struct nbd_link){.options = *options,
                              .completed = completed,
                              .memory = {.fd = -1, .lock_fd = -1},
                              .watched_fd = -1};
    int err = nbd_connector_start(options->path, &link->connector, fault);
    if (err == 0 && ob_vault_role() != OB_VAULT_NONE) {
        err = nbd_memory_new(&link->memory);
        if (err < 0)
            ob_fault_set(fault, err, "%s: can't make memory for its connection: %s", options->path,
                         strerror(-err));
    }
    if (err == 0)
        err = open_first(link, fault);
    if (err < 0)
        nbd_link_done(link);
    return err;
}

int nbd_link_socket(const struct nbd_link *link)
{
    return link->state == NBD_UP ? nbd_aio_get_fd(link->handle) : -1;
}

static nbd_completion_callback callback_of(const struct nbd_link *link, void *argument)
{
    return (nbd_completion_callback){.callback = link->completed, .user_data = argument};
}

static int64_t ask_libnbd(struct nbd_link *link, const struct nbd_command *command, void *argument)
{
    const nbd_completion_callback callback = callback_of(link, argument);
    struct nbd_handle *handle = link->handle;
    switch (command->type) {
    case NBD_READ:
        return nbd_aio_pread(handle, command->data, command->len, command->offset, callback, 0);
    case NBD_WRITE:
        return nbd_aio_pwrite(handle, command->data, command->len, command->offset, callback,
                              command->flags);
    case NBD_TRIM:
        return nbd_aio_trim(handle, command->len, command->offset, callback, 0);
    case NBD_ZERO:
        return nbd_aio_zero(handle, command->len, command->offset, callback, command->flags);
    default:
        return nbd_aio_flush(handle, callback, 0);
    }
}

int nbd_link_ask(struct nbd_link *link, const struct nbd_command *command, void *argument)
{
    if (link->data)
        return nbd_data_send(link->data, command, argument) < 0 ? -1 : 0;
    return ask_libnbd(link, command, argument) < 0 ? -1 : 0;
}

static bool is_gone(const struct nbd_link *link)
{
    if (link->data)
        return nbd_data_is_gone(link->data);
    return nbd_aio_is_dead(link->handle) == 1 || nbd_aio_is_closed(link->handle) == 1;
}

/* One dial at a time: one that has been hung up and still looks a name up is waited for. */
void nbd_link_retry(struct nbd_link *link)
{
    if (link->state == NBD_OPENING && block_clock_ms() >= link->patient_until_ms)
        nbd_dial_hang_up(link->dial);
    if (link->state == NBD_DOWN)
        dial(link);
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
    if (link->data)
        return OB_WATCH_READABLE | (nbd_data_wants_to_send(link->data) ? OB_WATCH_WRITABLE : 0);
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
    int fd = -1;
    unsigned events = 0;
    if (!link->device)
        return;
    if (link->state == NBD_OPENING) {
        fd = nbd_dial_fd(link->dial);
        events = OB_WATCH_READABLE;
    } else if (link->state == NBD_UP) {
        fd = nbd_aio_get_fd(link->handle);
        events = wanted_events(link);
    }
    if (fd == link->watched_fd && events == link->watched_events)
        return;
    if (fd != link->watched_fd || events == 0)
        unwatch(link);
    if (events == 0 || ob_device_watch(link->device, fd, events, link->ready, link->argument) < 0)
        return;
    link->watched_fd = fd;
    link->watched_events = events;
}

/* Returns whether anything happened. */
static bool take_steps(struct nbd_link *link)
{
    if (link->data)
        return nbd_data_work(link->data);
    unsigned steps = 0;
    int worked = 0;
    do {
        worked = nbd_poll(link->handle, 0);
        steps += worked != 0;
    } while (worked > 0 && steps < NBD_STEPS);
    return steps > 0;
}

bool nbd_link_work(struct nbd_link *link, struct ob_fault *fault)
{
    bool any = false;
    if (link->state == NBD_UP) {
        any = take_steps(link);
        if (is_gone(link))
            link->state = NBD_LOST;
    } else if (link->state == NBD_OPENING && nbd_dial_has_ended(link->dial)) {
        struct ob_fault reason = {0};
        int err = end_dial(link, &reason);
        if (err < 0 && err != -ECONNREFUSED) /* not that it is still away */
            ob_fault_set(fault, err, "%s", reason.text);
        any = true;
    }
    return any;
}

void nbd_link_shut(struct nbd_link *link)
{
    int fd = link->state == NBD_UP ? nbd_aio_get_fd(link->handle) : -1;
    if (fd >= 0)
        shutdown(fd, SHUT_RDWR);
    while (link->state == NBD_UP && nbd_link_work(link, NULL))
        ;
}

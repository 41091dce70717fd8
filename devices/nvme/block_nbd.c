// SPDX-License-Identifier: BSD-3-Clause
/*
 * NBD exports through libnbd(3): whatever qemu-nbd or nbdkit can serve.
 *
 * The connection is made at start, then used asynchronously. NBD knows no scattered data, so a read
 * or write is one command for each piece of memory, straight from or to it; pieces that are not
 * whole blocks of the export go through a buffer. libnbd's callbacks, which may not call libnbd,
 * only count; deliver() then goes on with operations that have more to do (further zeroes, a flush
 * where the export has no FUA) and ends the others.
 *
 * A lost connection is not made again: a server that has died may have lost writes that no flush
 * has covered, which the guest would never learn. All I/O fails from then on.
 */
#include "block.h"

#include <errno.h>
#include <libnbd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <outboard/watch.h>

#define ZEROES_LEN       65536u
#define LONGEST_COMMAND  (UINT64_C(32) << 20) /* what every server takes */
#define DRAIN_TIMEOUT_MS 10000

/* Where an operation is: block_io.step. */
enum step {
    STEP_WORK = 0,
    STEP_SYNC, /* a flush in the place of FUA */
};

struct nbd {
    struct block block;
    struct nbd_handle *handle;
    struct ob_device *device;
    int watched_fd; /* -1: none */
    unsigned watched_events;
    unsigned in_flight;
    struct block_io *settled; /* no command of theirs is in flight */
    uint64_t min_block;
    bool has_fua;
    bool has_zero;
    uint8_t zeroes[ZEROES_LEN];
};

static struct nbd *nbd_of(struct block *block)
{
    return (struct nbd *)block;
}

static void part_done(struct block_io *io, int err)
{
    struct nbd *nbd = nbd_of(io->block);
    if (io->err == 0)
        io->err = err;
    if (--io->parts > 0)
        return;
    io->next = nbd->settled;
    nbd->settled = io;
}

/* libnbd's callback. A lost connection is a medium error to the guest. Returns 1: the command needs
 * no further word. */
// cppcheck-suppress constParameter ; libnbd says what a callback looks like
static int completed(void *argument, int *error) // NOLINT(readability-non-const-parameter)
{
    bool lost = *error == ENOTCONN || *error == ESHUTDOWN;
    part_done(argument, lost ? -EIO : -*error);
    return 1;
}

/* Counts a command that libnbd has taken, or has refused since the connection is gone. */
static void count_part(struct block_io *io, int64_t cookie)
{
    if (cookie < 0)
        part_done(io, -EIO);
}

static nbd_completion_callback callback_for(struct block_io *io)
{
    io->parts++;
    return (nbd_completion_callback){.callback = completed, .user_data = io};
}

static void transfer(struct nbd *nbd, struct block_io *io, void *data, size_t len, uint64_t offset)
{
    nbd_completion_callback callback = callback_for(io);
    uint32_t fua = io->flags & BLOCK_FUA && nbd->has_fua ? LIBNBD_CMD_FLAG_FUA : 0;
    if (io->op == BLOCK_READ)
        count_part(io, nbd_aio_pread(nbd->handle, data, len, offset, callback, 0));
    else
        count_part(io, nbd_aio_pwrite(nbd->handle, data, len, offset, callback, fua));
}

static bool whole_blocks(const struct nbd *nbd, const struct block_io *io)
{
    for (unsigned i = 0; i < io->iov_count; i++)
        if (io->iov[i].iov_len % nbd->min_block)
            return false;
    return true;
}

/* Copies between the bounce buffer and the pieces that the data is in. */
static void copy_bounce(struct block_io *io, bool to_pieces)
{
    uint8_t *at = io->bounce;
    for (unsigned i = 0; i < io->iov_count; i++) {
        const struct iovec *piece = &io->iov[i];
        if (to_pieces)
            memcpy(piece->iov_base, at, piece->iov_len);
        else
            memcpy(at, piece->iov_base, piece->iov_len);
        at += piece->iov_len;
    }
}

static void transfer_bounced(struct nbd *nbd, struct block_io *io)
{
    io->bounce = malloc(io->len);
    if (!io->bounce) {
        io->err = -ENOMEM;
        return;
    }
    if (io->op == BLOCK_WRITE)
        copy_bounce(io, false);
    transfer(nbd, io, io->bounce, io->len, io->offset);
}

static void transfer_pieces(struct nbd *nbd, struct block_io *io)
{
    uint64_t offset = io->offset;
    for (unsigned i = 0; i < io->iov_count; i++) {
        transfer(nbd, io, io->iov[i].iov_base, io->iov[i].iov_len, offset);
        offset += io->iov[i].iov_len;
    }
    io->progress = io->len;
}

static void zero_or_trim(struct nbd *nbd, struct block_io *io)
{
    uint64_t offset = io->offset + io->progress;
    uint64_t left = io->len - io->progress;
    uint64_t limit = io->op == BLOCK_WRITE_ZEROES && !nbd->has_zero ? ZEROES_LEN : LONGEST_COMMAND;
    uint64_t len = left < limit ? left : limit;
    uint32_t fua = io->flags & BLOCK_FUA && nbd->has_fua ? LIBNBD_CMD_FLAG_FUA : 0;
    uint32_t hole = io->flags & BLOCK_MAY_UNMAP ? 0 : LIBNBD_CMD_FLAG_NO_HOLE;
    nbd_completion_callback callback = callback_for(io);
    io->progress += len;
    if (io->op == BLOCK_DISCARD)
        count_part(io, nbd_aio_trim(nbd->handle, len, offset, callback, 0));
    else if (nbd->has_zero)
        count_part(io, nbd_aio_zero(nbd->handle, len, offset, callback, fua | hole));
    else
        count_part(io, nbd_aio_pwrite(nbd->handle, nbd->zeroes, len, offset, callback, fua));
}

/* Sends the next commands of an operation. It can't settle in between: it holds a part itself. */
static void issue(struct nbd *nbd, struct block_io *io)
{
    io->parts = 1;
    if (io->step == STEP_SYNC || io->op == BLOCK_FLUSH)
        count_part(io, nbd_aio_flush(nbd->handle, callback_for(io), 0));
    else if (io->op == BLOCK_WRITE_ZEROES || io->op == BLOCK_DISCARD)
        zero_or_trim(nbd, io);
    else if (whole_blocks(nbd, io))
        transfer_pieces(nbd, io);
    else
        transfer_bounced(nbd, io);
    part_done(io, 0);
}

static void start(struct block *block, struct block_io *io)
{
    struct nbd *nbd = nbd_of(block);
    io->block = block;
    io->progress = 0;
    io->step = STEP_WORK;
    io->err = 0;
    io->bounce = NULL;
    nbd->in_flight++;
    issue(nbd, io);
}

/* Whether a settled operation has more to do; then its next step is set. */
static bool goes_on(const struct nbd *nbd, struct block_io *io)
{
    if (io->err < 0 || io->step == STEP_SYNC)
        return false;
    if (io->op == BLOCK_WRITE_ZEROES || io->op == BLOCK_DISCARD)
        if (io->progress < io->len)
            return true;
    bool writes = io->op == BLOCK_WRITE || io->op == BLOCK_WRITE_ZEROES;
    if (!writes || !(io->flags & BLOCK_FUA) || nbd->has_fua)
        return false;
    io->step = STEP_SYNC;
    return true;
}

static void finish(struct nbd *nbd, struct block_io *io)
{
    if (io->bounce && io->op == BLOCK_READ && io->err == 0)
        copy_bounce(io, true);
    free(io->bounce);
    io->bounce = NULL;
    nbd->in_flight--;
    io->done(io, io->err);
}

static void deliver(struct nbd *nbd)
{
    while (nbd->settled) {
        struct block_io *io = nbd->settled;
        nbd->settled = io->next;
        if (goes_on(nbd, io))
            issue(nbd, io);
        else
            finish(nbd, io);
    }
}

static void ready(void *argument, unsigned events);

/* Has the loop wait for what libnbd waits for. */
static void update_watch(struct nbd *nbd)
{
    unsigned direction = nbd_aio_get_direction(nbd->handle);
    unsigned events = 0;
    if (direction & LIBNBD_AIO_DIRECTION_READ)
        events |= OB_WATCH_READABLE;
    if (direction & LIBNBD_AIO_DIRECTION_WRITE)
        events |= OB_WATCH_WRITABLE;
    if (!nbd->device || nbd->watched_fd < 0 || events == nbd->watched_events)
        return;
    if (events == 0 || ob_device_watch(nbd->device, nbd->watched_fd, events, ready, nbd) < 0) {
        ob_device_unwatch(nbd->device, nbd->watched_fd);
        nbd->watched_fd = -1;
    }
    nbd->watched_events = events;
}

/* Lets libnbd work on the connection for as long as that needs no waiting; timeout_ms: how long the
 * first round may wait. Returns what nbd_poll() said last. */
static int work(struct nbd *nbd, int timeout_ms)
{
    int worked;
    do {
        worked = nbd_poll(nbd->handle, timeout_ms);
        timeout_ms = 0;
    } while (worked > 0);
    return worked;
}

static void reap(struct block *block)
{
    struct nbd *nbd = nbd_of(block);
    if (nbd->in_flight == 0)
        return;
    work(nbd, 0);
    deliver(nbd);
    update_watch(nbd);
}

static void ready(void *argument, unsigned events)
{
    struct nbd *nbd = argument;
    if (work(nbd, 0) < 0 && nbd->watched_fd >= 0) { /* the connection is gone */
        ob_device_unwatch(nbd->device, nbd->watched_fd);
        nbd->watched_fd = -1;
    }
    deliver(nbd);
    update_watch(nbd);
}

/* libnbd sends at once what the socket takes; the loop waits until it takes the rest. */
static bool submit(struct block *block)
{
    struct nbd *nbd = nbd_of(block);
    if (nbd->in_flight > 0)
        update_watch(nbd);
    return nbd->settled; /* refused at once */
}

/* A server that has stopped answering loses its connection: nothing of it may write to memory
 * afterwards. */
static void drain(struct block *block)
{
    struct nbd *nbd = nbd_of(block);
    deliver(nbd);
    while (nbd->in_flight > 0) {
        int worked = nbd_poll(nbd->handle, DRAIN_TIMEOUT_MS);
        int fd = nbd_aio_get_fd(nbd->handle);
        if (worked == 0 && fd >= 0)
            shutdown(fd, SHUT_RDWR);
        deliver(nbd);
    }
    update_watch(nbd);
}

static bool resized(struct block *block)
{
    return false; /* an export's size is told when the connection is made */
}

static int watch(struct block *block, struct ob_device *device)
{
    struct nbd *nbd = nbd_of(block);
    nbd->device = device;
    nbd->watched_fd = nbd_aio_get_fd(nbd->handle);
    nbd->watched_events = OB_WATCH_READABLE;
    return ob_device_watch(device, nbd->watched_fd, nbd->watched_events, ready, nbd);
}

static void close_block(struct block *block)
{
    struct nbd *nbd = nbd_of(block);
    nbd_close(nbd->handle);
    free(nbd);
}

static const struct block_ops ops = {
    .watch = watch,
    .start = start,
    .submit = submit,
    .reap = reap,
    .drain = drain,
    .resized = resized,
    .close = close_block,
};

/* What the export is and can. */
static int learn(struct nbd *nbd, const struct block_options *options, struct ob_fault *fault)
{
    struct nbd_handle *handle = nbd->handle;
    int64_t size = nbd_get_size(handle);
    int64_t min_block = nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM);
    if (size < 0)
        return ob_fault_set(fault, -EIO, "%s: %.150s", options->path, nbd_get_error());
    nbd->block = (struct block){.ops = &ops, .size = (uint64_t)size, .readonly = options->readonly};
    nbd->min_block = min_block > 0 ? (uint64_t)min_block : 1;
    nbd->has_fua = nbd_can_fua(handle) == 1;
    nbd->has_zero = nbd_can_zero(handle) == 1;
    nbd->block.can_discard = !options->readonly && nbd_can_trim(handle) == 1;
    if (nbd->min_block > options->block_size)
        return ob_fault_set(fault, -EINVAL, "%s has blocks of %u bytes: give block-size=4096",
                            options->path, (unsigned)nbd->min_block);
    if (!options->readonly && nbd_is_read_only(handle) == 1)
        return ob_fault_set(fault, -EROFS, "%s is read only: give 'readonly'", options->path);
    if (!options->readonly && nbd_can_flush(handle) != 1)
        return ob_fault_set(fault, -ENOTSUP,
                            "%s can't flush, so nothing written would ever be known to be stable: "
                            "give 'readonly', or serve it by a server that can",
                            options->path);
    return 0;
}

int block_nbd_open(const struct block_options *options, struct block **ret_block,
                   struct ob_fault *fault)
{
    struct nbd *nbd = calloc(1, sizeof(*nbd));
    if (!nbd)
        return ob_fault_set(fault, -ENOMEM, "no memory for %s", options->path);
    nbd->watched_fd = -1;
    nbd->handle = nbd_create();
    int err = 0;
    if (!nbd->handle)
        err = ob_fault_set(fault, -ENOMEM, "no memory for %s", options->path);
    else if (nbd_connect_uri(nbd->handle, options->path) < 0)
        err = ob_fault_set(fault, -ECONNREFUSED, "%.150s", nbd_get_error());
    else
        err = learn(nbd, options, fault);
    if (err < 0) {
        nbd_close(nbd->handle);
        free(nbd);
        return err;
    }
    *ret_block = &nbd->block;
    return 0;
}

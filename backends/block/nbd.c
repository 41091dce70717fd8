// SPDX-License-Identifier: BSD-3-Clause
/*
 * NBD exports through libnbd(3): whatever qemu-nbd or nbdkit can serve.
 *
 * The connection is made at start, then used asynchronously. NBD knows no scattered data, so a read
 * or write is one command for each piece of memory, or more if the server takes less in one,
 * straight from or to it; pieces that are not whole blocks of the export go through a buffer.
 * Callbacks, which may not call libnbd, only count; deliver() then continues the operations
 * that have more to do (further zeroes, a flush where the export has no FUA) and ends the others.
 *
 * A lost connection is made again, and meanwhile the image is away: its operations end with
 * -EAGAIN, and the caller asks again. There is one exception. A server that died may have lost
 * writes that it had acknowledged and no flush had covered, and the guest, which still counts on
 * them, would never learn. If there are such writes, all operations fail until the guest starts again.
 *
 * While no VM is there the connection is let go, behind a flush of the writes that no flush has covered: a server
 * that is to end waits for its clients. It is made again when the image is needed.
 */
#include "block/block.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/vault.h>

#include "block/nbd_before.h"
#include "block/nbd_link.h"

#define ZEROES_LEN 65536u

/* How a piece of zeroes was asked for: block_io.method. */
enum zero_method {
    ZERO_COMMAND = 0,
    ZERO_WRITE,
};

/* Where an operation is: block_io.step. */
enum step {
    STEP_WORK = 0,
    STEP_SYNC, /* a flush in the place of FUA */
};

struct nbd {
    struct block block;
    struct nbd_link link;
    struct ob_device *device;
    struct block_io *settled;   /* no command of theirs is in flight */
    struct nbd_writes own;      /* unless the device outlives its process */
    struct nbd_writes *writes;  /* those that count */
    struct nbd_before before;   /* the connection of the process before... */
    bool succeeds;              /* ...which has not come to its end */
    bool kept;                  /* the vault has this connection */
    bool refused;               /* an export that came back as another; said once */
    bool rests;                 /* no VM is there: the connection is not made again */
    bool let_go;                /* it has not gone by itself, so nothing is said of it */
    struct block_io last_flush; /* before it is let go */
    uint8_t zeroes[ZEROES_LEN];
};

static struct nbd *nbd_of(struct block *block)
{
    return (struct nbd *)block;
}

/* Writes that a guest which is told of them will count on, until a flush has made them stable. */
static void note_success(struct nbd *nbd, const struct block_io *io)
{
    bool writes = io->op == BLOCK_WRITE || io->op == BLOCK_WRITE_ZEROES;
    if (writes && !(io->flags & BLOCK_FUA))
        nbd->writes->acknowledged++;
    if (io->op == BLOCK_FLUSH && io->progress > nbd->writes->covered)
        nbd->writes->covered = io->progress;
}

static void part_done(struct block_io *io, int err)
{
    struct nbd *nbd = nbd_of(io->block);
    if (io->err == 0)
        io->err = err;
    if (--io->parts > 0)
        return;
    if (io->err == 0)
        note_success(nbd, io);
    io->next = nbd->settled;
    nbd->settled = io;
}

/* Returns 1: the command needs no further word. */
// cppcheck-suppress constParameter ; libnbd gives the type of a callback
static int completed(void *argument, int *error) // NOLINT(readability-non-const-parameter)
{
    struct block_io *io = argument;
    bool lost = *error == ENOTCONN || *error == ESHUTDOWN;
    io->block->answers += !lost;
    part_done(io, lost ? -ENOTCONN : -*error);
    return 1;
}

/* Sends a command, which counts as a part of the operation, also if the connection is gone. */
static void ask(struct nbd *nbd, struct block_io *io, const struct nbd_command *command)
{
    io->parts++;
    if (nbd_link_ask(&nbd->link, command, io) < 0)
        part_done(io, -ENOTCONN);
}

static void transfer_piece(struct nbd *nbd, struct block_io *io, void *data, size_t len,
                           uint64_t offset)
{
    bool is_read = io->op == BLOCK_READ;
    bool fua = !is_read && io->flags & BLOCK_FUA && nbd->link.export.has_fua;
    ask(nbd, io,
        &(struct nbd_command){.type = is_read ? NBD_READ : NBD_WRITE,
                              .flags = fua ? NBD_FUA : 0,
                              .offset = offset,
                              .len = len,
                              .data = data});
}

static void transfer(struct nbd *nbd, struct block_io *io, uint8_t *data, size_t len,
                     uint64_t offset)
{
    const size_t max = nbd->link.export.max_data;
    for (size_t at = 0; at < len; at += max)
        transfer_piece(nbd, io, data + at, len - at < max ? len - at : max, offset + at);
}

static bool whole_blocks(const struct nbd *nbd, const struct block_io *io)
{
    for (unsigned i = 0; i < io->iov_count; i++)
        if (io->iov[i].iov_len % nbd->link.export.min_block)
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

static uint64_t longest_effect(const struct nbd *nbd, const struct block_io *io)
{
    const struct nbd_export *export = &nbd->link.export;
    if (io->op == BLOCK_DISCARD || io->method == ZERO_COMMAND)
        return export->max_effect;
    return export->max_data < ZEROES_LEN ? export->max_data : ZEROES_LEN;
}

static void zero_or_trim(struct nbd *nbd, struct block_io *io)
{
    uint64_t offset = io->offset + io->progress;
    uint64_t left = io->len - io->progress;
    io->method = nbd->link.export.has_zero ? ZERO_COMMAND : ZERO_WRITE;
    uint64_t limit = longest_effect(nbd, io);
    uint64_t len = left < limit ? left : limit;
    uint32_t fua = io->flags & BLOCK_FUA && nbd->link.export.has_fua ? NBD_FUA : 0;
    uint32_t hole = (io->flags & BLOCK_MAY_UNMAP) ? 0 : NBD_NO_HOLE;
    struct nbd_command command = {.offset = offset, .len = len};
    io->piece = len;
    io->progress += len;
    if (io->op == BLOCK_DISCARD) {
        command.type = NBD_TRIM;
    } else if (io->method == ZERO_COMMAND) {
        command.type = NBD_ZERO;
        command.flags = fua | hole;
    } else {
        command.type = NBD_WRITE;
        command.flags = fua;
        command.data = nbd->zeroes;
    }
    ask(nbd, io, &command);
}

/* Sends the next commands of an operation. It can't settle in between: it holds a part itself. */
static void issue(struct nbd *nbd, struct block_io *io)
{
    io->parts = 1;
    if (nbd->link.state != NBD_UP)
        io->err = -ENOTCONN;
    else if (io->step == STEP_SYNC || io->op == BLOCK_FLUSH)
        ask(nbd, io, &(struct nbd_command){.type = NBD_FLUSH});
    else if (io->op == BLOCK_WRITE_ZEROES || io->op == BLOCK_DISCARD)
        zero_or_trim(nbd, io);
    else if (whole_blocks(nbd, io))
        transfer_pieces(nbd, io);
    else
        transfer_bounced(nbd, io);
    part_done(io, 0);
}

static void wake(struct nbd *nbd)
{
    if (nbd->rests && nbd->link.state == NBD_DOWN) {
        nbd_link_retry(&nbd->link);
        nbd_link_update_watch(&nbd->link);
    }
    nbd->rests = false;
}

static void begin(struct block *block, struct block_io *io)
{
    struct nbd *nbd = nbd_of(block);
    io->block = block;
    io->progress =
        io->op == BLOCK_FLUSH ? nbd->writes->acknowledged : 0; /* the writes that it will cover */
    io->step = STEP_WORK;
    io->err = 0;
    io->bounce = NULL;
    block->in_flight++;
    issue(nbd, io);
}

static void start(struct block *block, struct block_io *io)
{
    wake(nbd_of(block));
    begin(block, io);
}

/* Whether the server has refused the way in which it was asked, and not the operation: then the
 * piece is asked for in another way. Its answer is judged by the request of this piece. */
static bool is_refused(struct nbd *nbd, const struct block_io *io)
{
    struct nbd_export *export = &nbd->link.export;
    bool is_zero = io->op == BLOCK_WRITE_ZEROES && io->method == ZERO_COMMAND;
    bool is_invalid = io->err == -EINVAL || io->err == -EOVERFLOW || io->err == -ENOMEM;
    if (!is_zero && io->op != BLOCK_DISCARD)
        return false;
    if (is_invalid && io->piece > NBD_USUAL_LEN)
        export->max_effect = NBD_USUAL_LEN;
    else if (io->err == -EOPNOTSUPP && is_zero)
        export->has_zero = false;
    else
        return false;
    return true;
}

/* Asks for the last piece again if it was refused. A trim is advice, which need not be taken. */
static void reconsider(struct nbd *nbd, struct block_io *io)
{
    if (io->err == 0 || io->step == STEP_SYNC)
        return;
    if (is_refused(nbd, io)) {
        io->progress -= io->piece;
        io->err = 0;
    } else if (io->op == BLOCK_DISCARD && io->err == -EOPNOTSUPP) {
        nbd->block.can_discard = false;
        io->progress = io->len;
        io->err = 0;
    }
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
    if (!writes || !(io->flags & BLOCK_FUA) || nbd->link.export.has_fua)
        return false;
    io->step = STEP_SYNC;
    return true;
}

/* A lost connection is a medium error to the guest, unless there is hope. */
static int outcome(const struct nbd *nbd, const struct block_io *io)
{
    if (io->err == -ENOTCONN)
        return nbd->block.away ? -EAGAIN : -EIO;
    return io->err;
}

static void finish(struct nbd *nbd, struct block_io *io)
{
    if (io->bounce && io->op == BLOCK_READ && io->err == 0)
        copy_bounce(io, true);
    free(io->bounce);
    io->bounce = NULL;
    nbd->block.in_flight--;
    io->done(io, outcome(nbd, io));
}

static void deliver(struct nbd *nbd)
{
    while (nbd->settled) {
        struct block_io *io = nbd->settled;
        nbd->settled = io->next;
        reconsider(nbd, io);
        bool is_over = !goes_on(nbd, io);
        if (!is_over && nbd->block.stops) {
            io->err = -EAGAIN;
            is_over = true;
        }
        if (is_over)
            finish(nbd, io);
        else
            issue(nbd, io);
    }
}

/* The server has gone, maybe together with writes that it had acknowledged. */
static void lose(struct nbd *nbd)
{
    nbd->block.away = nbd->writes->acknowledged == nbd->writes->covered;
    ob_device_warn(nbd->device, "%.100s: the connection is lost; %s", nbd->block.name,
                   nbd->block.away ? "connecting again"
                                   : "writes that no flush had covered may be lost, so all its "
                                     "commands fail until the guest reenables the controller");
    deliver(nbd);
    nbd_link_close(&nbd->link);
    nbd->kept = false;
}

/* Requests of the time in which the connection was made have settled as refused, and are delivered while
 * the image still counts as away: they are to be asked again. */
static void come_back(struct nbd *nbd)
{
    const struct nbd_export *export = &nbd->link.export;
    deliver(nbd);
    nbd->block.away = nbd->refused = false;
    nbd->block.can_discard = !nbd->block.readonly && export->can_trim;
    if (!nbd->let_go)
        ob_device_warn(nbd->device, "%.100s: the connection is restored", nbd->block.name);
    nbd->let_go = false;
}

/* The vault gets a connection before any request is sent on it. */
static void keep(struct nbd *nbd)
{
    const unsigned number = nbd->link.options.number;
    if (!nbd->link.data || nbd->kept || nbd->succeeds || nbd->link.state != NBD_UP)
        return;
    ob_vault_keep_fd(nbd->device, NBD_VAULT_SOCKET(number), nbd_link_socket(&nbd->link));
    ob_vault_keep_fd(nbd->device, NBD_VAULT_MEMORY(number), nbd->link.memory.fd);
    if (ob_vault_commit(nbd->device) < 0)
        return; /* a message ends with a commit; then comes another turn */
    nbd->kept = true;
    nbd_data_open(nbd->link.data);
}

/* Lets libnbd work, and handles the results. As nbd_link_work(). */
static bool work(struct nbd *nbd)
{
    struct ob_fault fault = {0};
    bool was_up = nbd->link.state == NBD_UP;
    bool any = nbd_link_work(&nbd->link, &fault);
    nbd->block.signs += was_up && any;
    keep(nbd);
    if (nbd->link.state == NBD_LOST)
        lose(nbd);
    else if (nbd->link.state == NBD_UP && nbd->block.away)
        come_back(nbd);
    if (fault.code && !nbd->refused)
        ob_device_warn(nbd->device, "%.150s", fault.text);
    nbd->refused |= fault.code < 0;
    deliver(nbd);
    nbd_link_update_watch(&nbd->link);
    return any;
}

static void reap(struct block *block)
{
    struct nbd *nbd = nbd_of(block);
    if (block->in_flight > 0)
        work(nbd);
}

static void ready(void *argument, unsigned events)
{
    work(argument);
}

/* libnbd sends at once as much as the socket takes; the loop waits until it takes the rest. */
static bool submit(struct block *block)
{
    struct nbd *nbd = nbd_of(block);
    keep(nbd);
    if (block->in_flight > 0)
        nbd_link_update_watch(&nbd->link);
    return nbd->settled; /* refused at once */
}

/* A server that has stopped answering loses its connection: nothing of it may write to memory
 * afterwards. */
static void give_up(struct block *block)
{
    struct nbd *nbd = nbd_of(block);
    nbd_link_shut(&nbd->link);
    work(nbd);
}

static void let_go(struct nbd *nbd)
{
    if (nbd->link.state != NBD_UP)
        return;
    nbd_link_close(&nbd->link);
    nbd->kept = false;
    nbd->let_go = true;
    nbd->block.away = nbd->writes->acknowledged == nbd->writes->covered;
}

/* Also if the flush has failed, as it does with a server that is told to end: keeping it up would
 * save no write. A VM that runs on is told then, as when the connection is lost. */
static void flushed(struct block_io *io, int err)
{
    struct nbd *nbd = io->context;
    if (nbd->rests && nbd->block.in_flight == 0)
        let_go(nbd);
}

static void rest(struct block *block)
{
    struct nbd *nbd = nbd_of(block);
    nbd->rests = true;
    if (nbd->link.state != NBD_UP || block->in_flight > 0)
        return;
    if (nbd->writes->acknowledged == nbd->writes->covered) {
        let_go(nbd);
        return;
    }
    nbd->last_flush = (struct block_io){.op = BLOCK_FLUSH, .done = flushed, .context = nbd};
    begin(block, &nbd->last_flush);
    nbd_link_update_watch(&nbd->link);
}

/* It could not be made again after it was let go: from now on it counts as lost. */
static void tell_of_absence(struct nbd *nbd)
{
    if (!nbd->let_go || nbd->link.state != NBD_DOWN)
        return;
    nbd->let_go = false;
    ob_device_warn(nbd->device,
                   "%.100s: can't connect; the connection was closed while no VM used the image; "
                   "connecting again",
                   nbd->block.name);
}

/* An export's size is told when the connection is made. */
static bool resized(struct block *block)
{
    struct nbd *nbd = nbd_of(block);
    if (block->away && !nbd->rests) {
        tell_of_absence(nbd);
        nbd_link_retry(&nbd->link);
        work(nbd);
    }
    if (nbd->link.state != NBD_UP || nbd->link.export.size == block->size)
        return false;
    block->size = nbd->link.export.size;
    return true;
}

/* A guest that starts again counts on stable data only. */
static void restart(struct block *block)
{
    struct nbd *nbd = nbd_of(block);
    nbd->writes->covered = nbd->writes->acknowledged;
    block->away = nbd->link.state != NBD_UP;
    wake(nbd);
}

/* The server has all requests of the process before behind it. The writes that that one knew of count further:
 * a flush on this connection covers them. */
static bool barrier(struct block *block)
{
    struct nbd *nbd = nbd_of(block);
    if (!nbd->succeeds)
        return true;
    struct nbd_writes writes = {0};
    if (!nbd_before_step(&nbd->before, nbd->device, nbd->link.options.number, &writes))
        return false;
    nbd->succeeds = false;
    *nbd->writes = writes;
    keep(nbd);
    if (nbd->link.data && !nbd->kept) {
        nbd->succeeds = nbd->link.state == NBD_UP;
        return !nbd->succeeds;
    }
    if (nbd->before.lost && writes.acknowledged != writes.covered)
        nbd_link_shut(&nbd->link); /* which loses it: the guest has to hear of it */
    nbd_before_done(&nbd->before);
    work(nbd);
    return true;
}

/* The first process's connection is in the vault as soon as that is there. A later one's has no requests until
 * barrier(). */
static int watch(struct block *block, struct ob_device *device)
{
    struct nbd *nbd = nbd_of(block);
    nbd->device = device;
    if (nbd->succeeds)
        nbd_data_open(nbd->link.data);
    else
        keep(nbd);
    return nbd_link_watch(&nbd->link, device, ready, nbd);
}

static void close_block(struct block *block)
{
    struct nbd *nbd = nbd_of(block);
    nbd_before_done(&nbd->before);
    nbd_link_done(&nbd->link);
    free(nbd);
}

static const struct block_ops ops = {
    .watch = watch,
    .barrier = barrier,
    .start = start,
    .submit = submit,
    .reap = reap,
    .resized = resized,
    .restart = restart,
    .rest = rest,
    .give_up = give_up,
    .close = close_block,
};

int block_nbd_open(const struct block_options *options, struct block **ret_block,
                   struct ob_fault *fault)
{
    struct nbd *nbd = calloc(1, sizeof(*nbd));
    if (!nbd)
        return ob_fault_set(fault, -ENOMEM, "no memory for %s", options->path);
    int err = nbd_link_open(&nbd->link, options, completed, fault);
    if (err < 0) {
        free(nbd);
        return err;
    }
    nbd->block = (struct block){.ops = &ops,
                                .name = options->path,
                                .size = nbd->link.export.size,
                                .readonly = options->readonly,
                                .can_discard = !options->readonly && nbd->link.export.can_trim};
    nbd->writes = nbd->link.memory.shared ? &nbd->link.memory.shared->writes : &nbd->own;
    nbd->succeeds = options->succeeds && nbd->link.data;
    *ret_block = &nbd->block;
    return 0;
}

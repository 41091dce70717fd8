// SPDX-License-Identifier: BSD-3-Clause
/*
 * Requests: from a chain to an operation of the image, and back.
 *
 * A chain has a header of 16 bytes, the data, and a status byte at its very end. The driver may
 * split these over descriptors as it likes. The header and the ranges of a discard are copied once
 * and judged by the copy; data goes between the image and the guest's memory directly.
 *
 * An operation that ends with -EAGAIN was not done: the image is away, or the operation was stopped
 * because the queue lets go. Its request is parked and begins again later, or its chain is given
 * back unused.
 */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "blk.h"
#include "bytes.h"

#define HEADER_LEN 16u /* 0 type, 4 reserved, 8 sector */
#define SECTOR     512u

int blk_requests_init(struct blk *blk)
{
    blk->all = calloc(BLK_REQUESTS, sizeof(blk->all[0]));
    if (!blk->all)
        return -ENOMEM;
    for (unsigned i = BLK_REQUESTS; i-- > 0;) {
        blk->all[i] = (struct blk_request){.blk = blk, .next = blk->free};
        blk->free = &blk->all[i];
    }
    return 0;
}

static void hurry(struct blk_request *request, bool hurries)
{
    request->blk->hurried += (unsigned)hurries - (unsigned)request->hurries;
    request->hurries = hurries;
}

static void put(struct blk_request *request)
{
    struct blk *blk = request->blk;
    request->chain = NULL;
    request->next = blk->free;
    blk->free = request;
    blk->turnover++;
}

static void leave_queue(struct blk_request *request)
{
    request->blk->queues[request->chain->queue].in_flight--;
}

static void give_back_unused(struct blk_request *request)
{
    leave_queue(request);
    hurry(request, false);
    ob_virtio_return(request->chain);
    put(request);
}

/* The length says that all has been written, so data that was not read is cleared. */
static void clear_data(const struct ob_virtio_chain *chain)
{
    static const uint8_t zeroes[4096];
    const size_t len = chain->writable_len - 1;
    for (size_t at = 0; at < len; at += sizeof(zeroes))
        ob_virtio_write(chain, at, zeroes, len - at < sizeof(zeroes) ? len - at : sizeof(zeroes));
}

/* Ends the driver's request; the struct stays. */
static void tell(struct blk_request *request, uint8_t status)
{
    struct ob_virtio_chain *chain = request->chain;
    const size_t len = chain->writable_len;
    leave_queue(request);
    hurry(request, false);
    if (status != VIRTIO_BLK_S_OK)
        clear_data(chain);
    ob_virtio_write(chain, len - 1, &status, 1);
    ob_virtio_complete(chain, len);
    request->chain = NULL;
}

static void end(struct blk_request *request, uint8_t status)
{
    tell(request, status);
    put(request);
}

static void park(struct blk_request *request)
{
    struct blk_request **link = &request->blk->parked;
    while (*link)
        link = &(*link)->next;
    request->next = NULL;
    *link = request;
}

static void begin(struct blk_request *request);

/* Whether another range follows, which then is begun. */
static bool begin_next_segment(struct blk_request *request)
{
    if (++request->segment >= request->num_segments)
        return false;
    begin(request);
    return true;
}

/* The operation was stopped, or the image is away, for which there is another limit. */
static void stopped(struct blk_request *request)
{
    struct blk_queue *queue = &request->blk->queues[request->chain->queue];
    const bool is_away = request->blk->block->away;
    if (is_away)
        hurry(request, false);
    if (!queue->lets_go) {
        park(request);
        return;
    }
    queue->stopped += !is_away;
    give_back_unused(request);
}

/* A device without writes to it may have been opened for reading only. */
static void done(struct block_io *io, int err)
{
    struct blk_request *request =
        (struct blk_request *)((char *)io - offsetof(struct blk_request, io));
    request->blk->in_flight--;
    if (!request->chain)
        put(request);
    else if (err == -EAGAIN)
        stopped(request);
    else if (err < 0)
        end(request, VIRTIO_BLK_S_IOERR);
    else if (!begin_next_segment(request))
        end(request, VIRTIO_BLK_S_OK);
}

/* Whole blocks that exist. */
static bool has_range(const struct blk *blk, uint64_t sector, uint64_t len)
{
    const uint64_t sectors = blk->block->size / SECTOR;
    return sector <= sectors && len / SECTOR <= sectors - sector && len % blk->block_size == 0 &&
           sector * SECTOR % blk->block_size == 0;
}

/* A write is stable at once if the driver knows no flush, or has switched the cache off. */
static unsigned write_flags(const struct blk *blk)
{
    const bool flushes = blk->features & UINT64_C(1) << VIRTIO_BLK_F_FLUSH;
    return flushes && blk->writeback ? 0 : BLOCK_FUA;
}

/* Adds a piece to the list, or to the end of the last piece. False: there are too many. */
static bool add_piece(struct blk_request *request, uint8_t *address, size_t len)
{
    struct block_io *io = &request->io;
    struct iovec *last = io->iov_count > 0 ? &request->iov[io->iov_count - 1] : NULL;
    if (last && (uint8_t *)last->iov_base + last->iov_len == address) {
        last->iov_len += len;
        return true;
    }
    if (io->iov_count == BLK_IOVECS)
        return false;
    request->iov[io->iov_count++] = (struct iovec){.iov_base = address, .iov_len = len};
    return true;
}

/* Lists the pieces of memory from offset on, len bytes. -E2BIG: there are too many. */
static int list_pieces(struct blk_request *request, const struct ob_dma_span *spans,
                       unsigned num_spans, size_t offset, size_t len)
{
    request->io.iov = request->iov;
    request->io.iov_count = 0;
    for (unsigned i = 0; i < num_spans && len > 0; i++) {
        if (offset >= spans[i].len) {
            offset -= spans[i].len;
            continue;
        }
        size_t piece = spans[i].len - offset;
        if (piece > len)
            piece = len;
        if (!add_piece(request, (uint8_t *)spans[i].address + offset, piece))
            return -E2BIG;
        len -= piece;
        offset = 0;
    }
    return 0;
}

static void start(struct blk_request *request)
{
    struct blk *blk = request->blk;
    request->io.done = done;
    blk->in_flight++;
    blk->block->ops->start(blk->block, &request->io);
}

static void transfer(struct blk_request *request, uint64_t sector)
{
    const struct ob_virtio_chain *chain = request->chain;
    struct blk *blk = request->blk;
    const bool reads = request->type == VIRTIO_BLK_T_IN;
    const size_t len = reads ? chain->writable_len - 1 : chain->readable_len - HEADER_LEN;
    if (!has_range(blk, sector, len) || (!reads && blk->block->readonly)) {
        end(request, VIRTIO_BLK_S_IOERR);
        return;
    }
    if (len == 0) {
        end(request, VIRTIO_BLK_S_OK);
        return;
    }
    request->io = (struct block_io){.op = reads ? BLOCK_READ : BLOCK_WRITE,
                                    .flags = reads ? 0 : write_flags(blk),
                                    .offset = sector * SECTOR,
                                    .len = len};
    int err = reads ? list_pieces(request, chain->writable, chain->num_writable, 0, len)
                    : list_pieces(request, chain->readable, chain->num_readable, HEADER_LEN, len);
    if (err < 0)
        end(request, VIRTIO_BLK_S_IOERR);
    else
        start(request);
}

static void flush(struct blk_request *request)
{
    if (request->blk->block->readonly) {
        end(request, VIRTIO_BLK_S_OK);
        return;
    }
    request->io = (struct block_io){.op = BLOCK_FLUSH};
    start(request);
}

static void get_id(struct blk_request *request)
{
    const struct ob_virtio_chain *chain = request->chain;
    char id[VIRTIO_BLK_ID_BYTES] = {0};
    const size_t room = chain->writable_len - 1;
    memcpy(id, request->blk->serial, strlen(request->blk->serial));
    ob_virtio_write(chain, 0, id, room < sizeof(id) ? room : sizeof(id));
    end(request, VIRTIO_BLK_S_OK);
}

/* 0 sector, 8 sectors, 12 flags */
static void clear_range(struct blk_request *request)
{
    struct blk *blk = request->blk;
    const uint8_t *range = &request->segments[request->segment * BLK_SEGMENT_LEN];
    const bool zeroes = request->type == VIRTIO_BLK_T_WRITE_ZEROES;
    const uint64_t sector = get64(range), len = (uint64_t)get32(range + 8) * SECTOR;
    const uint32_t flags = get32(range + 12);
    const uint32_t known = zeroes ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
    const uint64_t limit = (uint64_t)(zeroes ? BLK_ZEROES_SECTORS : BLK_DISCARD_SECTORS) * SECTOR;
    if (flags & ~known) {
        end(request, VIRTIO_BLK_S_UNSUPP);
        return;
    }
    if (len == 0 || len > limit || !has_range(blk, sector, len)) {
        end(request, VIRTIO_BLK_S_IOERR);
        return;
    }
    request->io = (struct block_io){
        .op = zeroes ? BLOCK_WRITE_ZEROES : BLOCK_DISCARD, .offset = sector * SECTOR, .len = len};
    if (zeroes)
        request->io.flags = write_flags(blk) | (flags ? BLOCK_MAY_UNMAP : 0);
    start(request);
}

static void clear_ranges(struct blk_request *request)
{
    const struct ob_virtio_chain *chain = request->chain;
    const struct block *block = request->blk->block;
    const size_t len = chain->readable_len - HEADER_LEN;
    const bool discards = request->type == VIRTIO_BLK_T_DISCARD;
    if (block->readonly || len == 0 || len % BLK_SEGMENT_LEN || len > sizeof(request->segments)) {
        end(request, VIRTIO_BLK_S_IOERR);
        return;
    }
    request->num_segments = (unsigned)(len / BLK_SEGMENT_LEN);
    if (request->segment == 0)
        ob_virtio_read(chain, HEADER_LEN, request->segments, len);
    if (discards && !block->can_discard) /* advice that the image can't take */
        end(request, VIRTIO_BLK_S_OK);
    else
        clear_range(request);
}

static void begin(struct blk_request *request)
{
    uint8_t header[HEADER_LEN];
    ob_virtio_read(request->chain, 0, header, sizeof(header));
    if (request->num_segments > 0) { /* in the midst of ranges, whatever the header says by now */
        clear_range(request);
        return;
    }
    request->type = get32(header);
    switch (request->type) {
    case VIRTIO_BLK_T_IN:
    case VIRTIO_BLK_T_OUT:
        transfer(request, get64(header + 8));
        break;
    case VIRTIO_BLK_T_FLUSH:
        flush(request);
        break;
    case VIRTIO_BLK_T_GET_ID:
        get_id(request);
        break;
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        clear_ranges(request);
        break;
    default:
        end(request, VIRTIO_BLK_S_UNSUPP);
        break;
    }
}

/* A chain without a whole header, or without a place for the status, can't be answered. */
static bool is_request(const struct blk *blk, const struct ob_virtio_chain *chain)
{
    if (chain->readable_len >= HEADER_LEN && chain->writable_len > 0)
        return true;
    ob_virtio_fail(blk->device,
                   "queue %u: got a request of %zu and %zu bytes, expected at least %u to read and "
                   "1 to write",
                   chain->queue, chain->readable_len, chain->writable_len, HEADER_LEN);
    return false;
}

static void begin_chain(struct blk *blk, struct ob_virtio_chain *chain)
{
    struct blk_request *request = blk->free;
    blk->free = request->next;
    request->chain = chain;
    request->since_ms = block_clock_ms();
    request->segment = request->num_segments = 0;
    struct blk_queue *queue = &blk->queues[chain->queue];
    hurry(request, queue->stopped > 0); /* those that were given back come first */
    queue->stopped -= request->hurries;
    queue->in_flight++;
    blk->turnover++;
    if (blk->block->away || blk->succession.waits)
        park(request);
    else
        begin(request);
}

bool blk_requests_take(struct blk *blk, unsigned queue)
{
    struct blk_queue *of = &blk->queues[queue];
    for (unsigned i = 0; i < BLK_BURST; i++) {
        of->starved = !blk->free;
        struct ob_virtio_chain *chain = of->starved ? NULL : ob_virtio_take(blk->device, queue);
        if (!chain)
            return false;
        if (is_request(blk, chain))
            begin_chain(blk, chain);
        else
            ob_virtio_complete(chain, 0);
    }
    return true;
}

/* Takes all that are parked; those that can't begin yet are parked again. */
static struct blk_request *unpark(struct blk *blk)
{
    struct blk_request *first = blk->parked;
    blk->parked = NULL;
    return first;
}

void blk_requests_retry(struct blk *blk)
{
    struct blk_request *next;
    if (blk->block->away || blk->block->stops || blk->succession.waits)
        return;
    for (struct blk_request *request = unpark(blk); request; request = next) {
        next = request->next;
        begin(request);
    }
}

void blk_requests_expire(struct blk *blk, uint64_t now_ms)
{
    struct blk_request *next;
    for (struct blk_request *request = unpark(blk); request; request = next) {
        next = request->next;
        if (now_ms - request->since_ms >= blk->timeout_ms)
            end(request, VIRTIO_BLK_S_IOERR);
        else
            park(request);
    }
}

void blk_requests_return(struct blk *blk, unsigned queue)
{
    struct blk_request *next;
    for (struct blk_request *request = unpark(blk); request; request = next) {
        next = request->next;
        if (request->chain->queue == queue)
            give_back_unused(request);
        else
            park(request);
    }
}

void blk_requests_abandon(struct blk *blk)
{
    struct blk_request *next;
    for (struct blk_request *request = unpark(blk); request; request = next) {
        next = request->next;
        if (request->hurries)
            end(request, VIRTIO_BLK_S_IOERR);
        else
            park(request);
    }
    for (unsigned i = 0; i < BLK_REQUESTS; i++) {
        struct blk_request *request = &blk->all[i];
        if (request->chain && (request->hurries || blk->queues[request->chain->queue].lets_go))
            tell(request, VIRTIO_BLK_S_IOERR);
    }
}

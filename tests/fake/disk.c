// SPDX-License-Identifier: BSD-3-Clause
#include "fake/disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void must(bool holds)
{
    if (!holds)
        abort();
}

static struct fake_disk *fake_of(struct block *block)
{
    return (struct fake_disk *)block;
}

static int watch(struct block *block, struct ob_device *device)
{
    return 0;
}

static void check_data(const struct block_io *io)
{
    uint64_t len = 0;
    must(io->iov_count > 0);
    for (unsigned i = 0; i < io->iov_count; i++) {
        must(io->iov[i].iov_len > 0);
        len += io->iov[i].iov_len;
    }
    must(len == io->len);
}

static bool has(const struct block *block, const struct block_io *io)
{
    return io->offset <= block->size && io->len <= block->size - io->offset;
}

/* A command of several pieces is checked when it is begun, and the image may shrink before the last
 * of them. No piece of such a command writes data. */
static bool may_come_late(const struct fake_disk *fake, const struct block_io *io)
{
    return fake->new_size != 0 && (io->op == BLOCK_READ || io->op == BLOCK_DISCARD);
}

static void start(struct block *block, struct block_io *io)
{
    struct fake_disk *fake = fake_of(block);
    must(fake->pending_count < FAKE_DISK_PENDING && io->done);
    must(has(block, io) || may_come_late(fake, io));
    must(!block->readonly || io->op == BLOCK_READ);
    if (io->op == BLOCK_READ || io->op == BLOCK_WRITE)
        check_data(io);
    if (io->op == BLOCK_WRITE && io->flags & BLOCK_FUA)
        fake->fua_count++;
    io->block = block;
    fake->pending[fake->pending_count++] = io;
    block->in_flight++;
}

static void move_data(struct fake_disk *fake, const struct block_io *io)
{
    uint8_t *at = fake->data + io->offset;
    for (unsigned i = 0; i < io->iov_count; i++) {
        if (io->op == BLOCK_READ)
            memcpy(io->iov[i].iov_base, at, io->iov[i].iov_len);
        else
            memcpy(at, io->iov[i].iov_base, io->iov[i].iov_len);
        at += io->iov[i].iov_len;
    }
}

void fake_disk_finish(struct fake_disk *fake, unsigned index, int err)
{
    if (fake->pending_count == 0)
        return;
    index %= fake->pending_count;
    struct block_io *io = fake->pending[index];
    fake->pending[index] = fake->pending[--fake->pending_count];
    if (err == 0 && !has(&fake->block, io))
        err = -EIO;
    if (err == 0 && (io->op == BLOCK_READ || io->op == BLOCK_WRITE))
        move_data(fake, io);
    else if (err == 0 && (io->op == BLOCK_WRITE_ZEROES || io->op == BLOCK_DISCARD))
        memset(fake->data + io->offset, 0, io->len);
    else if (err == 0)
        fake->flushes++;
    fake->block.in_flight--;
    fake->block.answers++;
    io->done(io, err);
}

static void finish_all(struct fake_disk *fake)
{
    while (fake->pending_count > 0)
        fake_disk_finish(fake, 0, 0);
}

static void reap(struct block *block)
{
    struct fake_disk *fake = fake_of(block);
    if (!fake->holds)
        finish_all(fake);
}

void fake_disk_finish_all(struct fake_disk *fake)
{
    if (!fake->hangs)
        finish_all(fake);
}

static bool submit(struct block *block)
{
    return false;
}

static bool resized(struct block *block)
{
    uint64_t size = fake_of(block)->new_size;
    if (size == 0 || size == block->size)
        return false;
    block->size = size;
    return true;
}

static void close_block(struct block *block)
{
    struct fake_disk *fake = fake_of(block);
    must(fake->pending_count == 0 && !fake->closed);
    fake->closed = true;
}

void fake_disk_init(struct fake_disk *fake, uint8_t fill)
{
    static const struct block_ops ops = {
        .watch = watch,
        .start = start,
        .submit = submit,
        .reap = reap,
        .resized = resized,
        .close = close_block,
    };
    *fake = (struct fake_disk){
        .block = {.ops = &ops,
                  .name = "fake",
                  .size = FAKE_DISK_LEN,
                  .can_discard = true,
                  .zeroes_discarded = true},
    };
    memset(fake->data, fill, sizeof(fake->data));
}

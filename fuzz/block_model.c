// SPDX-License-Identifier: BSD-3-Clause
#include "block_model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "device/device.h"

/* What is written: it differs from operation to operation. */
static uint8_t fill_of(const struct model *model, const struct model_area *area)
{
    return (uint8_t)(1 + (model->ended * MODEL_AREAS + (unsigned)(area - model->areas)) % 255);
}

static int watch(void *context, int fd, unsigned events, ob_watch_fn ready, void *argument)
{
    return 0;
}

static void unwatch(void *context, int fd)
{
}

static void warn(void *context, const char *kind, const char *sentence)
{
}

struct ob_device *model_device_new(void)
{
    static const struct ob_device_desc desc = {.name = "fuzz"};
    static const struct ob_device_ops ops = {0};
    static const struct server_host host = {.watch = watch, .unwatch = unwatch, .warn = warn};
    struct ob_device *device = NULL;
    CHECK(device_new(&desc, &ops, NULL, &host, &device, NULL) == 0);
    return device;
}

void model_init(struct model *model, struct block *block, uint8_t *image)
{
    *model = (struct model){.block = block, .image = image};
}

static bool is_filled(const uint8_t *at, size_t len, uint8_t byte)
{
    for (size_t i = 0; i < len; i++)
        if (at[i] != byte)
            return false;
    return true;
}

static void check_data(const struct model *model, const struct model_area *area)
{
    const struct block_io *io = &area->io;
    const uint8_t *at = model->image + io->offset;
    if (io->op == BLOCK_READ)
        CHECK(memcmp(area->buffer, at, io->len) == 0);
    else if (io->op == BLOCK_WRITE)
        CHECK(memcmp(area->buffer, at, io->len) == 0);
    else if (io->op == BLOCK_WRITE_ZEROES)
        CHECK(is_filled(at, io->len, 0));
}

static void done(struct block_io *io, int err)
{
    struct model *model = io->context;
    struct model_area *area = (struct model_area *)((char *)io - offsetof(struct model_area, io));
    CHECK(area->is_busy && !model->is_starting && err <= 0);
    CHECK(err != -EAGAIN || model->block->away || model->block->stops);
    if (err == 0)
        check_data(model, area);
    free(area->buffer);
    area->buffer = NULL;
    area->is_busy = false;
    model->ended++;
    model->failed += err < 0;
}

/* Cuts the buffer into up to three pieces, of which the bytes say how long they are. */
static void describe_data(struct model_area *area, uint8_t cut)
{
    size_t left = area->io.len;
    uint8_t *at = area->buffer;
    unsigned count = 0;
    for (; count < 2 && left > MODEL_SECTOR; count++) {
        size_t len = cut & 1 ? left / 2 - left / 2 % 4 : MODEL_SECTOR;
        area->iov[count] = (struct iovec){at, len};
        at += len;
        left -= len;
        cut >>= 1;
    }
    area->iov[count++] = (struct iovec){at, left};
    area->io.iov = area->iov;
    area->io.iov_count = count;
}

void model_start(struct model *model, const uint8_t bytes[4])
{
    static const enum block_op ops[] = {BLOCK_READ,    BLOCK_WRITE,        BLOCK_FLUSH,
                                        BLOCK_DISCARD, BLOCK_WRITE_ZEROES, BLOCK_WRITE,
                                        BLOCK_READ,    BLOCK_WRITE_ZEROES};
    unsigned number = bytes[0] >> 3 & 7;
    struct model_area *area = &model->areas[number];
    if (area->is_busy)
        return;
    unsigned sectors = MODEL_AREA_LEN / MODEL_SECTOR;
    unsigned first = bytes[1] % sectors;
    unsigned count = 1 + bytes[2] % (sectors - first);
    bool is_flush = ops[bytes[0] & 7] == BLOCK_FLUSH;
    area->io = (struct block_io){
        .op = ops[bytes[0] & 7], .flags = bytes[3] & 3, .done = done, .context = model};
    if (!is_flush) {
        area->io.offset = (uint64_t)number * MODEL_AREA_LEN + first * MODEL_SECTOR;
        area->io.len = (uint64_t)count * MODEL_SECTOR;
    }
    if (area->io.op == BLOCK_READ || area->io.op == BLOCK_WRITE) {
        area->buffer = malloc(area->io.len);
        CHECK(area->buffer);
        memset(area->buffer, fill_of(model, area), area->io.len);
        describe_data(area, bytes[3] >> 2);
    }
    area->is_busy = model->is_starting = true;
    model->block->ops->start(model->block, &area->io);
    model->is_starting = false;
}

unsigned model_busy(const struct model *model)
{
    unsigned busy = 0;
    for (unsigned i = 0; i < MODEL_AREAS; i++)
        busy += model->areas[i].is_busy;
    return busy;
}

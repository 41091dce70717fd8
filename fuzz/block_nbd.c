// SPDX-License-Identifier: BSD-3-Clause
/*
 * The NBD back end before a libnbd that answers in any order, with any errno, dies and comes back
 * as a server that can do other things.
 *
 * Besides what block_model.h says: no command is longer or less aligned than the server takes; a
 * server that has died with writes that no flush had covered is not counted on until the guest
 * starts anew; and whatever has happened, in the end everything ends.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block_model.h"
#include "check.h"
#include "device/device.h"
#include "fake/libnbd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEP_LEN 4u

enum step {
    STEP_START = 0, /* up to 7 */
    STEP_ANSWER = 8,
    STEP_DIE,
    STEP_RETRY,
    STEP_CHANGE,
    STEP_RESTART,
    STEP_GIVE_UP,
    STEP_STOP,
    STEP_ABSENT,
};

struct run {
    struct model model;
    struct block *block;
    struct ob_device *device;
};

static void serve(uint8_t can, uint8_t sizes)
{
    static const int64_t most[] = {0, 512, 4096, 65536};
    fake_nbd.size = MODEL_LEN;
    fake_nbd.has_fua = can & 1;
    fake_nbd.has_zero = can & 2;
    fake_nbd.can_trim = can & 4;
    fake_nbd.min_block = can & 8 ? 512 : 0;
    fake_nbd.preferred = can & 16 ? 4096 : 0;
    fake_nbd.max_data = most[sizes & 3];
    fake_nbd.longest_effect = sizes & 4 ? 4096 : UINT64_MAX;
    fake_nbd.is_absent = false;
}

static void answer(const uint8_t bytes[STEP_LEN])
{
    static const int errors[] = {0, 0, 0, 0, EIO, EINVAL, ENOTSUP, ENOSPC, ESHUTDOWN, ENOMEM, 0, 0};
    fake_nbd.answers = 1 + bytes[1] % 4;
    fake_nbd.pick = bytes[2];
    fake_nbd.err = errors[bytes[3] % (sizeof(errors) / sizeof(errors[0]))];
}

static void take_step(struct run *run, const uint8_t bytes[STEP_LEN])
{
    struct block *block = run->block;
    const uint8_t operation[4] = {bytes[1], bytes[2], bytes[3], bytes[0] >> 4};
    switch (bytes[0] % 16) {
    case STEP_ANSWER:
        answer(bytes);
        break;
    case STEP_DIE:
        fake_nbd_die();
        break;
    case STEP_RETRY:
        block->ops->resized(block);
        break;
    case STEP_CHANGE:
        if (block->away) /* what is there when the link is made again */
            serve(bytes[1], bytes[2]);
        break;
    case STEP_RESTART:
        block->ops->restart(block);
        break;
    case STEP_GIVE_UP:
        block->ops->give_up(block);
        CHECK(fake_nbd.pending == 0);
        break;
    case STEP_STOP:
        block->stops = bytes[1] & 1;
        break;
    case STEP_ABSENT:
        fake_nbd.is_absent = bytes[1] & 1;
        break;
    default:
        model_start(&run->model, operation);
        break;
    }
    block->ops->submit(block);
    block->ops->reap(block);
    CHECK(block->in_flight >= model_busy(&run->model));
}

static void finish(struct run *run)
{
    struct block *block = run->block;
    block->stops = false;
    for (unsigned i = 0; i < 10000 && block->in_flight > 0; i++) {
        fake_nbd.answers = 64;
        fake_nbd.err = 0;
        block->ops->reap(block);
    }
    CHECK(block->in_flight == 0 && model_busy(&run->model) == 0 && fake_nbd.pending == 0);
    block->ops->close(block);
    device_free(run->device);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct block_options options = {.path = "nbd://fake", .block_size = 512};
    struct run run = {0};
    struct ob_fault fault = {0};
    if (size < 2)
        return 0;
    memset(&fake_nbd, 0, sizeof(fake_nbd));
    for (size_t i = 0; i < MODEL_LEN; i++)
        fake_nbd.data[i] = (uint8_t)(i / MODEL_SECTOR);
    serve(data[0], data[1]);
    CHECK(block_nbd_open(&options, &run.block, &fault) == 0);
    run.device = model_device_new();
    CHECK(run.block->ops->watch(run.block, run.device) == 0);
    model_init(&run.model, run.block, fake_nbd.data);
    for (size_t at = 2; at + STEP_LEN <= size; at += STEP_LEN)
        take_step(&run, data + at);
    finish(&run);
    return 0;
}

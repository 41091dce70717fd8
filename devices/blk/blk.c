// SPDX-License-Identifier: BSD-3-Clause
#include "blk.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"

#define BIT(number) (UINT64_C(1) << (number))
#define NS_PER_MS   UINT64_C(1000000)
#define SECTOR      512u
#define CLASS_DISK  0x010000u /* mass storage */

/* Bytes of configuration space: all fields up to those of write zeroes. */
#define CONFIG_LEN 60u

static uint64_t offered(const struct blk *blk)
{
    const struct block *block = blk->block;
    uint64_t features = BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_BLK_SIZE) |
                        BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_TOPOLOGY) |
                        BIT(VIRTIO_BLK_F_CONFIG_WCE);
    if (blk->num_queues > 1)
        features |= BIT(VIRTIO_BLK_F_MQ);
    if (block->readonly)
        return features | BIT(VIRTIO_BLK_F_RO);
    features |= BIT(VIRTIO_BLK_F_WRITE_ZEROES);
    return block->can_discard ? features | BIT(VIRTIO_BLK_F_DISCARD) : features;
}

#define AT(field) (to + offsetof(struct virtio_blk_config, field))

/* Files and disks work best in pages of 4096 bytes. */
static void config(void *state, uint8_t *to)
{
    const struct blk *blk = state;
    const uint32_t sectors = blk->block_size / SECTOR;
    const uint8_t exponent = blk->block_size == 4096 ? 0 : 3;
    memset(to, 0, CONFIG_LEN);
    put64(AT(capacity), blk->block->size / SECTOR);
    put32(AT(seg_max), BLK_SEG_MAX);
    put32(AT(blk_size), blk->block_size);
    *AT(physical_block_exp) = exponent;
    put16(AT(min_io_size), (uint16_t)(1u << exponent));
    *AT(wce) = blk->writeback;
    put16(AT(num_queues), (uint16_t)blk->num_queues);
    put32(AT(max_discard_sectors), BLK_DISCARD_SECTORS);
    put32(AT(max_discard_seg), BLK_SEGMENTS);
    put32(AT(discard_sector_alignment), sectors);
    put32(AT(max_write_zeroes_sectors), BLK_ZEROES_SECTORS);
    put32(AT(max_write_zeroes_seg), BLK_SEGMENTS);
    *AT(write_zeroes_may_unmap) = blk->block->can_discard;
}

static void config_written(void *state, size_t offset, const uint8_t *bytes, size_t len)
{
    struct blk *blk = state;
    const size_t at = offsetof(struct virtio_blk_config, wce);
    if (!(blk->features & BIT(VIRTIO_BLK_F_CONFIG_WCE)) || offset > at || at - offset >= len)
        return;
    blk->writeback = bytes[at - offset] & 1;
}

/* A driver that can't switch the cache has one if it flushes. */
static int negotiated(void *state, uint64_t features)
{
    struct blk *blk = state;
    blk->features = features;
    blk->writeback = features & BIT(VIRTIO_BLK_F_FLUSH);
    return 0;
}

static void look_in(struct blk *blk, unsigned ms)
{
    ob_timer_set(blk->look_timer, ob_timer_now_ns() + ms * NS_PER_MS);
}

static unsigned look_period_ms(const struct blk *blk)
{
    return blk->timeout_ms / 4 < BLOCK_LOOK_MS ? blk->timeout_ms / 4 : BLOCK_LOOK_MS;
}

static void started(void *state)
{
    struct blk *blk = state;
    if (blk->block->ops->restart)
        blk->block->ops->restart(blk->block);
    block_silence_begin(&blk->silence, blk->block, block_clock_ms());
    look_in(blk, look_period_ms(blk));
}

static bool notified(void *state, unsigned queue)
{
    struct blk *blk = state;
    blk->queues[queue].lets_go = false; /* else there would be no chain */
    return blk_requests_take(blk, queue);
}

static void forget_chains(struct blk_queue *queue)
{
    queue->lets_go = queue->starved = false;
    queue->stopped = 0;
}

static void queue_started(void *state, unsigned queue)
{
    struct blk *blk = state;
    forget_chains(&blk->queues[queue]);
}

static bool any_is_awaited(const struct blk *blk)
{
    if (blk->hurried > 0)
        return true;
    for (unsigned i = 0; i < blk->num_queues; i++)
        if (blk->queues[i].lets_go && blk->queues[i].in_flight > 0)
            return true;
    return false;
}

/* Queues that let go wait for the image, for BLOCK_DRAIN_MS at most. Then their chains go back,
 * and the image's operations end later, or are given up. The same limit holds for chains that come again
 * after they were given back: a queue that ends over vhost-user may need them completed. */
static void update_drain(struct blk *blk)
{
    if (blk->hurried > 0 && !blk->drain.runs)
        block_drain_begin(&blk->drain, &blk->block, 1, BLOCK_DRAIN_MS, block_clock_ms());
    if (!blk->drain.runs)
        return;
    if (!any_is_awaited(blk)) {
        block_drain_end(&blk->drain);
        ob_timer_cancel(blk->drain_timer);
    } else if (block_drain_step(&blk->drain, block_clock_ms())) {
        blk->block->ops->reap(blk->block);
        blk_requests_abandon(blk);
    } else {
        ob_timer_set(blk->drain_timer, block_drain_next_ms(&blk->drain) * NS_PER_MS);
    }
}

static void drain_due(void *argument)
{
    update_drain(argument);
}

static void let_go(void *state, unsigned queue)
{
    struct blk *blk = state;
    blk->queues[queue].lets_go = true;
    if (blk->succession.waits) /* then succession.c does the rest */
        return;
    blk_requests_return(blk, queue);
    if (!blk->drain.runs && blk->queues[queue].in_flight > 0)
        block_drain_begin(&blk->drain, &blk->block, 1, BLOCK_DRAIN_MS, block_clock_ms());
    update_drain(blk);
}

static void queue_stopped(void *state, unsigned queue)
{
    struct blk *blk = state;
    forget_chains(&blk->queues[queue]);
    update_drain(blk);
}

static void reset(void *state)
{
    struct blk *blk = state;
    blk->features = 0;
    blk->writeback = true;
    ob_timer_cancel(blk->look_timer);
}

static bool was_active(struct blk *blk)
{
    const unsigned before = blk->seen_turnover;
    blk->seen_turnover = blk->turnover;
    return blk->seen_turnover != before;
}

static bool poll(void *state)
{
    struct blk *blk = state;
    struct block *block = blk->block;
    bool more = false;
    block->ops->reap(block);
    if (!blk->paused) {
        blk_requests_retry(blk);
        for (unsigned i = 0; i < blk->num_queues && blk->free; i++)
            if (blk->queues[i].starved)
                more |= blk_requests_take(blk, i);
    }
    more |= block->ops->submit(block);
    block->ops->reap(block); /* reads of the page cache have ended already */
    more |= block->ops->submit(block);
    update_drain(blk);
    return was_active(blk) || more;
}

static bool has_io_in_flight(void *state)
{
    const struct blk *blk = state;
    return blk->in_flight > 0;
}

static void pause(void *state, bool paused)
{
    struct blk *blk = state;
    blk->paused = paused;
    for (unsigned i = 0; i < blk->num_queues && !paused; i++)
        blk->queues[i].stopped = 0; /* nobody waits for them now */
    if (!paused)
        block_silence_begin(&blk->silence, blk->block, block_clock_ms());
}

/* Operations that the image has begun must end. A late write would undo the next one to the same
 * blocks, which a successor has carried out meanwhile. */
static int at_rest(void *state, struct ob_fault *fault)
{
    const struct blk *blk = state;
    if (blk->in_flight == 0)
        return 1;
    if (!blk->late || blk->block->ops->give_up)
        return 0;
    return ob_fault_set(
        fault, -ETIMEDOUT,
        "image %.80s does not answer, so the device can't stop; try again when it answers",
        blk->block->name);
}

static void disconnected(void *state)
{
    struct blk *blk = state;
    ob_timer_cancel(blk->look_timer);
    if (blk->block->ops->rest && blk->in_flight == 0)
        blk->block->ops->rest(blk->block);
}

/* Times are as exact as the timer: an operation that began after its last round seems older than
 * it is. */
static void look_for_silence(struct blk *blk, uint64_t now_ms)
{
    struct block *block = blk->block;
    const bool silent =
        block_is_silent(&blk->silence, block, now_ms, blk->timeout_ms + look_period_ms(blk));
    if (silent && !blk->late)
        ob_device_warn(blk->device, "image %.80s has not answered for %u ms; %s", block->name,
                       blk->timeout_ms,
                       block->ops->give_up ? "its requests are given up"
                                           : "its requests stay outstanding until it does");
    if (silent && block->ops->give_up)
        block->ops->give_up(block);
    if (!silent && blk->late && !block->ops->give_up)
        ob_device_warn(blk->device, "image %.80s answers again", block->name);
    blk->late = silent;
}

static void look_due(void *argument)
{
    struct blk *blk = argument;
    const uint64_t now_ms = block_clock_ms();
    look_in(blk, look_period_ms(blk));
    look_for_silence(blk, now_ms);
    if (blk->paused)
        return;
    if (blk->block->ops->resized(blk->block))
        ob_virtio_config_changed(blk->device);
    if (!blk->succession.waits)
        blk_requests_expire(blk, now_ms);
}

static int new_device(struct blk *blk, const struct blk_options *options, struct ob_fault *fault)
{
    static const struct ob_virtio_ops ops = {.size = sizeof(ops),
                                             .notified = notified,
                                             .negotiated = negotiated,
                                             .started = started,
                                             .queue_started = queue_started,
                                             .let_go = let_go,
                                             .queue_stopped = queue_stopped,
                                             .reset = reset,
                                             .config = config,
                                             .config_written = config_written,
                                             .poll = poll,
                                             .has_io_in_flight = has_io_in_flight,
                                             .pause = pause,
                                             .at_rest = at_rest,
                                             .disconnected = disconnected};
    struct ob_virtio_queue queues[BLK_QUEUES];
    for (unsigned i = 0; i < blk->num_queues; i++)
        queues[i] = (struct ob_virtio_queue){.size = (uint16_t)options->queue_size,
                                             .max_segments = BLK_SEG_MAX + 2};
    const struct ob_virtio_desc desc = {.size = sizeof(desc),
                                        .name = "blk",
                                        .type = VIRTIO_ID_BLOCK,
                                        .class_code = CLASS_DISK,
                                        .features = offered(blk),
                                        .queues = queues,
                                        .num_queues = blk->num_queues,
                                        .config_len = CONFIG_LEN,
                                        .migratable = true,
                                        .unordered_queues = true};
    return ob_virtio_new(&desc, &ops, blk, &blk->device, fault);
}

static int set_up(struct blk *blk, struct ob_fault *fault)
{
    int err = ob_timer_new(blk->device, look_due, blk, &blk->look_timer, fault);
    if (err == 0)
        err = ob_timer_new(blk->device, drain_due, blk, &blk->drain_timer, fault);
    if (err == 0)
        err = blk->block->ops->watch(blk->block, blk->device);
    if (err == 0)
        err = blk_succession_init(blk);
    return err < 0 ? ob_fault_set(fault, err, "can't watch the image: %s", strerror(-err)) : 0;
}

int blk_new(const struct blk_options *options, struct blk **ret_blk, struct ob_device **ret_device,
            struct ob_fault *fault)
{
    struct blk *blk = calloc(1, sizeof(*blk));
    if (!blk)
        return ob_fault_set(fault, -ENOMEM, "no memory for the device");
    blk->block = options->block;
    blk->num_queues = options->num_queues;
    blk->block_size = options->block_size;
    blk->timeout_ms = options->timeout_ms;
    blk->writeback = true;
    snprintf(blk->serial, sizeof(blk->serial), "%s", options->serial);
    int err = blk_requests_init(blk);
    if (err < 0)
        ob_fault_set(fault, err, "no memory for the device's requests");
    if (err == 0)
        err = new_device(blk, options, fault);
    if (err == 0)
        err = set_up(blk, fault);
    if (err < 0) {
        ob_device_free(blk->device);
        blk->block = NULL;
        blk_free(blk);
        return err;
    }
    *ret_blk = blk;
    *ret_device = blk->device;
    return 0;
}

void blk_free(struct blk *blk)
{
    if (!blk || blk->in_flight > 0)
        return;
    if (blk->block)
        blk->block->ops->close(blk->block);
    ob_timer_free(blk->look_timer);
    ob_timer_free(blk->drain_timer);
    ob_timer_free(blk->succession.timer);
    free(blk->all);
    free(blk);
}

// SPDX-License-Identifier: BSD-3-Clause
/* The part that is the same for every image: how long its answers are awaited. */
#include "block/block.h"

#include <time.h>

uint64_t block_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Whether there is something to wait for. */
static bool is_awaited(const struct block *block)
{
    return block->in_flight > 0 && !(block->stuck && block->stuck_at == block->answers);
}

static unsigned count_awaited(struct block *const blocks[], unsigned count)
{
    unsigned awaited = 0;
    for (unsigned i = 0; i < count; i++)
        awaited += is_awaited(blocks[i]);
    return awaited;
}

static void set_stops(struct block *const blocks[], unsigned count, bool stops)
{
    for (unsigned i = 0; i < count; i++) {
        blocks[i]->stops = stops;
        if (stops && blocks[i]->in_flight > 0 && blocks[i]->ops->stop)
            blocks[i]->ops->stop(blocks[i]);
    }
}

static void give_up(struct block *block)
{
    if (is_awaited(block) && block->ops->give_up)
        block->ops->give_up(block);
    block->stuck = block->in_flight > 0;
    block->stuck_at = block->answers;
}

void block_drain_begin(struct block_drain *drain, struct block *const blocks[], unsigned count,
                       unsigned timeout_ms, uint64_t now_ms)
{
    *drain = (struct block_drain){.blocks = blocks,
                                  .count = count,
                                  .runs = true,
                                  .stop_ms = now_ms + timeout_ms / 2,
                                  .end_ms = now_ms + timeout_ms};
    for (unsigned i = 0; i < count; i++)
        if (blocks[i]->in_flight > 0)
            blocks[i]->ops->reap(blocks[i]);
}

void block_drain_end(struct block_drain *drain)
{
    if (drain->stops)
        set_stops(drain->blocks, drain->count, false);
    drain->runs = drain->stops = false;
}

bool block_drain_step(struct block_drain *drain, uint64_t now_ms)
{
    if (!drain->runs)
        return true;
    if (count_awaited(drain->blocks, drain->count) > 0 && !drain->stops &&
        now_ms >= drain->stop_ms) {
        drain->stops = true;
        set_stops(drain->blocks, drain->count, true);
    }
    if (count_awaited(drain->blocks, drain->count) > 0) {
        if (now_ms < drain->end_ms)
            return false;
        for (unsigned i = 0; i < drain->count; i++)
            give_up(drain->blocks[i]);
    }
    block_drain_end(drain);
    return true;
}

uint64_t block_drain_next_ms(const struct block_drain *drain)
{
    return drain->stops ? drain->end_ms : drain->stop_ms;
}

void block_silence_begin(struct block_silence *silence, const struct block *block, uint64_t now_ms)
{
    *silence = (struct block_silence){
        .answers = block->answers, .answered_ms = now_ms, .signs = block->signs, .sign_ms = now_ms};
}

bool block_is_silent(struct block_silence *silence, const struct block *block, uint64_t now_ms,
                     unsigned timeout_ms)
{
    bool idle = block->in_flight == 0;
    if (idle || silence->answers != block->answers)
        silence->answered_ms = silence->sign_ms = now_ms;
    if (silence->signs != block->signs)
        silence->sign_ms = now_ms;
    silence->answers = block->answers;
    silence->signs = block->signs;
    return now_ms - silence->sign_ms >= timeout_ms ||
           now_ms - silence->answered_ms >= (uint64_t)timeout_ms * BLOCK_ANSWER_FACTOR;
}

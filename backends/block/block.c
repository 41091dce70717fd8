// SPDX-License-Identifier: BSD-3-Clause
/* What holds for every image: how long it is waited for. */
#include "block/block.h"

#include <time.h>

/* Several blocks take turns of this length. */
#define TURN_MS 5u

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

static void wait_for_all(struct block *const blocks[], unsigned count, uint64_t end_ms)
{
    uint64_t now_ms = block_clock_ms();
    while (count_awaited(blocks, count) > 0 && now_ms < end_ms) {
        for (unsigned i = 0; i < count; i++) {
            uint64_t left_ms = now_ms < end_ms ? end_ms - now_ms : 0;
            bool alone = count_awaited(blocks, count) == 1;
            if (is_awaited(blocks[i]))
                blocks[i]->ops->wait(blocks[i],
                                     alone || left_ms < TURN_MS ? (unsigned)left_ms : TURN_MS);
            now_ms = block_clock_ms();
        }
    }
}

static void give_up(struct block *block)
{
    if (is_awaited(block) && block->ops->give_up)
        block->ops->give_up(block);
    block->stuck = block->in_flight > 0;
    block->stuck_at = block->answers;
}

void blocks_drain(struct block *const blocks[], unsigned count, unsigned timeout_ms)
{
    const uint64_t begin_ms = block_clock_ms();
    for (unsigned i = 0; i < count; i++)
        if (blocks[i]->in_flight > 0)
            blocks[i]->ops->wait(blocks[i], 0);
    wait_for_all(blocks, count, begin_ms + timeout_ms / 2);
    if (count_awaited(blocks, count) == 0)
        return;
    set_stops(blocks, count, true);
    wait_for_all(blocks, count, begin_ms + timeout_ms);
    for (unsigned i = 0; i < count; i++)
        give_up(blocks[i]);
    set_stops(blocks, count, false);
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

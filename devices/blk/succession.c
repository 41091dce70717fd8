// SPDX-License-Identifier: BSD-3-Clause
/*
 * How another process continues when this one has died, if there is a vault.
 *
 * The library keeps the queues (outboard/vault.h): a chain that was not completed is taken again, and
 * its request begins again. One that was completed is never repeated.
 *
 * Requests of the dead process may still be on their way to the image. Until the image's barrier says
 * that none is, chains are taken and parked, and nothing is started. A queue that is to stop waits with
 * its chains for that too, for LONG_WAIT_MS at most: memory of the guest is its own again only when
 * no request of any process writes there.
 */
#include <errno.h>

#include <outboard/vault.h>

#include "blk.h"

#define NS_PER_MS     UINT64_C(1000000)
#define LOOK_EVERY_MS 2u
#define LONG_WAIT_MS  3000u

static int save(void *state, void *ret_bytes)
{
    struct blk *blk = state;
    blk->succession.writeback = blk->writeback;
    return sizeof(blk->succession.writeback);
}

/* The driver's features have set it before. */
static int check(void *state, const void *bytes, size_t len, struct ob_fault *fault)
{
    struct blk *blk = state;
    const uint32_t *writeback = bytes;
    if (len != sizeof(*writeback) || *writeback > 1)
        return ob_fault_set(fault, -EINVAL, "blk: the saved state of the cache can't be");
    blk->writeback = *writeback;
    return 0;
}

/* Queues that are to let go do so, and requests begin if they may. */
static void go_on(struct blk *blk)
{
    for (unsigned i = 0; i < blk->num_queues; i++)
        if (blk->queues[i].lets_go)
            blk_requests_return(blk, i);
    blk_requests_retry(blk);
}

static void look(void *argument)
{
    struct blk *blk = argument;
    struct blk_succession *succession = &blk->succession;
    struct block *block = blk->block;
    succession->waits = block->ops->barrier && !block->ops->barrier(block);
    const bool is_long = block_clock_ms() - succession->since_ms > LONG_WAIT_MS;
    if (!succession->waits || is_long)
        go_on(blk);
    if (!succession->waits)
        return;
    if (!succession->told && is_long) {
        succession->told = true;
        ob_device_warn(blk->device,
                       "waits for requests of the process before, which image %.80s has had for "
                       "%u ms",
                       block->name, LONG_WAIT_MS);
    }
    ob_timer_set(succession->timer, ob_timer_now_ns() + LOOK_EVERY_MS * NS_PER_MS);
}

int blk_succession_init(struct blk *blk)
{
    struct blk_succession *succession = &blk->succession;
    const enum ob_vault_role role = ob_vault_role();
    const struct ob_vault_state kept = {.size = sizeof(kept),
                                        .bytes = &succession->writeback,
                                        .len = sizeof(succession->writeback),
                                        .version = 1,
                                        .check = check,
                                        .save = save};
    int err = ob_vault_keep(blk->device, &kept);
    if (err < 0 || role != OB_VAULT_SUCCESSOR)
        return err;
    err = ob_timer_new(blk->device, look, blk, &succession->timer, NULL);
    if (err < 0)
        return err;
    succession->waits = true;
    succession->since_ms = block_clock_ms();
    ob_timer_set(succession->timer, ob_timer_now_ns());
    return 0;
}

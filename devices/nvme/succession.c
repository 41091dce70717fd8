// SPDX-License-Identifier: BSD-3-Clause
#include "succession.h"

#include <errno.h>
#include <stdlib.h>

#include <outboard/vault.h>

#include "completion.h"
#include "nvme.h"
#include "state.h"

#define NS_PER_MS     UINT64_C(1000000)
#define LOOK_EVERY_MS 2u
#define LONG_WAIT_MS  3000u

static int save(void *state, void *ret_bytes)
{
    return nvme_state_save(state, ret_bytes, NVME_STATE_LEN);
}

static int check(void *state, const void *bytes, size_t len, struct ob_fault *fault)
{
    return nvme_state_load(state, NVME_STATE_VERSION, bytes, len, fault);
}

/* A test build can leave the barrier out, to show its effect (docs/testing.md). */
static bool has_barrier = true;

#ifdef OUTBOARD_FAULT_POINTS
/* A cell forgets the environment. */
__attribute__((constructor)) static void read_barrier(void)
{
    has_barrier = !getenv("OUTBOARD_WITHOUT_BARRIER");
}
#endif

/* Whether no request of the process before is in flight. */
static bool has_passed(struct nvme *nvme)
{
    bool passed = true;
    for (unsigned i = 0; i < nvme->namespaces.count && has_barrier; i++) {
        struct block *block = nvme->namespaces.list[i].block;
        passed &= !block->ops->barrier || block->ops->barrier(block);
    }
    return passed;
}

static void look(void *argument)
{
    struct nvme *nvme = argument;
    struct nvme_succession *succession = &nvme->succession;
    succession->waits = !has_passed(nvme);
    if (!succession->waits) {
        requests_renew_parked(nvme);
        return;
    }
    if (!succession->told && block_clock_ms() - succession->since_ms > LONG_WAIT_MS) {
        succession->told = true;
        ob_device_warn(nvme->device,
                       "waits for requests of the process before, which an image has had for %u ms",
                       LONG_WAIT_MS);
    }
    ob_timer_set(succession->timer, ob_timer_now_ns() + LOOK_EVERY_MS * NS_PER_MS);
}

/* Completions that the process before may have written are written again, before anything else. */
static void resumed(void *state)
{
    struct nvme *nvme = state;
    nvme->succession.since_ms = block_clock_ms();
    completion_post_waiting(nvme);
    watchdog_run(nvme, nvme->controller.state != NVME_OFF);
    interrupt_update(nvme);
}

int succession_init(struct nvme *nvme)
{
    struct nvme_succession *succession = &nvme->succession;
    const enum ob_vault_role role = ob_vault_role();
    if (role == OB_VAULT_NONE)
        return 0;
    succession->bytes = malloc(NVME_STATE_LEN);
    if (!succession->bytes)
        return -ENOMEM;
    succession->kept = true;
    const struct ob_vault_state kept = {.size = sizeof(kept),
                                        .bytes = succession->bytes,
                                        .len = NVME_STATE_LEN,
                                        .version = NVME_STATE_VERSION,
                                        .check = check,
                                        .resumed = resumed,
                                        .save = save};
    int err = ob_timer_new(nvme->device, look, nvme, &succession->timer, NULL);
    if (err == 0)
        err = ob_vault_keep(nvme->device, &kept);
    if (err == 0 && role == OB_VAULT_SUCCESSOR) {
        succession->waits = true;
        succession->since_ms = block_clock_ms();
        ob_timer_set(succession->timer, ob_timer_now_ns());
    }
    return err;
}

void succession_done(struct nvme *nvme)
{
    ob_timer_free(nvme->succession.timer);
    free(nvme->succession.bytes);
}

void succession_post(struct nvme *nvme)
{
    struct nvme_succession *succession = &nvme->succession;
    if (succession->kept && succession->committed != nvme->requests.turnover) {
        if (ob_vault_commit(nvme->device) < 0)
            return;
        succession->committed = nvme->requests.turnover;
    }
    completion_post_waiting(nvme);
}

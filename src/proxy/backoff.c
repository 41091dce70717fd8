// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/backoff.h"

#include <stdbool.h>

void backoff_init(struct backoff *backoff)
{
    *backoff = (struct backoff){.open_ns = BACKOFF_FIRST_NS};
}

static uint64_t wait_longer(struct backoff *backoff, uint64_t max_ns)
{
    uint64_t wait_ns = backoff->open_ns < max_ns ? backoff->open_ns : max_ns;
    backoff->open_ns = 2 * wait_ns;
    return wait_ns;
}

uint64_t backoff_failed(struct backoff *backoff)
{
    return wait_longer(backoff, BACKOFF_OPEN_NS);
}

uint64_t backoff_unheard(struct backoff *backoff)
{
    return wait_longer(backoff, BACKOFF_UNHEARD_NS);
}

void backoff_stands(struct backoff *backoff, uint64_t now_ns)
{
    backoff->stood_ns = now_ns;
}

uint64_t backoff_lost(struct backoff *backoff, uint64_t now_ns)
{
    uint64_t wait_ns = BACKOFF_FIRST_NS;
    bool lasted = backoff->stood_ns && now_ns - backoff->stood_ns >= BACKOFF_STEADY_NS;
    backoff->vain = lasted ? 0 : backoff->vain + 1;
    backoff->stood_ns = 0;
    backoff->open_ns = BACKOFF_FIRST_NS;
    for (unsigned i = 1; i < backoff->vain && wait_ns < BACKOFF_LAST_NS; i++)
        wait_ns *= 2;
    return wait_ns < BACKOFF_LAST_NS ? wait_ns : BACKOFF_LAST_NS;
}

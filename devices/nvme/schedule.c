// SPDX-License-Identifier: BSD-3-Clause
#include "schedule.h"

#include "dispatch.h"
#include "gate.h"
#include "nvme.h"

/* A queue whose completions find no room is not fetched from: the guest must read them first. */
static bool ready(const struct nvme *nvme, const struct nvme_sq *sq)
{
    return sq->state == SQ_LIVE && !queue_sq_empty(sq) && !sq->cq->finished && gate_fetches(nvme);
}

/* Starts commands of one queue, up to a limit. Returns how many. */
static unsigned serve(struct nvme *nvme, struct nvme_sq *sq, unsigned max)
{
    unsigned served = 0;
    while (served < max && ready(nvme, sq)) {
        struct nvme_request *request = request_new(nvme, sq);
        if (!request)
            break;
        if (queue_fetch(nvme, sq, &request->command) < 0) {
            request_free(request);
            gate_fail(nvme);
            break;
        }
        served++;
        dispatch(request);
    }
    return served;
}

/* One burst of every I/O queue. Returns how many commands were started, max at most. */
static unsigned serve_round(struct nvme *nvme, unsigned max)
{
    struct nvme_queues *queues = &nvme->queues;
    unsigned served = 0;
    for (unsigned i = 1; i < queues->limit && served < max; i++) {
        unsigned burst = max - served < NVME_BURST ? max - served : NVME_BURST;
        struct nvme_sq *sq = &queues->sq[1 + queues->turn];
        queues->turn = (queues->turn + 1) % (queues->limit - 1);
        served += serve(nvme, sq, burst);
    }
    return served;
}

bool schedule_run(struct nvme *nvme)
{
    if (gate_fetches(nvme))
        dispatch_parked(nvme);
    unsigned left = NVME_BUDGET - serve(nvme, &nvme->queues.sq[0], NVME_BURST);
    unsigned served;
    do {
        served = serve_round(nvme, left);
        left -= served;
    } while (served > 0 && left > 0);
    return left == 0 || ready(nvme, &nvme->queues.sq[0]);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "request.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "nvme.h"

#define ALL_REQUESTS (NVME_ADMIN_REQUESTS + NVME_IO_REQUESTS)

int requests_init(struct nvme *nvme)
{
    struct nvme_requests *requests = &nvme->requests;
    requests->all = calloc(ALL_REQUESTS, sizeof(*requests->all));
    requests->transfers = calloc(NVME_IO_REQUESTS, sizeof(*requests->transfers));
    if (!requests->all || !requests->transfers)
        return -ENOMEM;
    for (unsigned i = 0; i < ALL_REQUESTS; i++)
        requests->all[i].nvme = nvme;
    for (unsigned i = 0; i < NVME_IO_REQUESTS; i++)
        requests->all[NVME_ADMIN_REQUESTS + i].transfer = &requests->transfers[i];
    requests_reset(nvme);
    return 0;
}

void requests_done(struct nvme *nvme)
{
    free(nvme->requests.all);
    free(nvme->requests.transfers);
}

static struct nvme_request **free_list(struct nvme_requests *requests, bool admin)
{
    return admin ? &requests->free_admin : &requests->free_io;
}

static void put(struct nvme_requests *requests, struct nvme_request *request)
{
    struct nvme_request **list = free_list(requests, !request->transfer);
    request->sq = NULL;
    request->ns = NULL;
    request->next = *list;
    *list = request;
}

void requests_reset(struct nvme *nvme)
{
    struct nvme_requests *requests = &nvme->requests;
    assert(requests->in_flight == 0);
    requests->free_admin = requests->free_io = requests->parked = NULL;
    requests->parked_end = &requests->parked;
    for (unsigned i = ALL_REQUESTS; i-- > 0;)
        put(requests, &requests->all[i]);
}

struct nvme_request *request_new(struct nvme *nvme, struct nvme_sq *sq)
{
    struct nvme_request **list = free_list(&nvme->requests, sq->id == 0);
    struct nvme_request *request = *list;
    if (!request)
        return NULL;
    *list = request->next;
    request->sq = sq;
    request->since_ms = nvme->watchdog.now_ms;
    request->since_ns = ob_device_counts_io(nvme->device) ? ob_timer_now_ns() : 0;
    request->was_parked = false;
    request->result = 0;
    request->status = NVME_SUCCESS;
    sq->outstanding++;
    nvme->requests.turnover++;
    return request;
}

void request_free(struct nvme_request *request)
{
    request->sq->outstanding--;
    request->nvme->requests.turnover++;
    put(&request->nvme->requests, request);
}

/* How long a command waits is counted from the last time that its image gave an answer. */
static void note_parking(struct nvme_request *request)
{
    unsigned answers = request->ns ? request->ns->block->answers : 0;
    if (!request->was_parked || request->answers != answers)
        request->since_ms = request->nvme->watchdog.now_ms;
    request->was_parked = true;
    request->answers = answers;
}

void request_park(struct nvme_request *request)
{
    struct nvme_requests *requests = &request->nvme->requests;
    note_parking(request);
    request->next = NULL;
    *requests->parked_end = request;
    requests->parked_end = &request->next;
}

struct nvme_request *requests_unpark(struct nvme *nvme)
{
    struct nvme_requests *requests = &nvme->requests;
    struct nvme_request *first = requests->parked;
    requests->parked = NULL;
    requests->parked_end = &requests->parked;
    return first;
}

void requests_renew_parked(struct nvme *nvme)
{
    for (struct nvme_request *request = nvme->requests.parked; request; request = request->next)
        request->since_ms = nvme->watchdog.now_ms;
}

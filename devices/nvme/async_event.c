// SPDX-License-Identifier: BSD-3-Clause
#include "async_event.h"

#include "completion.h"
#include "nvme.h"

#define RESULT(type, info, page) ((uint32_t)(type) | (uint32_t)(info) << 8 | (uint32_t)(page) << 16)
#define RESULT_PAGE(result)      ((result) >> 16 & 0xff)

static struct nvme_request *take_request(struct nvme_events *events, unsigned index)
{
    struct nvme_request *request = events->requests[index];
    events->request_count--;
    for (unsigned i = index; i < events->request_count; i++)
        events->requests[i] = events->requests[i + 1];
    return request;
}

static void deliver(struct nvme *nvme)
{
    struct nvme_events *events = &nvme->events;
    for (unsigned i = 0; i < NVME_EVENT_TYPES && events->request_count > 0; i++) {
        if (!events->types[i].waiting || events->types[i].silent)
            continue;
        struct nvme_request *request = take_request(events, 0);
        events->types[i].waiting = false;
        events->types[i].silent = true;
        request->result = events->types[i].result;
        completion_post(request, NVME_SUCCESS);
    }
}

void async_event_request(struct nvme_request *request)
{
    struct nvme_events *events = &request->nvme->events;
    if (events->request_count == NVME_ASYNC_EVENTS) {
        completion_post(request, NVME_ASYNC_EVENT_LIMIT | NVME_DO_NOT_RETRY);
        return;
    }
    events->requests[events->request_count++] = request;
    deliver(request->nvme);
}

void async_event_raise(struct nvme *nvme, enum nvme_event_type type, unsigned info,
                       enum nvme_log_page page)
{
    struct nvme_events *events = &nvme->events;
    if (events->types[type].waiting)
        return;
    events->types[type].waiting = true;
    events->types[type].result = RESULT(type, info, page);
    deliver(nvme);
}

void async_event_acknowledge(struct nvme *nvme, enum nvme_log_page page)
{
    struct nvme_events *events = &nvme->events;
    for (unsigned i = 0; i < NVME_EVENT_TYPES; i++) {
        if (!events->types[i].silent || RESULT_PAGE(events->types[i].result) != page)
            continue;
        events->types[i].silent = false;
        if (!events->types[i].waiting)
            events->types[i].result = 0;
    }
    deliver(nvme);
}

bool async_event_abort(struct nvme *nvme, uint16_t command_id)
{
    struct nvme_events *events = &nvme->events;
    for (unsigned i = 0; i < events->request_count; i++) {
        if (events->requests[i]->command.id != command_id)
            continue;
        completion_post(take_request(events, i), NVME_ABORT_REQUESTED);
        return true;
    }
    return false;
}

bool async_events_are_possible(const struct nvme_events *events)
{
    bool possible = true;
    for (unsigned i = 0; i < NVME_EVENT_TYPES; i++) {
        bool used = events->types[i].waiting || events->types[i].silent;
        uint32_t result = events->types[i].result;
        possible &= used ? result >> 24 == 0 && (result & 0xff) == i : result == 0;
    }
    return possible;
}

void async_event_reset(struct nvme *nvme)
{
    nvme->events = (struct nvme_events){0};
}

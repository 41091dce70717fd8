// SPDX-License-Identifier: BSD-3-Clause
/*
 * Asynchronous events, section 5.2: the guest leaves requests with us, and each is completed by an
 * event. After an event its type is silent until the guest has read the log page that goes with it.
 * At most one event of each type waits for a request; the log page tells the rest.
 */
#ifndef OUTBOARD_DEVICES_NVME_ASYNC_EVENT_H
#define OUTBOARD_DEVICES_NVME_ASYNC_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "request.h"

struct nvme_events {
    struct nvme_request *requests[NVME_ASYNC_EVENTS];
    unsigned request_count;
    struct {
        bool waiting; /* for a request */
        bool silent;
        uint32_t result;
    } types[NVME_EVENT_TYPES];
};

/* The admin command. It is completed later, or at once when there are too many. */
void async_event_request(struct nvme_request *request);
void async_event_raise(struct nvme *nvme, enum nvme_event_type type, unsigned info,
                       enum nvme_log_page page);
/* The guest has read a log page. */
void async_event_acknowledge(struct nvme *nvme, enum nvme_log_page page);
/* Completes an outstanding request as aborted. False when none has this command id. */
bool async_event_abort(struct nvme *nvme, uint16_t command_id);
void async_event_reset(struct nvme *nvme);
/* Whether events can be like this. */
bool async_events_are_possible(const struct nvme_events *events);

#endif

// SPDX-License-Identifier: BSD-3-Clause
#include "state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/state.h>

static void fields_of_identity(struct ob_state_fields *fields, struct nvme_saved *saved)
{
    ob_state_bytes(fields, saved->serial, sizeof(saved->serial));
    ob_state_u8(fields, &saved->namespace_count);
    for (unsigned i = 0; i < saved->namespace_count && i < NVME_NAMESPACES; i++) {
        struct nvme_saved_namespace *ns = &saved->namespaces[i];
        ob_state_bytes(fields, ns->uuid, sizeof(ns->uuid));
        ob_state_u8(fields, &ns->block_shift);
        ob_state_u64(fields, &ns->blocks);
        ob_state_bool(fields, &ns->readonly);
        ob_state_bool(fields, &ns->changed);
    }
}

/* An enumeration, one byte. */
#define FIELD_ENUM(fields, value)                                                                  \
    do {                                                                                           \
        uint8_t byte = (uint8_t) * (value);                                                        \
        ob_state_u8(fields, &byte);                                                                \
        *(value) = byte;                                                                           \
    } while (0)

static void fields_of_controller(struct ob_state_fields *fields, struct nvme_controller *controller)
{
    FIELD_ENUM(fields, &controller->state);
    FIELD_ENUM(fields, &controller->shutdown);
    ob_state_u32(fields, &controller->cc);
    ob_state_u32(fields, &controller->csts);
    ob_state_u32(fields, &controller->aqa);
    ob_state_u32(fields, &controller->intms);
    ob_state_u64(fields, &controller->asq);
    ob_state_u64(fields, &controller->acq);
}

static void fields_of_cq(struct ob_state_fields *fields, struct nvme_cq *cq)
{
    ob_state_bool(fields, &cq->exists);
    if (!cq->exists)
        return;
    ob_state_u16(fields, &cq->vector);
    ob_state_bool(fields, &cq->interrupts);
    ob_state_u32(fields, &cq->size);
    ob_state_u64(fields, &cq->base);
    ob_state_u32(fields, &cq->head);
    ob_state_u32(fields, &cq->tail);
    ob_state_bool(fields, &cq->phase);
    bool untold = cq->hold.fresh > 0;
    ob_state_bool(fields, &untold);
    cq->hold.fresh = untold;
}

/* A queue whose deletion waits is saved as alive: the unfinished deletion begins again.
 */
static void fields_of_sq(struct ob_state_fields *fields, struct nvme_sq *sq, uint16_t *completes)
{
    bool exists = sq->state != SQ_ABSENT;
    ob_state_bool(fields, &exists);
    sq->state = exists ? SQ_LIVE : SQ_ABSENT;
    if (!exists)
        return;
    ob_state_u32(fields, &sq->size);
    ob_state_u64(fields, &sq->base);
    ob_state_u32(fields, &sq->head);
    ob_state_u32(fields, &sq->tail);
    ob_state_u16(fields, completes);
}

static void fields_of_queues(struct ob_state_fields *fields, struct nvme_saved *saved)
{
    uint8_t turn = (uint8_t)saved->queues.turn;
    ob_state_u8(fields, &turn);
    saved->queues.turn = turn;
    for (unsigned i = 0; i < NVME_QUEUES; i++)
        fields_of_cq(fields, &saved->queues.cq[i]);
    for (unsigned i = 0; i < NVME_QUEUES; i++)
        fields_of_sq(fields, &saved->queues.sq[i], &saved->completes[i]);
}

static void fields_of_shadow(struct ob_state_fields *fields, struct nvme_shadow *shadow)
{
    ob_state_bool(fields, &shadow->on);
    if (!shadow->on)
        return;
    ob_state_u64(fields, &shadow->doorbells);
    ob_state_u64(fields, &shadow->events);
}

static void fields_of_features(struct ob_state_fields *fields, struct nvme_features *features)
{
    for (unsigned i = 0; i < NVME_FEATURE_COUNT; i++)
        ob_state_u32(fields, &features->value[i]);
    ob_state_u16(fields, &features->temperature[0]);
    ob_state_u16(fields, &features->temperature[1]);
    for (unsigned i = 0; i < NVME_VECTORS; i++)
        ob_state_bool(fields, &features->no_coalescing[i]);
}

static void fields_of_events(struct ob_state_fields *fields, struct nvme_events *events)
{
    for (unsigned i = 0; i < NVME_EVENT_TYPES; i++) {
        ob_state_bool(fields, &events->types[i].waiting);
        ob_state_bool(fields, &events->types[i].silent);
        ob_state_u32(fields, &events->types[i].result);
    }
}

/* The errors that the ring still has; which they are follows from their number. */
static void fields_of_log(struct ob_state_fields *fields, struct nvme_log *log)
{
    ob_state_u64(fields, &log->reads);
    ob_state_u64(fields, &log->writes);
    ob_state_u64(fields, &log->bytes_read);
    ob_state_u64(fields, &log->bytes_written);
    ob_state_u64(fields, &log->errors_told);
    for (unsigned i = 0; i < NVME_ERROR_LOG && i < log->errors_told; i++) {
        uint64_t before = log->errors_told - 1 - i;
        struct nvme_log_error *error = &log->errors[before % NVME_ERROR_LOG];
        error->count = before + 1;
        ob_state_u16(fields, &error->sqid);
        ob_state_u16(fields, &error->command_id);
        ob_state_u16(fields, &error->status);
        ob_state_u32(fields, &error->nsid);
        ob_state_u64(fields, &error->lba);
    }
}

static void fields_of_request(struct ob_state_fields *fields, struct nvme_saved_request *request)
{
    struct nvme_command *command = &request->command;
    ob_state_bool(fields, &request->finished);
    ob_state_u16(fields, &request->sq);
    ob_state_u16(fields, &command->id);
    if (request->finished) {
        ob_state_u16(fields, &request->status);
        ob_state_u32(fields, &request->result);
        return;
    }
    ob_state_u8(fields, &command->opcode);
    ob_state_u8(fields, &command->fuse);
    ob_state_u8(fields, &command->psdt);
    ob_state_u32(fields, &command->nsid);
    ob_state_u64(fields, &command->prp1);
    ob_state_u64(fields, &command->prp2);
    for (unsigned i = 10; i < 16; i++)
        ob_state_u32(fields, &command->dword[i]);
}

/* Everything, in order, to or from the bytes. */
static void fields_of_all(struct ob_state_fields *fields, struct nvme_saved *saved)
{
    fields_of_identity(fields, saved);
    fields_of_controller(fields, &saved->controller);
    fields_of_queues(fields, saved);
    fields_of_shadow(fields, &saved->shadow);
    fields_of_features(fields, &saved->features);
    fields_of_events(fields, &saved->events);
    fields_of_log(fields, &saved->log);
    ob_state_u16(fields, &saved->request_count);
    for (unsigned i = 0; i < saved->request_count && i < NVME_SAVED_REQUESTS; i++)
        fields_of_request(fields, &saved->requests[i]);
    ob_state_u64(fields, &saved->seconds);
}

static void note_namespaces(const struct nvme *nvme, struct nvme_saved *saved)
{
    saved->namespace_count = (uint8_t)nvme->namespaces.count;
    for (unsigned i = 0; i < nvme->namespaces.count; i++) {
        const struct nvme_namespace *ns = &nvme->namespaces.list[i];
        saved->namespaces[i] = (struct nvme_saved_namespace){
            .block_shift = (uint8_t)ns->block_shift,
            .readonly = ns->block->readonly,
            .changed = ns->changed,
            .blocks = ns->blocks,
        };
        memcpy(saved->namespaces[i].uuid, ns->uuid, sizeof(ns->uuid));
    }
}

static void note_request(struct nvme_saved *saved, const struct nvme_request *request,
                         bool finished)
{
    saved->requests[saved->request_count++] = (struct nvme_saved_request){
        .finished = finished,
        .sq = request->sq->id,
        .command = request->command,
        .status = request->status,
        .result = request->result,
    };
}

/* Commands that a back end works on: only if another process is to continue. */
static void note_in_flight(const struct nvme *nvme, struct nvme_saved *saved, const bool *noted)
{
    for (unsigned i = NVME_ADMIN_REQUESTS; i < NVME_SAVED_REQUESTS; i++)
        if (nvme->requests.all[i].sq && !noted[i])
            note_request(saved, &nvme->requests.all[i], false);
}

/* In the order in which they continue. Event requests that the guest left first are used first. */
static void note_requests(const struct nvme *nvme, struct nvme_saved *saved)
{
    bool noted[NVME_SAVED_REQUESTS] = {0};
    for (unsigned i = 0; i < NVME_QUEUES; i++)
        for (const struct nvme_request *request = nvme->queues.cq[i].finished; request;
             request = request->next) {
            noted[request - nvme->requests.all] = true;
            note_request(saved, request, true);
        }
    for (unsigned i = 0; i < nvme->events.request_count; i++)
        note_request(saved, nvme->events.requests[i], false);
    for (unsigned i = 0; i < NVME_QUEUES; i++)
        if (nvme->queues.sq[i].state == SQ_DELETING)
            note_request(saved, nvme->queues.sq[i].deletion, false);
    for (const struct nvme_request *request = nvme->requests.parked; request;
         request = request->next) {
        noted[request - nvme->requests.all] = true;
        note_request(saved, request, false);
    }
    note_in_flight(nvme, saved, noted);
}

static void note(const struct nvme *nvme, struct nvme_saved *saved)
{
    memcpy(saved->serial, nvme->serial, sizeof(saved->serial));
    note_namespaces(nvme, saved);
    saved->controller = nvme->controller;
    saved->queues = nvme->queues;
    for (unsigned i = 0; i < NVME_QUEUES; i++)
        if (nvme->queues.sq[i].state != SQ_ABSENT)
            saved->completes[i] = nvme->queues.sq[i].cq->id;
    saved->shadow = nvme->shadow;
    saved->features = nvme->features;
    saved->events = nvme->events;
    saved->log = nvme->log;
    note_requests(nvme, saved);
    saved->seconds = (uint64_t)(time(NULL) - nvme->log.since);
}

int nvme_state_save(void *state, uint8_t *ret_buf, size_t size)
{
    const struct nvme *nvme = state;
    struct nvme_saved *saved = calloc(1, sizeof(*saved));
    if (!saved)
        return -ENOMEM;
    note(nvme, saved);
    struct ob_state_fields fields = ob_state_saved(ret_buf, size);
    fields_of_all(&fields, saved);
    free(saved);
    return ob_state_done(&fields);
}

static void take_queues(struct nvme *nvme, const struct nvme_saved *saved)
{
    nvme->queues = (struct nvme_queues){.turn = saved->queues.turn};
    for (uint16_t i = 0; i < NVME_QUEUES; i++) {
        const struct nvme_cq *from = &saved->queues.cq[i];
        struct nvme_cq *cq = &nvme->queues.cq[i];
        if (!from->exists)
            continue;
        queue_cq_create(nvme, i, from->base, from->size, from->interrupts, from->vector);
        cq->head = from->head;
        cq->tail = from->tail;
        cq->phase = from->phase;
        cq->hold.fresh = from->hold.fresh;
        cq->mirror.doorbell = cq->head;
    }
    for (uint16_t i = 0; i < NVME_QUEUES; i++) {
        const struct nvme_sq *from = &saved->queues.sq[i];
        struct nvme_sq *sq = &nvme->queues.sq[i];
        if (from->state == SQ_ABSENT)
            continue;
        queue_sq_create(nvme, i, from->base, from->size, saved->completes[i]);
        sq->head = from->head;
        sq->tail = from->tail;
        sq->mirror.doorbell = sq->tail;
    }
}

static void take_request(struct nvme *nvme, const struct nvme_saved_request *saved)
{
    struct nvme_request *request = request_new(nvme, &nvme->queues.sq[saved->sq]);
    request->command = saved->command;
    request->status = saved->status;
    request->result = saved->result;
    if (saved->finished)
        queue_finish(request->sq->cq, request);
    else
        request_park(request);
}

/* An image that has grown since is announced as it would have been there. */
static void take_namespaces(struct nvme *nvme, const struct nvme_saved *saved)
{
    for (unsigned i = 0; i < nvme->namespaces.count; i++) {
        struct nvme_namespace *ns = &nvme->namespaces.list[i];
        ns->changed = saved->namespaces[i].changed;
        if (ns->blocks != saved->namespaces[i].blocks)
            watchdog_tell_changed(nvme, ns);
    }
}

/* Nothing here can fail: the state was checked, and there are requests for all that it may have. */
static void take(struct nvme *nvme, const struct nvme_saved *saved)
{
    nvme->controller = saved->controller;
    nvme->shadow = saved->shadow;
    nvme->features = saved->features;
    nvme->events = saved->events;
    nvme->log = saved->log;
    nvme->log.since = time(NULL) - (time_t)saved->seconds;
    requests_reset(nvme);
    take_queues(nvme, saved);
    for (unsigned i = 0; i < saved->request_count; i++)
        take_request(nvme, &saved->requests[i]);
    take_namespaces(nvme, saved);
}

int nvme_state_load(void *state, uint32_t version, const uint8_t *buf, size_t len,
                    struct ob_fault *fault)
{
    struct nvme *nvme = state;
    struct nvme_saved *saved = calloc(1, sizeof(*saved));
    if (!saved)
        return ob_fault_set(fault, -ENOMEM, "no memory to load the state of a controller");
    struct ob_state_fields fields = ob_state_loaded(buf, len);
    fields_of_all(&fields, saved);
    int err =
        ob_state_done(&fields) < 0
            ? ob_fault_set(
                  fault, -EINVAL,
                  "the state of %zu bytes is truncated, too long or damaged; save it again", len)
            : nvme_state_check(nvme, saved, fault);
    if (err == 0 && nvme->requests.in_flight > 0)
        err = ob_fault_set(
            fault, -EBUSY,
            "an image still has requests of the previous state; try again when they have ended");
    if (err == 0)
        take(nvme, saved);
    free(saved);
    return err;
}

// SPDX-License-Identifier: BSD-3-Clause
/*
 * State: the controller as bytes, from which another process continues.
 *
 * It is saved when the controller is at rest, so no back end works on anything. A command is then
 * in one of four places, and is carried out once whichever it is:
 *
 * - still in its submission queue: the queue's head says so;
 * - parked, or an event request, or a queue deletion that waits: saved as unfinished, and carried
 *   out from its start by the successor. A part of it may have been done; doing that part twice to
 *   the same image has the same result as doing it once;
 * - finished, with no room in its completion queue: saved with its status, and posted by the
 *   successor;
 * - completed: the queue's tail says so, and nothing else is left of it.
 *
 * Bytes that come in are hostile. They are read into a struct nvme_saved, all of which is checked
 * (state_check.c) before anything of the controller is changed.
 *
 * Layout, little endian, in the order of `fields` in state.c: the owner of the state (serial number,
 * namespaces), registers, queues, features, events, the log, requests, and the time since power on.
 */
#ifndef OUTBOARD_DEVICES_NVME_STATE_H
#define OUTBOARD_DEVICES_NVME_STATE_H

#include "nvme.h"

#define NVME_SAVED_REQUESTS (NVME_ADMIN_REQUESTS + NVME_IO_REQUESTS)

struct nvme_saved_namespace {
    uint8_t uuid[16];
    uint8_t block_shift;
    bool readonly;
    bool changed;
    uint64_t blocks;
};

struct nvme_saved_request {
    bool finished;
    uint16_t sq;
    struct nvme_command command;
    uint16_t status;
    uint32_t result;
};

/* The content of the bytes. Pointers in the parts that are the controller's own mean nothing here. */
struct nvme_saved {
    uint8_t serial[NVME_SERIAL_LEN];
    uint8_t namespace_count;
    struct nvme_saved_namespace namespaces[NVME_NAMESPACES];
    struct nvme_controller controller;
    struct nvme_queues queues;
    uint16_t completes[NVME_QUEUES]; /* the completion queue of each submission queue */
    struct nvme_shadow shadow;
    struct nvme_features features;
    struct nvme_events events;
    struct nvme_log log;
    uint64_t seconds; /* since power on */
    uint16_t request_count;
    struct nvme_saved_request requests[NVME_SAVED_REQUESTS];
};

/* struct ob_device_ops. */
int nvme_state_save(void *state, uint8_t *ret_buf, size_t size);
int nvme_state_load(void *state, uint32_t version, const uint8_t *buf, size_t len,
                    struct ob_fault *fault);

/* Whether the state is of this controller, and one that a controller can be in. 0, or -EINVAL with
 * the fault filled. */
int nvme_state_check(const struct nvme *nvme, const struct nvme_saved *saved,
                     struct ob_fault *fault);

#endif

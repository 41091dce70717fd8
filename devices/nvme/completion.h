// SPDX-License-Identifier: BSD-3-Clause
/* Completion: how a command ends, from its status to the entry in its completion queue. */
#ifndef OUTBOARD_DEVICES_NVME_COMPLETION_H
#define OUTBOARD_DEVICES_NVME_COMPLETION_H

#include <stdbool.h>
#include <stdint.h>

#include "request.h"

/* The command has ended; its completion is posted as soon as there is room. */
void completion_post(struct nvme_request *request, uint16_t status);
/* Posts completions that found no room before. */
void completion_post_waiting(struct nvme *nvme);
/* Completes, with this status, those parked requests that are meant. Returns how many. */
unsigned completion_end_parked(struct nvme *nvme,
                               bool (*meant)(const struct nvme_request *request,
                                             const void *argument),
                               const void *argument, uint16_t status);

/* The status that a guest gets for a back end's errno. */
uint16_t completion_status(enum block_op op, int err);

#endif

// SPDX-License-Identifier: BSD-3-Clause
/* Creation and deletion of I/O queues, sections 5.3 to 5.6. */
#ifndef OUTBOARD_DEVICES_NVME_QUEUE_ADMIN_H
#define OUTBOARD_DEVICES_NVME_QUEUE_ADMIN_H

#include "request.h"

void queue_admin_create_cq(struct nvme_request *request);
void queue_admin_delete_cq(struct nvme_request *request);
void queue_admin_create_sq(struct nvme_request *request);
/* Completed when the last command of the queue has ended. */
void queue_admin_delete_sq(struct nvme_request *request);

/* Continues deletions that wait. */
void queue_admin_update(struct nvme *nvme);

#endif

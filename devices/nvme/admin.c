// SPDX-License-Identifier: BSD-3-Clause
#include "admin.h"

#include "completion.h"
#include "identify.h"
#include "log_page.h"
#include "nvme.h"
#include "queue_admin.h"

static bool is_meant(const struct nvme_request *request, const void *argument)
{
    const uint32_t *which = argument;
    return request->sq->id == (*which & 0xffff) && request->command.id == *which >> 16;
}

/* Abort, section 5.1. An operation in a back end can't be called back and ends of itself, at the
 * latest when the back end is given up; an Asynchronous Event Request, or a command that is parked,
 * can be ended. Bit 0 of the result says "not aborted". */
static void abort_command(struct nvme_request *request)
{
    struct nvme *nvme = request->nvme;
    uint32_t which = request->command.dword[10];
    bool aborted = (which & 0xffff) == 0 && async_event_abort(nvme, (uint16_t)(which >> 16));
    if (!aborted)
        aborted = completion_end_parked(nvme, is_meant, &which, NVME_ABORT_REQUESTED) > 0;
    request->result = aborted ? 0 : 1;
    completion_post(request, NVME_SUCCESS);
}

static void (*const handlers[])(struct nvme_request *request) = {
    [NVME_ADMIN_DELETE_SQ] = queue_admin_delete_sq,
    [NVME_ADMIN_CREATE_SQ] = queue_admin_create_sq,
    [NVME_ADMIN_GET_LOG_PAGE] = log_page_get,
    [NVME_ADMIN_DELETE_CQ] = queue_admin_delete_cq,
    [NVME_ADMIN_CREATE_CQ] = queue_admin_create_cq,
    [NVME_ADMIN_IDENTIFY] = identify,
    [NVME_ADMIN_ABORT] = abort_command,
    [NVME_ADMIN_SET_FEATURES] = features_set,
    [NVME_ADMIN_GET_FEATURES] = features_get,
    [NVME_ADMIN_ASYNC_EVENT] = async_event_request,
    [NVME_ADMIN_DOORBELL_BUFFER] = shadow_configure,
};

void admin_execute(struct nvme_request *request)
{
    const struct nvme_command *command = &request->command;
    unsigned opcode = command->opcode;
    if (opcode >= sizeof(handlers) / sizeof(handlers[0]) || !handlers[opcode])
        completion_post(request, NVME_INVALID_OPCODE | NVME_DO_NOT_RETRY);
    else if (command->fuse || command->psdt)
        completion_post(request, NVME_INVALID_FIELD | NVME_DO_NOT_RETRY);
    else
        handlers[opcode](request);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "completion.h"

#include <errno.h>

#include "gate.h"
#include "nvme.h"

void completion_post(struct nvme_request *request, uint16_t status)
{
    struct nvme *nvme = request->nvme;
    struct nvme_cq *cq = request->sq->cq;
    request->status = status;
    if (status != NVME_SUCCESS)
        log_error(nvme, request);
    queue_finish(cq, request);
    nvme->requests.turnover++; /* the intent is committed before the entry is written */
    if (!nvme->succession.kept && queue_post(nvme, cq) < 0)
        gate_fail(nvme);
}

void completion_post_waiting(struct nvme *nvme)
{
    for (unsigned i = 0; i < nvme->queues.limit; i++) {
        struct nvme_cq *cq = &nvme->queues.cq[i];
        if (cq->finished && queue_post(nvme, cq) < 0)
            gate_fail(nvme);
    }
}

unsigned completion_end_parked(struct nvme *nvme,
                               bool (*meant)(const struct nvme_request *request,
                                             const void *argument),
                               const void *argument, uint16_t status)
{
    unsigned count = 0;
    struct nvme_request *next;
    for (struct nvme_request *request = requests_unpark(nvme); request; request = next) {
        next = request->next;
        if (meant(request, argument)) {
            completion_post(request, status);
            count++;
        } else {
            request_park(request);
        }
    }
    return count;
}

uint16_t completion_status(enum block_op op, int err)
{
    switch (-err) {
    case 0:
        return NVME_SUCCESS;
    case EFAULT:
        return NVME_DATA_TRANSFER_ERROR;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return NVME_CAPACITY_EXCEEDED;
    case EROFS:
    case EPERM:
    case EACCES:
    case EBADF:
        return NVME_NAMESPACE_WRITE_PROTECTED | NVME_DO_NOT_RETRY;
    case ECANCELED:
        return NVME_ABORT_REQUESTED;
    case EIO:
    case EILSEQ:
    case EBADMSG:
    case ENODATA:
        return op == BLOCK_READ ? NVME_UNRECOVERED_READ : NVME_WRITE_FAULT;
    default:
        return NVME_INTERNAL_ERROR;
    }
}

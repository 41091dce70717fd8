// SPDX-License-Identifier: BSD-3-Clause
#include "transfer.h"

#include <errno.h>
#include <stddef.h>

#include "completion.h"
#include "log.h"
#include "nvme.h"
#include "prp.h"

void transfer_start(struct nvme_request *request, void (*done)(struct block_io *io, int err))
{
    request->io.done = done;
    namespace_start(request->nvme, request->ns, &request->io);
}

struct nvme_request *transfer_ended(struct block_io *io)
{
    struct nvme_request *request =
        (struct nvme_request *)((char *)io - offsetof(struct nvme_request, io));
    namespace_ended(request->nvme);
    return request;
}

/* The VMM may have taken guest memory back while data went there: then the guest has not got it. */
static bool data_arrived(const struct nvme_request *request)
{
    const struct nvme_transfer *transfer = request->transfer;
    for (unsigned i = 0; i < transfer->span_count; i++)
        if (!ob_dma_is_current(request->nvme->device, &transfer->spans[i]))
            return false;
    return true;
}

/* For the launcher's statistics. */
static void count(const struct nvme_request *request)
{
    struct ob_device *device = request->nvme->device;
    enum ob_io_kind kind = request->io.op == BLOCK_READ    ? OB_IO_READ
                           : request->io.op == BLOCK_WRITE ? OB_IO_WRITE
                                                           : OB_IO_OTHER;
    if (ob_device_counts_io(device))
        ob_device_count_io(device, kind, kind == OB_IO_OTHER ? 0 : request->io.len,
                           ob_timer_now_ns() - request->since_ns);
}

void transfer_finish(struct nvme_request *request, int err)
{
    uint16_t status = completion_status(request->io.op, err);
    if (status == NVME_SUCCESS && request->command.opcode == NVME_IO_READ && !data_arrived(request))
        status = NVME_DATA_TRANSFER_ERROR;
    if (request->transfer->span_count > 0)
        prp_unmap(request->nvme, request->transfer);
    if (status == NVME_SUCCESS)
        log_io(request);
    if (err != -EAGAIN)
        count(request);
    if (err == -EAGAIN)
        request_park(request);
    else
        completion_post(request, status);
}

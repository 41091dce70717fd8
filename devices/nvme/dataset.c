// SPDX-License-Identifier: BSD-3-Clause
#include "dataset.h"

#include "bytes.h"
#include "completion.h"
#include "gate.h"
#include "nvme.h"
#include "prp.h"
#include "transfer.h"

/* Copies and checks the ranges; none is discarded unless all exist. Returns an enum nvme_status. */
static uint16_t read_ranges(struct nvme_request *request)
{
    uint8_t list[NVME_DATASET_RANGES * NVME_DATASET_RANGE_LEN];
    struct nvme_transfer *transfer = request->transfer;
    unsigned count = (request->command.dword[10] & 0xff) + 1;
    uint16_t status =
        prp_read(request->nvme, &request->command, list, count * NVME_DATASET_RANGE_LEN);
    for (unsigned i = 0; i < count && status == NVME_SUCCESS; i++) {
        const uint8_t *at = list + (size_t)i * NVME_DATASET_RANGE_LEN;
        transfer->ranges[i] = (struct nvme_range){.slba = get64(at + 8), .count = get32(at + 4)};
        if (!namespace_has(request->ns, transfer->ranges[i].slba, transfer->ranges[i].count))
            status = NVME_LBA_OUT_OF_RANGE | NVME_DO_NOT_RETRY;
    }
    transfer->range_count = count;
    transfer->next_range = 0;
    return status;
}

static void done(struct block_io *io, int err);

/* Discards the next range that has blocks, or completes the command. */
static void go_on(struct nvme_request *request, int err)
{
    struct nvme_transfer *transfer = request->transfer;
    unsigned shift = request->ns->block_shift;
    while (err == 0 && transfer->next_range < transfer->range_count) {
        if (!gate_goes_on(request->nvme)) {
            request_park(request);
            return;
        }
        struct nvme_range range = transfer->ranges[transfer->next_range++];
        if (range.count == 0)
            continue;
        request->io = (struct block_io){.op = BLOCK_DISCARD,
                                        .offset = range.slba << shift,
                                        .len = (uint64_t)range.count << shift};
        transfer_start(request, done);
        return;
    }
    request->io.op = BLOCK_DISCARD;
    transfer_finish(request, err);
}

static void done(struct block_io *io, int err)
{
    go_on(transfer_ended(io), err);
}

void dataset_manage(struct nvme_request *request)
{
    uint16_t status = read_ranges(request);
    bool deallocates = request->command.dword[11] & NVME_DATASET_DEALLOCATE;
    /* The other attributes are hints that nothing here would profit from. */
    if (status != NVME_SUCCESS || !deallocates || !request->ns->block->can_discard)
        completion_post(request, status);
    else
        go_on(request, 0);
}

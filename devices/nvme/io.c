// SPDX-License-Identifier: BSD-3-Clause
#include "io.h"

#include <errno.h>

#include "completion.h"
#include "dataset.h"
#include "nvme.h"
#include "prp.h"
#include "transfer.h"

/* The blocks of a command that names them in dwords 10 to 12. */
struct blocks {
    uint64_t slba;
    uint32_t count;
};

static void refuse(struct nvme_request *request, enum nvme_status status)
{
    completion_post(request, (uint16_t)(status | NVME_DO_NOT_RETRY));
}

static struct blocks blocks_of(const struct nvme_command *command)
{
    return (struct blocks){.slba = (uint64_t)command->dword[11] << 32 | command->dword[10],
                           .count = (command->dword[12] & 0xffff) + 1};
}

static void done(struct block_io *io, int err)
{
    transfer_finish(transfer_ended(io), err);
}

/* Checks which blocks are meant and maps the data. False when the command has ended. */
static bool prepare_data(struct nvme_request *request, enum ob_dma_direction direction)
{
    const struct nvme_command *command = &request->command;
    struct nvme_namespace *ns = request->ns;
    struct blocks blocks = blocks_of(command);
    uint64_t len = (uint64_t)blocks.count << ns->block_shift;
    uint16_t status = NVME_SUCCESS;
    if (len > NVME_TRANSFER_LEN)
        status = NVME_INVALID_FIELD | NVME_DO_NOT_RETRY;
    else if (!namespace_has(ns, blocks.slba, blocks.count))
        status = NVME_LBA_OUT_OF_RANGE | NVME_DO_NOT_RETRY;
    else
        status = prp_map(request->nvme, command, (uint32_t)len, direction, request->transfer);
    if (status != NVME_SUCCESS) {
        completion_post(request, status);
        return false;
    }
    request->io = (struct block_io){.offset = blocks.slba << ns->block_shift,
                                    .len = len,
                                    .iov = request->transfer->iov,
                                    .iov_count = request->transfer->span_count};
    return true;
}

/* Force unit access, which every write has, since there is no write cache. */
static unsigned fua_flag(const struct nvme_request *request)
{
    bool fua = request->command.dword[12] & NVME_RW_FUA;
    return fua || !features_write_cache(request->nvme) ? BLOCK_FUA : 0;
}

static void read_blocks(struct nvme_request *request)
{
    if (!prepare_data(request, OB_DMA_FROM_DEVICE))
        return;
    request->io.op = BLOCK_READ;
    transfer_start(request, done);
}

static void write_blocks(struct nvme_request *request)
{
    if (!prepare_data(request, OB_DMA_TO_DEVICE))
        return;
    request->io.op = BLOCK_WRITE;
    request->io.flags = fua_flag(request);
    transfer_start(request, done);
}

static void compare_blocks(struct nvme_request *request)
{
    if (!prepare_data(request, OB_DMA_TO_DEVICE))
        return;
    compare_start(request);
}

static void write_zeroes(struct nvme_request *request)
{
    struct nvme_namespace *ns = request->ns;
    struct blocks blocks = blocks_of(&request->command);
    if (!namespace_has(ns, blocks.slba, blocks.count)) {
        refuse(request, NVME_LBA_OUT_OF_RANGE);
        return;
    }
    bool may_unmap = request->command.dword[12] & NVME_WRITE_ZEROES_DEAC;
    request->io = (struct block_io){.op = BLOCK_WRITE_ZEROES,
                                    .flags = fua_flag(request) | (may_unmap ? BLOCK_MAY_UNMAP : 0),
                                    .offset = blocks.slba << ns->block_shift,
                                    .len = (uint64_t)blocks.count << ns->block_shift};
    transfer_start(request, done);
}

static void flush(struct nvme_request *request)
{
    request->io = (struct block_io){.op = BLOCK_FLUSH};
    if (request->ns->block->readonly)
        completion_post(request, NVME_SUCCESS);
    else
        transfer_start(request, done);
}

static const struct {
    void (*handle)(struct nvme_request *request);
    bool changes_data;
} commands[] = {
    [NVME_IO_FLUSH] = {flush, false},
    [NVME_IO_WRITE] = {write_blocks, true},
    [NVME_IO_READ] = {read_blocks, false},
    [NVME_IO_COMPARE] = {compare_blocks, false},
    [NVME_IO_WRITE_ZEROES] = {write_zeroes, true},
    [NVME_IO_DATASET] = {dataset_manage, true},
};

void io_execute(struct nvme_request *request)
{
    const struct nvme_command *command = &request->command;
    unsigned opcode = command->opcode;
    request->transfer->span_count = 0;
    request->ns = namespace_find(request->nvme, command->nsid);
    if (opcode >= sizeof(commands) / sizeof(commands[0]) || !commands[opcode].handle)
        refuse(request, NVME_INVALID_OPCODE);
    else if (command->fuse || command->psdt)
        refuse(request, NVME_INVALID_FIELD);
    else if (!request->ns)
        refuse(request, NVME_INVALID_NAMESPACE);
    else if (commands[opcode].changes_data && request->ns->block->readonly)
        refuse(request, NVME_NAMESPACE_WRITE_PROTECTED);
    else
        commands[opcode].handle(request);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "log.h"

#include "nvme.h"

/* Section 5.14.1.2 counts commands that were completed, and not the data of Compare. */
void log_io(const struct nvme_request *request)
{
    struct nvme_log *log = &request->nvme->log;
    switch (request->command.opcode) {
    case NVME_IO_READ:
        log->reads++;
        log->bytes_read += request->io.len;
        break;
    case NVME_IO_COMPARE:
        log->reads++;
        break;
    case NVME_IO_WRITE:
        log->writes++;
        log->bytes_written += request->io.len;
        break;
    case NVME_IO_WRITE_ZEROES:
        log->writes++;
        break;
    default:
        break;
    }
}

void log_error(struct nvme *nvme, const struct nvme_request *request)
{
    struct nvme_log *log = &nvme->log;
    const struct nvme_command *command = &request->command;
    uint64_t count = ++log->errors_told;
    log->errors[(count - 1) % NVME_ERROR_LOG] = (struct nvme_log_error){
        .count = count,
        .sqid = request->sq->id,
        .command_id = command->id,
        .status = request->status,
        .nsid = command->nsid,
        .lba = request->transfer ? (uint64_t)command->dword[11] << 32 | command->dword[10] : 0,
    };
}

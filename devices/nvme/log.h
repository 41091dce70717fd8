// SPDX-License-Identifier: BSD-3-Clause
/* Log: the counts and the errors that log pages tell (log_page.h). */
#ifndef OUTBOARD_DEVICES_NVME_LOG_H
#define OUTBOARD_DEVICES_NVME_LOG_H

#include <stdint.h>
#include <time.h>

#include "request.h"

struct nvme_log_error {
    uint64_t count; /* which error this is, from 1 on; 0: none */
    uint16_t sqid;
    uint16_t command_id;
    uint16_t status;
    uint32_t nsid;
    uint64_t lba;
};

struct nvme_log {
    struct nvme_log_error errors[NVME_ERROR_LOG]; /* a ring; the newest is at errors_told - 1 */
    uint64_t errors_told;
    uint64_t reads;
    uint64_t writes;
    uint64_t bytes_read;
    uint64_t bytes_written;
    time_t since; /* power on */
};

/* An I/O command has been carried out. */
void log_io(const struct nvme_request *request);
/* A command has failed. */
void log_error(struct nvme *nvme, const struct nvme_request *request);

#endif

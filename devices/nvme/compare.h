// SPDX-License-Identifier: BSD-3-Clause
/*
 * Compare, section 6.6: reads the blocks, a piece at a time, into memory of ours and looks whether
 * the guest's is the same. One command at a time has the buffer; the others wait in line. A
 * controller that is paused, or stops, parks the line at the end of a piece.
 */
#ifndef OUTBOARD_DEVICES_NVME_COMPARE_H
#define OUTBOARD_DEVICES_NVME_COMPARE_H

#include "request.h"

struct nvme_compare {
    struct nvme_request *line; /* the first one is at work */
    struct nvme_request **line_end;
    uint64_t compared; /* bytes of the first one */
    struct block_io io;
    struct iovec iov;
    uint8_t buffer[NVME_COMPARE_CHUNK];
};

/* The data is mapped; io.offset and io.len say which blocks. */
void compare_start(struct nvme_request *request);
void compare_reset(struct nvme *nvme);

#endif

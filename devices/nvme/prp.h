// SPDX-License-Identifier: BSD-3-Clause
/*
 * PRPs: where in guest memory the data of a command is, section 4.3.
 *
 * PRP 1 is the first page, from an offset within it on. PRP 2 is the second page or, when there are
 * more, a list of pages; a list that fills its page ends in the address of the next. Data is at
 * most NVME_TRANSFER_LEN, so that a list can't be endless: each list page but the first, which
 * may start anywhere within a page, gives 511 pages.
 */
#ifndef OUTBOARD_DEVICES_NVME_PRP_H
#define OUTBOARD_DEVICES_NVME_PRP_H

#include <outboard/dma.h>

#include "request.h"

/* Maps the data of a command into transfer->spans and describes it in transfer->iov.
 * len is 1 to NVME_TRANSFER_LEN. Returns an enum nvme_status; on failure nothing is mapped. */
uint16_t prp_map(struct nvme *nvme, const struct nvme_command *command, uint32_t len,
                 enum ob_dma_direction direction, struct nvme_transfer *transfer);
void prp_unmap(struct nvme *nvme, struct nvme_transfer *transfer);

/* Copies len bytes of the data of a command. Returns an enum nvme_status. */
uint16_t prp_read(struct nvme *nvme, const struct nvme_command *command, void *ret_buf,
                  uint32_t len);
uint16_t prp_write(struct nvme *nvme, const struct nvme_command *command, const void *buf,
                   uint32_t len);

#endif

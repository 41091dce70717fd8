// SPDX-License-Identifier: BSD-3-Clause
/* Transfer: an I/O command's way to its image and back. */
#ifndef OUTBOARD_DEVICES_NVME_TRANSFER_H
#define OUTBOARD_DEVICES_NVME_TRANSFER_H

#include "request.h"

/* Hands the request's io, with op, flags, offset and len set, to the namespace's back end. */
void transfer_start(struct nvme_request *request, void (*done)(struct block_io *io, int err));
/* For done callbacks: whose io has ended. It is no longer in flight. */
struct nvme_request *transfer_ended(struct block_io *io);
/* Gives the data back, if any is mapped, and completes the command with the back end's result. */
void transfer_finish(struct nvme_request *request, int err);

#endif

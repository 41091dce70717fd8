// SPDX-License-Identifier: BSD-3-Clause
/* I/O commands of the NVM command set, section 6. */
#ifndef OUTBOARD_DEVICES_NVME_IO_H
#define OUTBOARD_DEVICES_NVME_IO_H

#include "request.h"

void io_execute(struct nvme_request *request);

#endif

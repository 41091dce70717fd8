// SPDX-License-Identifier: BSD-3-Clause
/* Admin commands, section 5. */
#ifndef OUTBOARD_DEVICES_NVME_ADMIN_H
#define OUTBOARD_DEVICES_NVME_ADMIN_H

#include "request.h"

void admin_execute(struct nvme_request *request);

#endif

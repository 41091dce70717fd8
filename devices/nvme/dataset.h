// SPDX-License-Identifier: BSD-3-Clause
/* Dataset Management, section 6.7: the guest no longer needs blocks. */
#ifndef OUTBOARD_DEVICES_NVME_DATASET_H
#define OUTBOARD_DEVICES_NVME_DATASET_H

#include "request.h"

void dataset_manage(struct nvme_request *request);

#endif

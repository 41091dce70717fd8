// SPDX-License-Identifier: BSD-3-Clause
/* Log pages, section 5.14. */
#ifndef OUTBOARD_DEVICES_NVME_LOG_PAGE_H
#define OUTBOARD_DEVICES_NVME_LOG_PAGE_H

#include "request.h"

#define NVME_KELVIN 300u /* the temperature of a device without a body */

/* The admin command. */
void log_page_get(struct nvme_request *request);

#endif

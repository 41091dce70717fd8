// SPDX-License-Identifier: BSD-3-Clause
/* Identify, section 5.15. */
#ifndef OUTBOARD_DEVICES_NVME_IDENTIFY_H
#define OUTBOARD_DEVICES_NVME_IDENTIFY_H

#include "request.h"

/* The device's place in PCI. */
#define NVME_PCI_VENDOR    0x1af4u
#define NVME_PCI_DEVICE    0x10f1u
#define NVME_PCI_SUBSYSTEM 0x1100u

/* The admin command. */
void identify(struct nvme_request *request);

#endif

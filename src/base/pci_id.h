// SPDX-License-Identifier: BSD-3-Clause
/* PCI ids that somebody has typed: VENDOR:DEVICE, as lspci(8) shows them. */
#ifndef OUTBOARD_BASE_PCI_ID_H
#define OUTBOARD_BASE_PCI_ID_H

#include <stdint.h>

/* One to four hexadecimal digits each, and nothing else. 0; or -EINVAL, also for vendor ffff, which
 * tells a guest that no device is there. */
int pci_id_parse(const char *text, uint16_t *ret_vendor_id, uint16_t *ret_device_id);

#endif

// SPDX-License-Identifier: BSD-3-Clause
/* An author's description of a device, checked before anything is made of it. */
#ifndef OUTBOARD_DEVICE_DESCRIPTION_H
#define OUTBOARD_DEVICE_DESCRIPTION_H

#include <outboard/device.h>

/* 0, or -EINVAL with a fault that names the field and its error. BARs, MSI, MSI-X and the places of
 * doorbells are checked by the functions that lay them out. */
int description_check(const struct ob_device_desc *desc, const struct ob_device_ops *ops,
                      struct ob_fault *fault);

#endif

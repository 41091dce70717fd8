// SPDX-License-Identifier: BSD-3-Clause
/* What an author says of a device, checked before anything is made of it. */
#ifndef OUTBOARD_DEVICE_DESCRIPTION_H
#define OUTBOARD_DEVICE_DESCRIPTION_H

#include <outboard/device.h>

/* 0, or -EINVAL with a fault that says what is wrong with which field. BARs, MSI, MSI-X and where
 * doorbells lie are checked by who lays them out. */
int description_check(const struct ob_device_desc *desc, const struct ob_device_ops *ops,
                      struct ob_fault *fault);

#endif

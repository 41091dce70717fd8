// SPDX-License-Identifier: BSD-3-Clause
#ifndef OUTBOARD_DEVICES_NVME_IMAGE_H
#define OUTBOARD_DEVICES_NVME_IMAGE_H

#include "block/image_option.h"
#include "nvme.h"

/* Opens the image with the back end that its path asks for. 0, or a negative errno with the fault
 * filled. */
int nvme_image_open(const struct image_option *option, struct nvme_image *ret_image,
                    struct ob_fault *fault);

#endif

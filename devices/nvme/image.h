// SPDX-License-Identifier: BSD-3-Clause
/* Images as options: PATH[,readonly][,direct][,serial=TEXT][,block-size=512|4096]. */
#ifndef OUTBOARD_DEVICES_NVME_IMAGE_H
#define OUTBOARD_DEVICES_NVME_IMAGE_H

#include <stdbool.h>

#include <outboard/fault.h>

#include "nvme.h"

struct image_option {
    char *text; /* cut into the rest */
    struct block_options block;
    char serial[NVME_SERIAL_LEN + 1]; /* given, or made of the path */
};

/* Reads one --image. 0, or a negative errno with the fault filled. */
int image_parse(const char *value, struct image_option *ret_option, struct ob_fault *fault);
void image_done(struct image_option *option);

/* Opens the image with the back end that its path asks for. As above. */
int image_open(const struct image_option *option, struct nvme_image *ret_image,
               struct ob_fault *fault);

#endif

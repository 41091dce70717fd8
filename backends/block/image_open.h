// SPDX-License-Identifier: BSD-3-Clause
#ifndef OUTBOARD_BACKENDS_BLOCK_IMAGE_OPEN_H
#define OUTBOARD_BACKENDS_BLOCK_IMAGE_OPEN_H

#include "block/image_option.h"

/* Opens the image with the back end that its path asks for. 0, or a negative errno with the fault
 * filled. */
int image_open(const struct image_option *option, struct block **ret_block, struct ob_fault *fault);

#endif

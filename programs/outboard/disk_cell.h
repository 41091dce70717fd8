// SPDX-License-Identifier: BSD-3-Clause
/* The cell of a qemu-nbd that `outboard disk` starts. */
#ifndef OUTBOARD_PROGRAMS_DISK_CELL_H
#define OUTBOARD_PROGRAMS_DISK_CELL_H

#include <stdbool.h>

#include "block/image_option.h"

/* Gives up all that qemu-nbd does not need for this image, before it is started: namespaces of its own, without a
 * network; capabilities; new privileges; paths but for programs, libraries, the image and its backing
 * files; system calls that no server of images makes. Root becomes the owner of the image. A part that
 * the kernel refuses is named in the log. path: the image's, absolute. */
void disk_cell_enter(const struct image_option *option, const char *path, const char *format);

#endif

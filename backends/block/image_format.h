// SPDX-License-Identifier: BSD-3-Clause
/* Formats of disk images that are not the disk's bytes, told by their first or last bytes.
 */
#ifndef OUTBOARD_BACKENDS_BLOCK_IMAGE_FORMAT_H
#define OUTBOARD_BACKENDS_BLOCK_IMAGE_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The format of an image by the name that QEMU has for it, or NULL: raw, as far as can be told.
 *
 * A guest can write the mark of a format to a raw image, so a format that was found is a reason to
 * ask, and nothing to act on.
 *
 * fd: not open for direct I/O. size: bytes.
 */
const char *image_format_of(int fd, uint64_t size);

/* Whether there is a format of this name, raw included. */
bool image_format_exists(const char *name);

#endif

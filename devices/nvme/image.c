// SPDX-License-Identifier: BSD-3-Clause
#include "image.h"

#include "block/image_open.h"

/* A UUID of the kind that applications define (RFC 9562, section 5.8). */
static void make_uuid(const char *serial, uint8_t uuid[16])
{
    for (unsigned half = 0; half < 2; half++) {
        uint64_t value = image_hash(serial, half + 1);
        for (unsigned i = 0; i < 8; i++)
            uuid[8 * half + i] = (uint8_t)(value >> (8 * i));
    }
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x80);
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

int nvme_image_open(const struct image_option *option, struct nvme_image *ret_image,
                    struct ob_fault *fault)
{
    struct block *block = NULL;
    int err = image_open(option, &block, fault);
    if (err < 0)
        return err;
    *ret_image = (struct nvme_image){.block = block, .block_size = option->block.block_size};
    make_uuid(option->serial, ret_image->uuid);
    return 0;
}

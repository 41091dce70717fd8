// SPDX-License-Identifier: BSD-3-Clause
/* Images as options: PATH[,readonly][,direct][,serial=TEXT][,block-size=512|4096][,format=NAME]...
 * man/outboard-nvme.1 and man/outboard.1 have them all. */
#ifndef OUTBOARD_BACKENDS_BLOCK_IMAGE_OPTION_H
#define OUTBOARD_BACKENDS_BLOCK_IMAGE_OPTION_H

#include <stdbool.h>
#include <stdint.h>

#include <outboard/fault.h>

#include "block/block.h"

/* Characters of a serial number, as NVMe has them. */
#define BLOCK_SERIAL_LEN 20u

/* Images of one program. */
#define BLOCK_IMAGES 32u

struct image_option {
    char *text; /* cut into the rest */
    struct block_options block;
    char serial[BLOCK_SERIAL_LEN + 1]; /* given, or made of the path */

    /* The work of an NBD server, which `outboard disk` asks of one. */
    const char *format;   /* NULL: not said */
    const char *key_file; /* of an encrypted image; NULL: none */
    bool snapshot;        /* writes are forgotten at the end */
    bool by_server;       /* also if it is raw */
};

/* Reads one --image. 0, or a negative errno with the fault filled. */
int image_option_parse(const char *value, struct image_option *ret_option, struct ob_fault *fault);
void image_option_done(struct image_option *option);

/* Whether the path is an NBD server's. */
bool image_is_nbd(const char *path);

/* FNV-1a: names, not secrets. */
uint64_t image_hash(const char *text, uint64_t seed);

#endif

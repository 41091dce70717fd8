// SPDX-License-Identifier: BSD-3-Clause
#include "block.h"

#include <errno.h>

int block_nbd_open(const struct block_options *options, struct block **ret_block,
                   struct ob_fault *fault)
{
    return ob_fault_set(fault, -ENOTSUP, "NBD");
}

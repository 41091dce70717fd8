// SPDX-License-Identifier: BSD-3-Clause
#include "block/image_open.h"

#include <errno.h>
#include <inttypes.h>

#include <outboard/vault.h>

/* Properties that need an NBD server. */
static int check_server(const struct image_option *option, struct ob_fault *fault)
{
    bool foreign = option->format && !option->block.raw;
    if (!foreign && !option->snapshot && !option->by_server && !option->key_file)
        return 0;
    return ob_fault_set(fault, -EINVAL,
                        "%.80s: %s%s needs an NBD server; use 'outboard disk', which starts one",
                        option->block.path,
                        foreign             ? "format="
                        : option->snapshot  ? "snapshot"
                        : option->by_server ? "nbd"
                                            : "key-file=",
                        foreign ? option->format : "");
}

int image_open(const struct image_option *option, struct block **ret_block, struct ob_fault *fault)
{
    struct block_options own = option->block;
    const struct block_options *options = &own;
    struct block *block = NULL;
    int err = check_server(option, fault);
    /* Another process of the device may have the image until this one is ready. */
    own.succeeds = ob_vault_role() == OB_VAULT_SUCCESSOR;
    if (err == 0)
        err = image_is_nbd(options->path) ? block_nbd_open(options, &block, fault)
                                          : block_uring_open(options, &block, fault);
    if (err < 0)
        return err;
    if (block->size < options->block_size) {
        block->ops->close(block);
        return ob_fault_set(fault, -EINVAL,
                            "%s: the image is smaller than a block of %" PRIu32 " bytes",
                            options->path, options->block_size);
    }
    *ret_block = block;
    return 0;
}

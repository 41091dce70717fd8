// SPDX-License-Identifier: BSD-3-Clause
/* ob_backdoor_main(): a backdoor program around callbacks that are linked in. */
#include <outboard/backdoor_host.h>

#include <errno.h>

#include "program.h"

static int create(void *config, struct ob_device **ret_device, struct ob_fault *fault)
{
    struct backdoor_config *backdoor = config;
    if (!backdoor->ops.call)
        return ob_fault_set(fault, -EINVAL,
                            "ob_backdoor_main(): ob_backdoor_ops.call is NULL; set it");
    return backdoor_new(&backdoor->backdoor, &backdoor->ops, backdoor->pages, ret_device, fault);
}

int ob_backdoor_main(const struct ob_backdoor_ops *ops, int argc, char **argv)
{
    static const struct ob_option options[] = {BACKDOOR_PAGES_OPTION, {0}};
    static const struct ob_program program = {
        .size = sizeof(program),
        .name = "backdoor",
        .summary = "A PCI device by which a guest calls code of this program.",
        .type = "backdoor",
        .options = options,
        .create = create,
        .destroy = backdoor_program_done,
    };
    struct backdoor_config config = {.pages = 1};
    if (ops)
        config.ops = *ops;
    return ob_program_main(&program, &config, argc, argv);
}

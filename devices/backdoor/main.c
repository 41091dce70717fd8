// SPDX-License-Identifier: BSD-3-Clause
/* outboard-backdoor: the backdoor device with callbacks from a shared object. */
#include <errno.h>

#include "library.h"
#include "program.h"

/* share/policy/backdoor.policy */
extern const char policy_backdoor[];

static int apply_library(void *config, const char *value, struct ob_fault *fault)
{
    struct backdoor_config *backdoor = config;
    backdoor->library = value;
    return 0;
}

/* The library may read files when it is loaded. */
static int open_library(void *config, struct ob_fault *fault)
{
    struct backdoor_config *backdoor = config;
    if (!backdoor->library)
        return ob_fault_set(fault, -EINVAL,
                            "give --library=PATH, a shared object with the function "
                            "'void backdoor(uint64_t command, void *data)'");
    return library_load(backdoor->library, &backdoor->ops, fault);
}

static int create(void *config, struct ob_device **ret_device, struct ob_fault *fault)
{
    struct backdoor_config *backdoor = config;
    return backdoor_new(&backdoor->backdoor, &backdoor->ops, backdoor->pages, ret_device, fault);
}

static const struct ob_option options[] = {
    {"library", "PATH", "shared object with the host's side of the backdoor", apply_library},
    BACKDOOR_PAGES_OPTION,
    {0},
};

int main(int argc, char **argv)
{
    static const struct ob_program program = {
        .size = sizeof(program),
        .name = "outboard-backdoor",
        .summary = "A PCI device by which a guest calls code of yours on the host.",
        .type = "backdoor",
        .options = options,
        .open = open_library,
        .create = create,
        .destroy = backdoor_program_done,
        .policy = policy_backdoor,
    };
    struct backdoor_config config = {.pages = 1};
    return ob_program_main(&program, &config, argc, argv);
}

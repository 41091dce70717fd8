// SPDX-License-Identifier: BSD-3-Clause
#include "program.h"

int backdoor_apply_pages(void *config, const char *value, struct ob_fault *fault)
{
    struct backdoor_config *backdoor = config;
    uint64_t pages;
    int err = ob_option_number(value, 1, BACKDOOR_MAX_PAGES, &pages, fault);
    if (err == 0)
        backdoor->pages = (unsigned)pages;
    return err;
}

void backdoor_program_done(void *config)
{
    struct backdoor_config *backdoor = config;
    backdoor_done(&backdoor->backdoor);
}

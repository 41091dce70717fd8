// SPDX-License-Identifier: BSD-3-Clause
/* The parts that both backdoor programs share: outboard-backdoor (main.c), which loads its callbacks, and
 * ob_backdoor_main() (host.c), whose callbacks are linked in. */
#ifndef OUTBOARD_DEVICES_BACKDOOR_PROGRAM_H
#define OUTBOARD_DEVICES_BACKDOOR_PROGRAM_H

#include <outboard/program.h>

#include "backdoor.h"

struct backdoor_config {
    unsigned pages;
    const char *library; /* outboard-backdoor only */
    struct ob_backdoor_ops ops;
    struct backdoor backdoor;
};

/* For the table of options; sets backdoor_config.pages. */
#define BACKDOOR_PAGES_OPTION                                                                      \
    {                                                                                              \
        "pages", "N", "size of the data channel in pages of 4096 bytes, 1 to 255 (default 1)",     \
            backdoor_apply_pages                                                                   \
    }

int backdoor_apply_pages(void *config, const char *value, struct ob_fault *fault);

/* For ob_program.destroy. */
void backdoor_program_done(void *config);

#endif

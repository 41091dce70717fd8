// SPDX-License-Identifier: BSD-3-Clause
/* The results of `outboard inspect`, and the two ways to print it. */
#ifndef OUTBOARD_PROGRAMS_REPORT_H
#define OUTBOARD_PROGRAMS_REPORT_H

#include <outboard/client.h>

#include "config_space.h"

#define REPORT_AREAS 16 /* of a BAR, that are looked at */

struct report {
    struct ob_client_info info;
    uint8_t config[CONFIG_LEN];
    struct capabilities capabilities;
    struct ob_client_area areas[OB_BAR_COUNT][REPORT_AREAS];
    unsigned num_areas[OB_BAR_COUNT];
    bool migrates; /* its state can be saved */
};

/* By enum ob_client_irq. */
extern const char *const vector_names[OB_CLIENT_IRQ_KINDS];

/* Where a BAR is, as configuration space says. */
uint64_t report_bar_address(const struct report *report, unsigned bar);

void report_print_text(const struct report *report);
/* 0, or -1 when there is no memory for it. */
int report_print_json(const struct report *report);

#endif

// SPDX-License-Identifier: BSD-3-Clause
/* The page of statistics of this process, if its launcher wants one (base/statistics.h). */
#ifndef OUTBOARD_PROGRAM_STATISTICS_PAGE_H
#define OUTBOARD_PROGRAM_STATISTICS_PAGE_H

#include "base/statistics.h"

/* Maps the page that $OUTBOARD_STATISTICS_FD names and closes the descriptor. NULL: the variable is
 * not set, or names no such page. */
struct statistics *statistics_page_open(void);
/* NULL is fine. */
void statistics_page_close(struct statistics *page);

#endif

// SPDX-License-Identifier: BSD-3-Clause
/* How many devices are ready, on a terminal, until all are. */
#ifndef OUTBOARD_SUPERVISOR_PROGRESS_H
#define OUTBOARD_SUPERVISOR_PROGRESS_H

/* Shows it on standard error if that is a terminal. A line of the log takes its place. */
void progress_show(unsigned ready, unsigned all);
/* Nothing more is to be shown. */
void progress_end(void);

#endif

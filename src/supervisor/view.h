// SPDX-License-Identifier: BSD-3-Clause
/* View: a device's own monitor socket, if its section names one. */
#ifndef OUTBOARD_SUPERVISOR_VIEW_H
#define OUTBOARD_SUPERVISOR_VIEW_H

#include "supervisor/internal.h"

/* Listens, for the planned device at this place. 0, or a negative errno with the fault filled. */
int view_open(struct plug *plug, struct ob_fault *fault);
/* Ends its clients' connections. */
void view_close(struct plug *plug);

/* Why a client of a view may not make this call, which one of the machine may. NULL: it may. */
const char *view_refusal(const struct monitor_call *call);

#endif

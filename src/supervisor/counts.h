// SPDX-License-Identifier: BSD-3-Clause
/* The counters of a device process (base/statistics.h), as JSON. */
#ifndef OUTBOARD_SUPERVISOR_COUNTS_H
#define OUTBOARD_SUPERVISOR_COUNTS_H

#include "supervisor/device_process.h"
#include "wire/json_out.h"

/* Writes the members of an object that is begun. Nothing is written for a
 * device that has written no page of the known form. */
void counts_put(const struct device_process *device, struct json_out *out);

#endif

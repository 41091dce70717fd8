// SPDX-License-Identifier: BSD-3-Clause
/* The guest memory that a VMM publishes, made fit for a wire. */
#ifndef OUTBOARD_CLIENT_REGIONS_H
#define OUTBOARD_CLIENT_REGIONS_H

#include <outboard/client.h>
#include <outboard/client_memory.h>
#include <outboard/fault.h>

/* Sorts regions by address and merges, in place, those that touch in the guest and in their file.
 * Returns how many are left, or -EINVAL with the fault filled for one that is empty, not page
 * aligned, wraps or overlaps another. */
int regions_merge(struct ob_client_region *regions, unsigned count, struct ob_fault *fault);

#endif

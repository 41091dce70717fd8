// SPDX-License-Identifier: BSD-3-Clause
/* The user's code as a shared object. */
#ifndef OUTBOARD_DEVICES_BACKDOOR_LIBRARY_H
#define OUTBOARD_DEVICES_BACKDOOR_LIBRARY_H

#include <outboard/backdoor_host.h>
#include <outboard/fault.h>

/* Loads the callbacks from a shared object, which stays loaded. 0; -ENOENT when it can't be loaded;
 * -ENOSYS when it has no function for commands; with the fault filled. */
int library_load(const char *path, struct ob_backdoor_ops *ret_ops, struct ob_fault *fault);

#endif

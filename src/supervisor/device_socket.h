// SPDX-License-Identifier: BSD-3-Clause
/* The socket between a device and its VMM, as the plan has it. */
#ifndef OUTBOARD_SUPERVISOR_DEVICE_SOCKET_H
#define OUTBOARD_SUPERVISOR_DEVICE_SOCKET_H

#include "supervisor/plan.h"

/* Makes the device's descriptor 3, and the VMM's end of a pair; -1: no pair. Both are the
 * caller's and lie above SPARE_FD. 0 or a negative errno. */
int device_socket_make(const struct plan_device *plan, int *ret_device_fd, int *ret_vmm_fd);

/* Listens at a path in the supervisor's folder, which is its user's alone. 0 or a negative errno. */
int device_socket_listen(const char *path, int *ret_fd);

#endif

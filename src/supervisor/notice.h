// SPDX-License-Identifier: BSD-3-Clause
/* Events of the control socket. */
#ifndef OUTBOARD_SUPERVISOR_NOTICE_H
#define OUTBOARD_SUPERVISOR_NOTICE_H

#include "supervisor/internal.h"

/* Tells clients, also those of its own socket, of an event of a device, with its name and, if it has
 * ended, how. */
void notice_device(const struct supervisor *supervisor, const char *event,
                   const struct device_process *device);
/* Tells clients of an event of the VM. */
void notice_machine(const struct supervisor *supervisor, const char *event);

#endif

// SPDX-License-Identifier: BSD-3-Clause
/* The end of a device's process, by its status as of waitpid(2), and the words for it. */
#ifndef OUTBOARD_SUPERVISOR_DEVICE_END_H
#define OUTBOARD_SUPERVISOR_DEVICE_END_H

#include "supervisor/device_process.h"

/* Whether it was to continue for a process before, and has ended instead, before it was ready. */
bool device_end_is_refusal(const struct device_process *device, int status);

/* Whether another process may continue, if the vault is fit for it. */
bool device_end_may_restart(const struct device_process *device, int status);

/* The device is given up, before or behind its process. */
void device_end_give_up(struct device_process *device, const char *reason);

/* The end, or READY, has not come in time. */
void device_end_log_late(const struct device_process *device);

/* Another process is started. */
void device_end_log_restart(const struct device_process *device, int status);

/* None is; an end without a failure needs no words. */
void device_end_log(const struct device_process *device, int status);

#endif

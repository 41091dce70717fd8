// SPDX-License-Identifier: BSD-3-Clause
/*
 * Control group: a group of cgroup v2 for the processes of one device, with limits that the configuration
 * names:
 *
 *     cgroup = "/sys/fs/cgroup/machines/disk0"
 *     cgroup.memory.max = "64M"
 *
 * A process enters the group before it executes its program, so everything that it starts is in there.
 * The group is made if it is not there, and removed with its device.
 */
#ifndef OUTBOARD_SUPERVISOR_CONTROL_GROUP_H
#define OUTBOARD_SUPERVISOR_CONTROL_GROUP_H

#include <stdbool.h>

#include "supervisor/config.h"

bool control_group_has_key(const char *key);

/* Whether the settings of a group make sense. 0, or -EINVAL with the fault filled. */
int control_group_check(const char *path, const struct config_section *section,
                        struct ob_fault *fault);

/* Makes the group and sets its limits. 0, also for a device without a group, or a negative errno with the
 * fault filled. */
int control_group_make(const struct config_section *section, struct ob_fault *fault);
/* The file to which a process writes "0" to enter the group. *ret_fd is -1 without a group. 0 or a negative
 * errno. */
int control_group_open(const struct config_section *section, int *ret_fd);
/* NULL is fine. Waits a little for the last processes, which end with their device. */
void control_group_remove(const struct config_section *section);

#endif

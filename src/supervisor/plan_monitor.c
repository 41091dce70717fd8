// SPDX-License-Identifier: BSD-3-Clause
/* The monitor socket of a device: where it is, and who may connect to it. */
#include <errno.h>
#include <string.h>
#include <sys/un.h>

#include "supervisor/plan.h"

#define MONITOR "monitor"

bool plan_is_monitor_key(const char *key)
{
    return strcmp(key, MONITOR) == 0 || socket_access_has_key(MONITOR, key);
}

static const struct config_setting *find_access(const struct config_section *section)
{
    const struct config_setting *mode = config_find(section, MONITOR "-mode");
    return mode ? mode : config_find(section, MONITOR "-owner");
}

int plan_take_monitor(const char *path, const struct config_section *section,
                      struct plan_device *device, struct ob_fault *fault)
{
    const struct config_setting *monitor = config_find(section, MONITOR);
    const struct config_setting *access = find_access(section);
    if (!monitor && access)
        return ob_fault_set(fault, -EINVAL, "%.80s:%u: %.40s: got no monitor; give its path", path,
                            access->line, access->key);
    if (!monitor)
        return 0;
    size_t len = strlen(monitor->value);
    if (len == 0 || len >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return ob_fault_set(fault, -EINVAL,
                            "%.80s:%u: monitor: got a path of %zu bytes, expected 1 to 107", path,
                            monitor->line, len);
    if (!(device->monitor = strdup(monitor->value)))
        return ob_fault_set(fault, -ENOMEM, "no memory for the plan");
    return socket_access_read(path, section, MONITOR, &device->monitor_access, fault);
}

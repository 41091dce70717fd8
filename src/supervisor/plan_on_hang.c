// SPDX-License-Identifier: BSD-3-Clause
/* Policies for devices that hang or die, and for the death of the supervisor. */
#include <errno.h>
#include <string.h>

#include "supervisor/control_group.h"
#include "supervisor/plan.h"

static const char *const on_hang_names[] = {
    [PLAN_FAIL] = "fail",
    [PLAN_KILL] = "kill",
    [PLAN_PAUSE] = "pause",
    [PLAN_RESTART] = "restart",
};

int plan_parse_on_hang(const char *text, enum plan_on_hang *ret_on_hang)
{
    for (size_t i = 0; i < sizeof(on_hang_names) / sizeof(on_hang_names[0]); i++)
        if (strcmp(text, on_hang_names[i]) == 0) {
            *ret_on_hang = (enum plan_on_hang)i;
            return 0;
        }
    return -EINVAL;
}

const char *plan_on_hang_name(enum plan_on_hang on_hang)
{
    return on_hang_names[on_hang];
}

static int wrong(const char *path, const struct config_setting *setting, const char *expected,
                 struct ob_fault *fault)
{
    return ob_fault_set(fault, -EINVAL, "%.80s:%u: %.40s: got '%.60s', expected %.120s", path,
                        setting->line, setting->key, setting->value, expected);
}

/* A process of these takes the paths at which its host ends listen as soon as it starts, so a spare one would
 * have programs of the host wait. */
static bool listens_at_once(const struct plan_device *device)
{
    const char *path = device->command.word[0], *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    return strcmp(name, "outboard-vmchannel") == 0 || strcmp(name, "outboard-vsock") == 0;
}

/* A device that can be restarted is restarted when it hangs, unless the file says otherwise. */
int plan_take_policies(const char *path, const struct config_section *section, bool qemu,
                       struct plan_device *device, struct ob_fault *fault)
{
    const struct config_setting *on_hang = config_find(section, "on-hang");
    const struct config_setting *spare = config_find(section, "spare");
    bool restarts = device->on_death == PLAN_DEATH_RESTART;
    if (on_hang && plan_parse_on_hang(on_hang->value, &device->on_hang) < 0)
        return wrong(path, on_hang, "fail, kill, pause or restart", fault);
    if (on_hang && device->on_hang == PLAN_PAUSE && !qemu)
        return wrong(path, on_hang, "fail, kill or restart: this VMM is not QEMU", fault);
    if (device->on_hang == PLAN_RESTART && !restarts)
        return wrong(path, on_hang, "fail, kill or pause: its device has no on-death = \"restart\"",
                     fault);
    if (restarts && !on_hang)
        device->on_hang = PLAN_RESTART;
    device->spare = spare && strcmp(spare->value, "yes") == 0;
    if (spare && !device->spare && strcmp(spare->value, "no") != 0)
        return wrong(path, spare, "yes or no", fault);
    if (device->spare && !restarts)
        return wrong(path, spare, "no: its device has no on-death = \"restart\"", fault);
    if (device->spare && listens_at_once(device))
        return wrong(path, spare,
                     "no: a spare process would take the sockets of the host's programs", fault);
    return control_group_check(path, section, fault);
}

int plan_take_supervisor_death(const struct config *config, bool *ret_ends, struct ob_fault *fault)
{
    const struct config_setting *setting = config_find(&config->machine, "on-supervisor-death");
    *ret_ends = setting && strcmp(setting->value, "end") == 0;
    if (setting && !*ret_ends && strcmp(setting->value, "continue") != 0)
        return wrong(config->path, setting, "continue or end", fault);
    return 0;
}

// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/control_group.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"

#define KEY    "cgroup"
#define PREFIX KEY "."

static const char *file_of(const struct config_setting *setting)
{
    return setting->key + strlen(PREFIX);
}

static bool is_limit(const char *key)
{
    return strncmp(key, PREFIX, strlen(PREFIX)) == 0;
}

bool control_group_has_key(const char *key)
{
    return strcmp(key, KEY) == 0 || is_limit(key);
}

static int wrong(const char *path, const struct config_setting *setting, const char *expected,
                 struct ob_fault *fault)
{
    return ob_fault_set(fault, -EINVAL, "%.80s:%u: %.40s: got '%.60s', expected %s", path,
                        setting->line, setting->key, setting->value, expected);
}

int control_group_check(const char *path, const struct config_section *section,
                        struct ob_fault *fault)
{
    const struct config_setting *group = config_find(section, KEY);
    if (group && group->value[0] != '/')
        return wrong(path, group, "the absolute path of a group, /sys/fs/cgroup/NAME", fault);
    for (unsigned i = 0; i < section->count; i++) {
        const struct config_setting *setting = &section->settings[i];
        if (!is_limit(setting->key))
            continue;
        if (!group)
            return wrong(path, setting, "cgroup = \"PATH\" beside it", fault);
        if (!*file_of(setting) || strchr(file_of(setting), '/'))
            return wrong(path, setting, "the name of a file of a group as key", fault);
    }
    return 0;
}

/* Lets the group have the controller of a file such as memory.max, as far as that group permits it. */
static int enable_controller(int group, const char *file)
{
    AUTO_FD fd = openat(group, "../cgroup.subtree_control", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return dprintf(fd, "+%.*s", (int)strcspn(file, "."), file) < 0 ? -errno : 0;
}

static int set_limit(int group, const struct config_section *section,
                     const struct config_setting *setting, struct ob_fault *fault)
{
    const char *file = file_of(setting);
    int err = 0;
    AUTO_FD fd = openat(group, file, O_WRONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        err = enable_controller(group, file);
        fd = openat(group, file, O_WRONLY | O_CLOEXEC);
    }
    if (fd < 0)
        return ob_fault_set(
            fault, -errno,
            "[device \"%s\"]: %s: got '%s' from the group, and '%s' when its controller was to be "
            "enabled; give a cgroup whose parent has the controller, and no process of its own",
            section->id, setting->key, strerror(errno), strerror(-err));
    if (write(fd, setting->value, strlen(setting->value)) < 0)
        return ob_fault_set(fault, -errno,
                            "[device \"%s\"]: %s: the kernel refuses '%.60s': %s; give a value "
                            "that this file takes",
                            section->id, setting->key, setting->value, strerror(errno));
    return 0;
}

int control_group_make(const struct config_section *section, struct ob_fault *fault)
{
    const char *path = config_value(section, KEY);
    struct statfs status;
    if (!path)
        return 0;
    int made = mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
    AUTO_FD group = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (made < 0 || group < 0)
        return ob_fault_set(
            fault, made < 0 ? made : -errno,
            "[device \"%s\"]: cgroup: can't make %.100s: %s; give a path in a "
            "group that this user may write, such as a delegated one (Delegate=yes)",
            section->id, path, strerror(made < 0 ? -made : errno));
    if (fstatfs(group, &status) < 0 || status.f_type != CGROUP2_SUPER_MAGIC) {
        rmdir(path);
        return ob_fault_set(fault, -EINVAL,
                            "[device \"%s\"]: cgroup: got %.100s, expected a path in a file "
                            "system of cgroup v2",
                            section->id, path);
    }
    int err = 0;
    for (unsigned i = 0; i < section->count && err == 0; i++)
        if (is_limit(section->settings[i].key))
            err = set_limit(group, section, &section->settings[i], fault);
    if (err < 0)
        rmdir(path);
    return err;
}

int control_group_open(const struct config_section *section, int *ret_fd)
{
    const char *path = config_value(section, KEY);
    *ret_fd = -1;
    if (!path)
        return 0;
    AUTO_FD group = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    *ret_fd = group < 0 ? -1 : openat(group, "cgroup.procs", O_WRONLY | O_CLOEXEC);
    return *ret_fd < 0 ? -errno : 0;
}

void control_group_remove(const struct config_section *section)
{
    const char *path = section ? config_value(section, KEY) : NULL;
    char byte;
    if (!path || rmdir(path) == 0 || errno != EBUSY)
        return;
    AUTO_FD group = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    AUTO_FD events = openat(group, "cgroup.events", O_RDONLY | O_CLOEXEC);
    /* A change since the file was read is an event. */
    while (events >= 0 && pread(events, &byte, 1, 0) == 1 && rmdir(path) < 0 && errno == EBUSY &&
           poll(&(struct pollfd){.fd = events, .events = POLLPRI}, 1, LIMIT_GROUP_END_MS) > 0)
        ;
}

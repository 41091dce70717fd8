// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "sandbox/stages.h"

/* As the kernel has it since 6.12; older headers have a shorter one. */
struct ruleset {
    uint64_t file_rights; // cppcheck-suppress unusedStructMember ; the kernel's
    uint64_t port_rights; // cppcheck-suppress unusedStructMember ; ABI 4
    uint64_t scopes;      // cppcheck-suppress unusedStructMember ; ABI 6
};

#define BIND    UINT64_C(1)
#define CONNECT UINT64_C(2)
#define SCOPES  UINT64_C(3) /* abstract sockets, signals */

#define SCOPE_SIGNALS UINT64_C(2)

/* How many rights to files the kernel knows, by the version of its interface. */
static unsigned count_file_rights(int version)
{
    return version >= 5 ? 16 : version >= 3 ? 15 : version == 2 ? 14 : 13;
}

/* A right that this kernel's version does not know would be an error. */
static int grant(int ruleset, const struct landlock_grant *grant, uint64_t known)
{
    AUTO_FD fd = open(grant->path, O_PATH | O_CLOEXEC);
    const struct landlock_path_beneath_attr rule = {.allowed_access = grant->rights & known,
                                                    .parent_fd = fd};
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0
               ? -errno
               : 0;
}

int stage_landlock_with(const struct landlock_rules *rules)
{
    int version =
        (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 0)
        return -errno;
    const struct ruleset taken = {
        .file_rights = (UINT64_C(1) << count_file_rights(version)) - 1,
        .port_rights = (rules->has_own_ports ? 0 : BIND) | (rules->has_ports ? 0 : CONNECT),
        .scopes = rules->has_abstract ? SCOPE_SIGNALS : SCOPES,
    };
    size_t len = version >= 6   ? sizeof(taken)
                 : version >= 4 ? offsetof(struct ruleset, scopes)
                                : offsetof(struct ruleset, port_rights);
    AUTO_FD fd = (int)syscall(SYS_landlock_create_ruleset, &taken, len, 0);
    if (fd < 0)
        return -errno;
    for (unsigned i = 0; i < rules->count; i++) {
        int err = grant(fd, &rules->grants[i], taken.file_rights);
        if (err < 0)
            return err;
    }
    return syscall(SYS_landlock_restrict_self, fd, 0) < 0 ? -errno : version;
}

int stage_landlock(void)
{
    const struct landlock_rules none = {0};
    return stage_landlock_with(&none);
}

#define SINCE_6_12 "abstract sockets and signals (Linux 6.12)"
#define SINCE_6_10 "ioctl(2) of devices (Linux 6.10), " SINCE_6_12
#define SINCE_6_7  "TCP ports (Linux 6.7), " SINCE_6_10

const char *stage_landlock_gaps(int version)
{
    if (version >= 6)
        return NULL;
    if (version == 5)
        return SINCE_6_12;
    if (version == 4)
        return SINCE_6_10;
    return version == 3 ? SINCE_6_7 : "truncate(2) (Linux 6.2), " SINCE_6_7;
}

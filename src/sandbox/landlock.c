// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
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

#define PORT_RIGHTS UINT64_C(3) /* to bind, to connect */
#define SCOPES      UINT64_C(3) /* abstract sockets, signals */

/* How many rights to files the kernel knows, by the version of its interface. */
static unsigned count_file_rights(int version)
{
    return version >= 5 ? 16 : version >= 3 ? 15 : version == 2 ? 14 : 13;
}

/* A ruleset without a rule: all rights that it names are taken away. */
int stage_landlock(void)
{
    int version =
        (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 0)
        return -errno;
    const struct ruleset none = {
        .file_rights = (UINT64_C(1) << count_file_rights(version)) - 1,
        .port_rights = PORT_RIGHTS,
        .scopes = SCOPES,
    };
    size_t len = version >= 6   ? sizeof(none)
                 : version >= 4 ? offsetof(struct ruleset, scopes)
                                : offsetof(struct ruleset, port_rights);
    AUTO_FD fd = (int)syscall(SYS_landlock_create_ruleset, &none, len, 0);
    if (fd < 0 || syscall(SYS_landlock_restrict_self, fd, 0) < 0)
        return -errno;
    return version;
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

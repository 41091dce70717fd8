// SPDX-License-Identifier: BSD-3-Clause
#include "block/nbd_outside.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As Linux 6.12 has it; older headers have a shorter one. */
struct ruleset {
    uint64_t files;  // cppcheck-suppress unusedStructMember ; the kernel's
    uint64_t ports;  // cppcheck-suppress unusedStructMember ; ABI 4
    uint64_t scopes; // cppcheck-suppress unusedStructMember ; ABI 6
};

#define FILES_OF_ABI_1 ((UINT64_C(1) << 13) - 1)
#define TRUNCATE       (UINT64_C(1) << 14) /* ABI 3 */
#define READ           (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define BIND           UINT64_C(1)
#define CONNECT        UINT64_C(2)
#define ABSTRACT       UINT64_C(1)
#define SIGNALS        UINT64_C(2)

static void allow_reading(int ruleset)
{
    int root = open("/", O_PATH | O_CLOEXEC);
    const struct landlock_path_beneath_attr rule = {.allowed_access = READ, .parent_fd = root};
    if (root >= 0)
        syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(root);
}

void nbd_outside_confine(const struct nbd_uri *uri, bool keeps_proc)
{
    const bool has_names = uri->host[0];
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    const struct ruleset taken = {
        .files = FILES_OF_ABI_1 | (version >= 3 ? TRUNCATE : 0),
        .ports = has_names ? BIND : BIND | CONNECT,
        .scopes = has_names || !uri->path.sun_path[0] ? SIGNALS : SIGNALS | ABSTRACT,
    };
    size_t len = version >= 6   ? sizeof(taken)
                 : version >= 4 ? offsetof(struct ruleset, scopes)
                                : offsetof(struct ruleset, ports);
    if (!keeps_proc)
        prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    int ruleset = version < 1 ? -1 : (int)syscall(SYS_landlock_create_ruleset, &taken, len, 0);
    if (ruleset < 0)
        return;
    if (has_names)
        allow_reading(ruleset);
    syscall(SYS_landlock_restrict_self, ruleset, 0);
    close(ruleset);
}

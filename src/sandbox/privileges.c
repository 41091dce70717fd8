// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/limits.h"
#include "sandbox/sanitized.h"
#include "sandbox/stages.h"

static const unsigned long locked_bits =
    SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |
    SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

static bool has_none(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct has[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &header, has) < 0)
        return false;
    uint32_t any = 0;
    for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        any |= has[i].effective | has[i].permitted | has[i].inheritable;
    return any == 0;
}

/* The calls that need capabilities come first. A process without any, and without namespaces to get some,
 * can't change the bounding set or the securebits. Both count at exec only, and stage_privileges()
 * ends the privileges that exec gives. */
int stage_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
    int err = 0;
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (int capability = 0; capability < 64 && err == 0; capability++)
        if (prctl(PR_CAPBSET_DROP, capability) < 0 && errno != EINVAL)
            err = -errno;
    if (err == 0 && prctl(PR_SET_SECUREBITS, locked_bits) < 0)
        err = -errno;
    if (syscall(SYS_capset, &header, none) < 0)
        return -errno;
    return err == -EPERM && has_none() ? 0 : err;
}

static int limit(__rlimit_resource_t resource, rlim_t wanted)
{
    struct rlimit limits;
    if (getrlimit(resource, &limits) < 0)
        return -errno;
    rlim_t most = limits.rlim_max < wanted ? limits.rlim_max : wanted;
    limits = (struct rlimit){.rlim_cur = most, .rlim_max = most};
    return setrlimit(resource, &limits) < 0 ? -errno : 0;
}

/* Of descriptors a launcher may have allowed less: its soft limit is the hard one from now on. */
static int limit_files(rlim_t most)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return -errno;
    return limit(RLIMIT_NOFILE, files.rlim_cur < most ? files.rlim_cur : most);
}

int stage_limits(bool alone, unsigned long files)
{
    int err = limit(RLIMIT_CORE, 0);
    if (err == 0)
        err = limit(RLIMIT_MEMLOCK, 0);
    if (err == 0 && alone)
        err = limit(RLIMIT_NPROC, LIMIT_CELL_PROCESSES);
    if (err == 0 && !SANITIZED)
        err = limit(RLIMIT_DATA, LIMIT_CELL_MEMORY);
    return err == 0 ? limit_files(files ? files : LIMIT_CELL_FILES) : err;
}

int stage_inspection(void)
{
    return prctl(PR_SET_DUMPABLE, 0) < 0 ? -errno : 0;
}

int stage_privileges(void)
{
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

// SPDX-License-Identifier: BSD-3-Clause
#include "sandbox/cell.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "sandbox/refusal.h"
#include "sandbox/sanitized.h"
#include "sandbox/stages.h"
#include "sandbox/user_record.h"

static const struct {
    const char *name, *excuse;
} parts[CELL_PARTS] = {
    [CELL_USER] = {"own user id", "the program does not run as root"},
    [CELL_NAMESPACES] = {"own namespaces", NULL},
    [CELL_ROOT] =
        {"empty root",
         "the device opens paths later, there are no namespaces, or this build has sanitizers"},
    [CELL_CAPABILITIES] = {"no capabilities", NULL},
    [CELL_LIMITS] = {"limits of memory and processes", NULL},
    [CELL_INSPECTION] = {"no inspection by its user", "this build has sanitizers"},
    [CELL_PRIVILEGES] = {"no privileges by exec", NULL},
    [CELL_LANDLOCK] = {"Landlock",
                       "the device opens paths or connects later, or this build has sanitizers"},
    [CELL_CALLS] = {"listed system calls only", "this build has sanitizers"},
};

/* Root takes an id of its own. An id that could not be recorded is taken all the same, and the part
 * is reported as refused: another program may have it too. */
static int take_user(uid_t wanted, int *ret_fd)
{
    uid_t user = wanted ? wanted : USER_RECORD_FIRST + (uid_t)getpid();
    int fd = user_record_take(USER_RECORD_FOLDER, wanted ? wanted : USER_RECORD_FIRST,
                              wanted ? 1 : USER_RECORD_COUNT, &user);
    int err = stage_user(user);
    *ret_fd = fd < 0 ? -1 : fd;
    return err < 0 ? err : fd < 0 ? fd : 0;
}

/* The kernel forgets at each change of user or capabilities which signal the launcher's end is to
 * send. If the launcher has ended meanwhile, it is sent now. */
static void keep_parent_signal(int number, pid_t parent)
{
    if (number == 0)
        return;
    prctl(PR_SET_PDEATHSIG, number);
    if (getppid() != parent)
        raise(number);
}

static void take_landlock(struct cell_report *report)
{
    int version = stage_landlock();
    report->part[CELL_LANDLOCK] = version < 0 ? version : 0;
    report->landlock_gaps = version < 0 ? NULL : stage_landlock_gaps(version);
}

void cell_leave(const struct cell_plan *plan, struct cell_report *report)
{
    int *part = report->part;
    int parent_signal = 0;
    pid_t parent = getppid();
    prctl(PR_GET_PDEATHSIG, &parent_signal);
    report->user_fd = -1;
    report->landlock_gaps = NULL;
    for (unsigned i = 0; i < CELL_PARTS; i++)
        part[i] = CELL_LEFT_OUT;
    if (geteuid() == 0)
        part[CELL_USER] = take_user(plan->user, &report->user_fd);
    part[CELL_NAMESPACES] = stage_namespaces(!plan->reaches_out);
    bool has_paths = plan->reaches_out || SANITIZED; /* sanitizers look into /proc at the end */
    if (!has_paths && part[CELL_NAMESPACES] == 0)
        part[CELL_ROOT] = stage_root();
    part[CELL_CAPABILITIES] = stage_capabilities();
    /* A user namespace counts its own processes. A user who was drawn has no others. */
    part[CELL_LIMITS] = stage_limits(
        part[CELL_NAMESPACES] == 0 || (part[CELL_USER] == 0 && !plan->user), plan->files);
    if (!SANITIZED)
        part[CELL_INSPECTION] = stage_inspection();
    part[CELL_PRIVILEGES] = stage_privileges();
    if (!has_paths)
        take_landlock(report);
    keep_parent_signal(parent_signal, parent);
}

bool cell_is_isolated(const struct cell_report *report)
{
    return report->part[CELL_NAMESPACES] == 0 && report->part[CELL_ROOT] == 0 &&
           report->part[CELL_LANDLOCK] == 0 && !report->landlock_gaps;
}

void cell_close(struct policy *policy, const char *program, struct cell_report *report)
{
    int err = refusal_prepare(policy, program); /* which keeps both for ever */
    if (SANITIZED)
        return;
    report->part[CELL_CALLS] = err < 0 ? err : policy_load(policy);
}

void cell_settle(struct policy *policy, struct cell_report *report)
{
    if (report->part[CELL_CALLS] == 0)
        report->part[CELL_CALLS] = policy_settle(policy);
    malloc_trim(0); /* the filters' parts: a process is small, and there are many */
}

const char *cell_part_name(enum cell_part part)
{
    return parts[part].name;
}

const char *cell_part_excuse(enum cell_part part)
{
    return parts[part].excuse ? parts[part].excuse : "left out";
}

const char *cell_part_remedy(enum cell_part part, int err)
{
    switch (part) {
    case CELL_USER:
        if (err == -EBUSY)
            return "another program runs as this user: give each its own --user=UID";
        if (err == -EINVAL)
            return "give --user=UID with an id of this user namespace (/proc/self/uid_map)";
        return "give root the right to change its user, and a writable " USER_RECORD_FOLDER
               ", where ids that are taken are recorded";
    case CELL_NAMESPACES:
        if (err == -EINVAL)
            return "a thread was running: start none in a library's constructor or in open()";
        if (err == -ENOSPC)
            return "set sysctl user.max_user_namespaces above 0";
        return "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1 (Debian), "
               "kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), or the container's "
               "seccomp profile";
    case CELL_CAPABILITIES:
        return "it follows from the namespaces that are missing";
    case CELL_LANDLOCK:
        return "boot a kernel of 5.13 or later with 'landlock' in lsm=";
    case CELL_CALLS:
        return "build the kernel with CONFIG_SECCOMP_FILTER";
    default:
        return "start the program without the limits of a container";
    }
}

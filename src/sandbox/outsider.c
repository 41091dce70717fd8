// SPDX-License-Identifier: BSD-3-Clause
#include "sandbox/outsider.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/stages.h"

/* None of these is part of the work of an outsider: they look into other processes, load code into the
 * kernel, keep keys, make rings whose operations no filter sees, and change mounts and namespaces. */
static const int never[] = {
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(process_madvise),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(keyctl),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_uring_register),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(move_mount),
    SCMP_SYS(open_tree),
    SCMP_SYS(mount_setattr),
    SCMP_SYS(fsopen),
    SCMP_SYS(fsmount),
    SCMP_SYS(fsconfig),
    SCMP_SYS(fspick),
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(chroot),
    SCMP_SYS(swapon),
    SCMP_SYS(swapoff),
    SCMP_SYS(acct),
    SCMP_SYS(iopl),
    SCMP_SYS(ioperm),
    SCMP_SYS(modify_ldt),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(fanotify_init),
    SCMP_SYS(migrate_pages),
    SCMP_SYS(move_pages),
    SCMP_SYS(quotactl),
    SCMP_SYS(vhangup),
};

/* Nor is any of these of the work of what connects alone: they change files that it may not open,
 * users, the machine's name and clock, other processes' time, and take memory that outlives it. */
static const int never_by_connecting[] = {
    SCMP_SYS(chown),
    SCMP_SYS(fchown),
    SCMP_SYS(lchown),
    SCMP_SYS(fchownat),
    SCMP_SYS(setxattr),
    SCMP_SYS(lsetxattr),
    SCMP_SYS(fsetxattr),
    SCMP_SYS(removexattr),
    SCMP_SYS(lremovexattr),
    SCMP_SYS(fremovexattr),
    SCMP_SYS(utime),
    SCMP_SYS(utimes),
    SCMP_SYS(futimesat),
    SCMP_SYS(utimensat),
    SCMP_SYS(setuid),
    SCMP_SYS(setgid),
    SCMP_SYS(setreuid),
    SCMP_SYS(setregid),
    SCMP_SYS(setresuid),
    SCMP_SYS(setresgid),
    SCMP_SYS(setfsuid),
    SCMP_SYS(setfsgid),
    SCMP_SYS(setgroups),
    SCMP_SYS(capset),
    SCMP_SYS(personality),
    SCMP_SYS(sethostname),
    SCMP_SYS(setdomainname),
    SCMP_SYS(syslog),
    SCMP_SYS(reboot),
    SCMP_SYS(settimeofday),
    SCMP_SYS(clock_settime),
    SCMP_SYS(adjtimex),
    SCMP_SYS(clock_adjtime),
    SCMP_SYS(setpriority),
    SCMP_SYS(sched_setaffinity),
    SCMP_SYS(sched_setscheduler),
    SCMP_SYS(sched_setparam),
    SCMP_SYS(sched_setattr),
    SCMP_SYS(ioprio_set),
    SCMP_SYS(shmget),
    SCMP_SYS(semget),
    SCMP_SYS(msgget),
    SCMP_SYS(mq_open),
    SCMP_SYS(mknod),
    SCMP_SYS(mknodat),
};

/* Of what listens in folders: it sets the modes of its sockets, and waits for files to appear. */
static const int folders[] = {
    SCMP_SYS(chmod),        SCMP_SYS(fchmod),        SCMP_SYS(fchmodat),
    SCMP_SYS(inotify_init), SCMP_SYS(inotify_init1),
};

static const int execs[] = {SCMP_SYS(execve), SCMP_SYS(execveat)};

static int refuse(scmp_filter_ctx filter, const int *calls, size_t count)
{
    int err = 0;
    for (size_t i = 0; i < count && err == 0; i++)
        err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), calls[i], 0);
    return err;
}

/* Flags of clone3(2) lie in memory, where a filter can't look; the C library uses clone(2) then. */
static int refuse_namespaces(scmp_filter_ctx filter)
{
    static const uint64_t flags[] = {CLONE_NEWUSER, CLONE_NEWNS,  CLONE_NEWPID,   CLONE_NEWNET,
                                     CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP};
    int err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]) && err == 0; i++)
        err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                               SCMP_A0(SCMP_CMP_MASKED_EQ, flags[i], flags[i]));
    return err;
}

static int refuse_code(scmp_filter_ctx filter)
{
    static const int calls[] = {SCMP_SYS(mmap), SCMP_SYS(mprotect), SCMP_SYS(pkey_mprotect)};
    int err = 0;
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]) && err == 0; i++)
        err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), calls[i], 1,
                               SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC));
    return err;
}

/* Sockets of the families that lead to peers, and netlink(7), by which the C library asks for the machine's addresses. */
static int refuse_families(scmp_filter_ctx filter)
{
    static const int families[] = {AF_AX25, AF_IPX,  AF_KEY,       AF_PACKET, AF_RDS,
                                   AF_CAN,  AF_TIPC, AF_BLUETOOTH, AF_RXRPC,  AF_ALG};
    int err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
                               SCMP_A0(SCMP_CMP_GT, AF_VSOCK, 0));
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]) && err == 0; i++)
        err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
                               SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i], 0));
    for (int raw = 0; raw < 2 && err == 0; raw++)
        err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 2,
                               SCMP_A0(SCMP_CMP_EQ, raw ? AF_INET6 : AF_INET, 0),
                               SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, SOCK_RAW));
    return err;
}

/* Of a process that connects, listens and removes paths. */
static int refuse_other_work(scmp_filter_ctx filter, const struct outsider_plan *plan)
{
    int err = refuse(filter, execs, sizeof(execs) / sizeof(execs[0]));
    if (err == 0 && !plan->loads_libraries)
        err = refuse_code(filter);
    if (err == 0)
        err = refuse(filter, never_by_connecting,
                     sizeof(never_by_connecting) / sizeof(never_by_connecting[0]));
    if (err == 0 && !plan->makes_sockets)
        err = refuse(filter, folders, sizeof(folders) / sizeof(folders[0]));
    if (err == 0) /* limits of others */
        err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prlimit64), 1,
                               SCMP_A0(SCMP_CMP_NE, 0, 0));
    if (err == 0)
        err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prctl), 1,
                               SCMP_A0(SCMP_CMP_EQ, PR_SET_DUMPABLE, 0));
    return err == 0 ? refuse_families(filter) : err;
}

static int take_calls(const struct outsider_plan *plan)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (!filter)
        return -ENOMEM;
    int err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (err == 0)
        err = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
    if (err == 0)
        err = refuse(filter, never, sizeof(never) / sizeof(never[0]));
    if (err == 0)
        err = refuse_namespaces(filter);
    if (err == 0 && !plan->execs_helpers)
        err = refuse_other_work(filter, plan);
    if (err == 0)
        err = seccomp_load(filter);
    seccomp_release(filter);
    return err;
}

static void folder_of(const char *path, char ret_folder[PATH_MAX])
{
    const char *end = strrchr(path, '/');
    int len = !end ? 0 : end == path ? 1 : (int)(end - path);
    snprintf(ret_folder, PATH_MAX, "%.*s", len ? len : 1, len ? path : ".");
}

static int take_paths(const struct outsider_plan *plan)
{
    char folder[PATH_MAX];
    struct landlock_grant grants[3];
    unsigned count = 0;
    uint64_t rights = (plan->reads_files ? LANDLOCK_READ : 0) |
                      (plan->makes_sockets ? LANDLOCK_MAKE_SOCKETS | LANDLOCK_READ : 0) |
                      (plan->removes_files ? LANDLOCK_REMOVE : 0);
    if (rights)
        grants[count++] = (struct landlock_grant){.path = "/", .rights = rights};
    if (plan->device) { /* it may appear later, and its path may be a link to /dev */
        folder_of(plan->device, folder);
        grants[count++] = (struct landlock_grant){.path = folder, .rights = LANDLOCK_OPEN_DEVICE};
        grants[count++] = (struct landlock_grant){.path = "/dev", .rights = LANDLOCK_OPEN_DEVICE};
    }
    const struct landlock_rules rules = {
        .grants = grants,
        .count = count,
        .has_ports = plan->dials,
        .has_own_ports = plan->listens,
        .has_abstract = plan->dials || plan->dials_abstract,
    };
    int version = stage_landlock_with(&rules);
    return version < 0 ? version : 0;
}

static void note(int *first, int err)
{
    if (*first == 0 && err < 0)
        *first = err;
}

int outsider_confine(const struct outsider_plan *plan)
{
    int first = 0;
    if (!plan->looks_at_itself)
        note(&first, stage_inspection());
    if (plan->starts_programs)
        return first;
    note(&first, stage_privileges());
    if (!plan->writes_files)
        note(&first, take_paths(plan));
    if (!plan->reads_nothing)
        note(&first, take_calls(plan));
    return first;
}

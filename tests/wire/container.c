// SPDX-License-Identifier: BSD-3-Clause
/*
 * container PROGRAM [ARGUMENT...]: becomes PROGRAM, to which the kernel refuses the calls that Docker's and
 * Podman's default profiles refuse: namespaces, mounts, io_uring and more, and as root most
 * capabilities. So a test needs no container manager.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAMESPACES                                                                                 \
    (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID |     \
     CLONE_NEWCGROUP)

#define LOAD(field)                                                                                \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, field))
#define ANSWER(err)     BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (err))
#define REFUSE(nr, err) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), ANSWER(err)

static const int kept[] = {
    CAP_CHOWN,       CAP_DAC_OVERRIDE,     CAP_FOWNER,  CAP_FSETID,     CAP_KILL,
    CAP_SETGID,      CAP_SETUID,           CAP_SETPCAP, CAP_SETFCAP,    CAP_MKNOD,
    CAP_AUDIT_WRITE, CAP_NET_BIND_SERVICE, CAP_NET_RAW, CAP_SYS_CHROOT,
};

static int is_kept(int capability)
{
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        if (kept[i] == capability)
            return 1;
    return 0;
}

static int drop_capabilities(void)
{
    for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
        if (!is_kept(capability) && prctl(PR_CAPBSET_DROP, capability) < 0 && errno != EINVAL)
            return -1;
    return 0;
}

static int refuse_calls(void)
{
    struct sock_filter filter[] = {
        LOAD(nr),
        REFUSE(SYS_unshare, EPERM),
        REFUSE(SYS_setns, EPERM),
        REFUSE(SYS_mount, EPERM),
        REFUSE(SYS_umount2, EPERM),
        REFUSE(SYS_pivot_root, EPERM),
        REFUSE(SYS_io_uring_setup, EPERM),
        REFUSE(SYS_io_uring_enter, EPERM),
        REFUSE(SYS_io_uring_register, EPERM),
        REFUSE(SYS_keyctl, EPERM),
        REFUSE(SYS_bpf, EPERM),
        REFUSE(SYS_perf_event_open, EPERM),
        REFUSE(SYS_userfaultfd, EPERM),
        REFUSE(SYS_clone3, ENOSYS),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
        LOAD(args[0]),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NAMESPACES, 0, 1),
        ANSWER(EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "container: give a program\n");
        return 2;
    }
    if ((geteuid() == 0 && drop_capabilities() < 0) || refuse_calls() < 0) {
        perror("container");
        return 1;
    }
    execvp(argv[1], argv + 1);
    perror(argv[1]);
    return 127;
}

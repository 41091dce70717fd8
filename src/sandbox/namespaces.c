// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "sandbox/stages.h"

#define SET_LEN 64

int stage_user(uid_t user)
{
    if (setgroups(0, NULL) < 0 || setresgid(user, user, user) < 0 ||
        setresuid(user, user, user) < 0)
        return -errno;
    return 0;
}

static int set(const char *path, const char *text)
{
    AUTO_FD fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* The process stays who it is, and is nobody else. */
static int map_ids(uid_t user, gid_t group)
{
    char text[SET_LEN];
    int err = set("/proc/self/setgroups", "deny");
    snprintf(text, sizeof(text), "%u %u 1", user, user);
    if (err == 0)
        err = set("/proc/self/uid_map", text);
    snprintf(text, sizeof(text), "%u %u 1", group, group);
    return err == 0 ? set("/proc/self/gid_map", text) : err;
}

/* AppArmor may let a process make a user namespace and then refuse it all that this gives. So only
 * a mount shows that it is one. */
int stage_namespaces(bool with_network)
{
    int wanted = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
    uid_t user = geteuid();
    gid_t group = getegid();
    if (prctl(PR_SET_DUMPABLE, 1) < 0) /* or the maps belong to root since stage_user() */
        return -errno;
    if (unshare(wanted | (with_network ? CLONE_NEWNET : 0)) < 0)
        return -errno;
    int err = map_ids(user, group);
    if (err < 0)
        return err;
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? -errno : 0;
}

/* /proc is a folder that is there: stage_namespaces() has opened files in it. An initramfs can't be
 * pivoted away, it is hidden behind the new root. */
int stage_root(void)
{
    if (mount("cell", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY,
              "nr_inodes=2,nr_blocks=1,mode=555") < 0 ||
        chdir("/proc") < 0)
        return -errno;
    if (syscall(SYS_pivot_root, ".", ".") == 0) {
        if (umount2(".", MNT_DETACH) < 0)
            return -errno;
    } else if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0) {
        return -errno;
    }
    return chdir("/") < 0 ? -errno : 0;
}

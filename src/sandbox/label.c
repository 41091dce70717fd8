// SPDX-License-Identifier: BSD-3-Clause
#include "sandbox/label.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/number.h"

/* The process id that has taken the label: exec keeps the id, a child has another one. */
#define MARK        "OUTBOARD_LABELLED"
#define NUMBER_SIZE 24

bool label_is_context(const char *label)
{
    const char *role = strchr(label, ':');
    return role && role != label && strchr(role + 1, ':');
}

/* Since Linux 5.8, AppArmor has a folder of its own; the files beside it belong to the first module
 * that has any. */
static int open_attribute(const char *name, bool context, int flags)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/attr/%s%s", context ? "" : "apparmor/", name);
    int fd = open(path, flags | O_CLOEXEC);
    if (fd >= 0 || errno != ENOENT || context)
        return fd;
    snprintf(path, sizeof(path), "/proc/self/attr/%s", name);
    return open(path, flags | O_CLOEXEC);
}

static bool is_marked(void)
{
    const char *mark = getenv(MARK);
    uint64_t pid;
    bool marked = mark && number_parse(mark, 10, INT_MAX, &pid) == 0 && pid == (uint64_t)getpid();
    unsetenv(MARK);
    return marked;
}

/* AppArmor adds a mode, as in "outboard-nvme (enforce)". */
static bool is_current(const char *label, bool context)
{
    char text[LIMIT_LABEL_LEN + 16];
    AUTO_FD fd = open_attribute("current", context, O_RDONLY);
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (len < 0)
        return false;
    text[len] = '\0';
    text[strcspn(text, context ? "\n" : "\n ")] = '\0';
    return strcmp(text, label) == 0;
}

static const char *advice(int err, bool context)
{
    switch (err) {
    case ENOENT:
        return context ? "mount /proc" : "load the profile by apparmor_parser --replace";
    case EINVAL:
        return context ? "boot with SELinux, and load a policy that has this context"
                       : "boot with AppArmor";
    default:
        return context ? "allow the transition in the policy, or let the launcher set the context"
                       : "allow the change by a change_profile rule, or let the launcher set the "
                         "profile";
    }
}

static int refuse(const char *label, int err, struct ob_fault *fault)
{
    return ob_fault_set(fault, -err, "--label=%.100s: got '%s'; %s", label, strerror(err),
                        advice(err, label_is_context(label)));
}

/* Returns only if it fails, with an errno. */
static int execute_again(const char *label, char **argv)
{
    char text[LIMIT_LABEL_LEN + 8], pid[NUMBER_SIZE], path[PATH_MAX];
    bool context = label_is_context(label);
    ssize_t path_len = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (path_len < 0)
        return errno;
    path[path_len] = '\0';
    AUTO_FD fd = open_attribute("exec", context, O_WRONLY);
    if (fd < 0)
        return errno == ENOENT ? EINVAL : errno;
    int len = snprintf(text, sizeof(text), "%s%s", context ? "" : "exec ", label);
    if (write(fd, text, (size_t)len) < 0)
        return errno;
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    if (setenv(MARK, pid, 1) < 0)
        return errno;
    execv(path, argv);
    return errno;
}

int label_take(const char *label, char **argv, struct ob_fault *fault)
{
    if (!*label || strlen(label) > LIMIT_LABEL_LEN)
        return ob_fault_set(fault, -EINVAL, "--label: got %zu bytes, expected 1 to %u",
                            strlen(label), LIMIT_LABEL_LEN);
    if (is_marked() || is_current(label, label_is_context(label)))
        return 0;
    return refuse(label, execute_again(label, argv), fault);
}

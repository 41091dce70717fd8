// SPDX-License-Identifier: BSD-3-Clause
#include "sandbox/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/number.h"
#include "os/log.h"
#include "sandbox/environment.h"
#include "sandbox/sanitized.h"

int confine_parse_how(const char *value, enum confine_how *ret_how, struct ob_fault *fault)
{
    static const char *const names[] = {
        [CONFINE_NONE] = "none", [CONFINE_DEFAULT] = "default", [CONFINE_REQUIRED] = "required"};
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(value, names[i]) == 0) {
            *ret_how = (enum confine_how)i;
            return 0;
        }
    return ob_fault_set(fault, -EINVAL, "got '%.40s', expected none, default or required", value);
}

int confine_parse_user(const char *value, uid_t *ret_user, struct ob_fault *fault)
{
    uint64_t number;
    if (number_parse(value, 0, UINT32_MAX - 1, &number) < 0 || number == 0)
        return ob_fault_set(fault, -EINVAL, "got '%.40s', expected a number from 1 to %u", value,
                            UINT32_MAX - 1);
    if (geteuid() != 0)
        return ob_fault_set(fault, -EPERM, "only root can become another user");
    *ret_user = (uid_t)number;
    return 0;
}

static int add_file(struct policy *policy, const char *path, struct ob_fault *fault)
{
    AUTO_FREE char *text = calloc(1, LIMIT_POLICY_LEN + 1);
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = !text ? -1 : fd < 0 ? -1 : read(fd, text, LIMIT_POLICY_LEN + 1);
    if (len < 0)
        // cppcheck-suppress memleak ; AUTO_FREE
        return ob_fault_set(fault, -errno, "--cell-policy: can't read %.100s: %s", path,
                            strerror(errno));
    if (len > LIMIT_POLICY_LEN || strlen(text) != (size_t)len)
        // cppcheck-suppress memleak ; AUTO_FREE
        return ob_fault_set(fault, -EINVAL,
                            "--cell-policy: %.100s: got a binary file or more than %u bytes, "
                            "expected lines of text",
                            path, LIMIT_POLICY_LEN);
    return policy_add(policy, text, path, fault);
}

/* It reports the system calls of a cell, which it does not know, as errors of the program. */
static bool is_in_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");
    return preload && strstr(preload, "vgpreload_core");
}

int confine_prepare(struct confinement *confinement, const char *program,
                    const struct confine_options *options, struct ob_fault *fault)
{
    *confinement =
        (struct confinement){.program = program, .how = options->how, .plan.user = options->user};
    if (options->how == CONFINE_NONE)
        return 0;
    if (options->how == CONFINE_DEFAULT && is_in_valgrind()) {
        log_line("cell: left out, because valgrind runs the program");
        return 0;
    }
    int err = policy_new(&confinement->policy, fault);
    return err == 0 && options->policy ? add_file(confinement->policy, options->policy, fault)
                                       : err;
}

int confine_allow(struct confinement *confinement, const char *text, const char *origin,
                  struct ob_fault *fault)
{
    return confinement->policy && text ? policy_add(confinement->policy, text, origin, fault) : 0;
}

/* Tells of the parts from first to last that the kernel has refused. */
static int judge(const struct confinement *confinement, enum cell_part first, enum cell_part last,
                 struct ob_fault *fault)
{
    for (enum cell_part part = first; part <= last; part++) {
        int err = confinement->report.part[part];
        if (err >= 0)
            continue;
        const char *name = cell_part_name(part), *remedy = cell_part_remedy(part, err);
        if (confinement->how == CONFINE_REQUIRED)
            return ob_fault_set(fault, err, "--cell=required: %s: got '%s'; %s", name,
                                strerror(-err), remedy);
        if (!confinement->quiet)
            log_line("cell: continues without '%s': got '%s'; %s", name, strerror(-err), remedy);
    }
    return 0;
}

int confine_leave(struct confinement *confinement, struct ob_fault *fault)
{
    if (!confinement->policy)
        return 0;
    if (!SANITIZED &&
        !confinement->plan.reaches_out) /* name services have variables of their own */
        environment_forget();
    cell_leave(&confinement->plan, &confinement->report);
    if (confinement->plan.reaches_out)
        log_line("cell: keeps paths and the network: the device connects to a server again later");
    return judge(confinement, 0, CELL_CALLS - 1, fault);
}

int confine_close(struct confinement *confinement, struct ob_fault *fault)
{
    if (!confinement->policy)
        return 0;
    cell_close(confinement->policy, confinement->program, &confinement->report);
    return judge(confinement, CELL_CALLS, CELL_CALLS, fault);
}

int confine_settle(struct confinement *confinement, struct ob_fault *fault)
{
    if (!confinement->policy)
        return 0;
    cell_settle(confinement->policy, &confinement->report);
    return judge(confinement, CELL_CALLS, CELL_CALLS, fault);
}

static void print_part(const struct confinement *confinement, enum cell_part part)
{
    int result = confinement->report.part[part];
    printf("%-32s ", cell_part_name(part));
    if (result == 0 && part == CELL_LANDLOCK && confinement->report.landlock_gaps)
        printf("yes, without %s\n", confinement->report.landlock_gaps);
    else if (result == 0)
        puts("yes");
    else if (result == CELL_LEFT_OUT)
        printf("left out: %s\n", cell_part_excuse(part));
    else
        printf("refused: %s; %s\n", strerror(-result), cell_part_remedy(part, result));
}

void confine_print(struct confinement *confinement)
{
    if (!confinement->policy) {
        puts("no cell (--cell=none)");
        return;
    }
    /* The C library asks a terminal or /dev/null for its kind when it makes the buffer. */
    setvbuf(stdout, NULL, _IOFBF, BUFSIZ);
    cell_leave(&confinement->plan, &confinement->report);
    cell_close(confinement->policy, confinement->program, &confinement->report);
    cell_settle(confinement->policy, &confinement->report);
    for (enum cell_part part = 0; part < CELL_PARTS; part++)
        print_part(confinement, part);
}

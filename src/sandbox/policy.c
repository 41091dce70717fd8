// SPDX-License-Identifier: BSD-3-Clause
/*
 * The lines become rules of one filter, which refuses all calls that it does not list. Lines with `create`
 * are rules of that filter too; when they end, a second filter is loaded that allows all but them.
 * The kernel remembers which calls a filter allows whatever their arguments are, so the second one
 * costs those calls nothing.
 */
#include "sandbox/policy.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "sandbox/policy_line.h"
#include "sandbox/refusal.h"

/* Numbers of calls that this library has names for end here (Linux 6.1: set_mempolicy_home_node is
 * 450). The ones after that are answered with ENOSYS, as an older kernel would. */
#define NEW_CALLS_FROM 451
#define NEW_CALLS_TO   512

#define LINE_LEN   256
#define LINES_STEP 64

/* The call that loads the second filter: SECCOMP_SET_MODE_FILTER for all threads. A process can only take
 * from its rights by it. */
#define LOADING "seccomp a0=1 create\n"

struct policy {
    scmp_filter_ctx filter;    /* NULL: there is no seccomp(2) here, lines are only read */
    struct policy_line *lines; /* until policy_settle() */
    unsigned count;
    struct policy_name defined[POLICY_NAMES];
    char *names[NEW_CALLS_FROM];
};

/* A filter with this action for calls without a rule, and for all threads of the process. */
static int make_filter(uint32_t action, scmp_filter_ctx *ret_filter)
{
    scmp_filter_ctx filter = seccomp_init(action);
    int err = filter ? 0 : -ENOMEM;
    if (err == 0)
        err = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (err == 0)
        err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (err == 0)
        err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (err == 0)
        *ret_filter = filter;
    else if (filter)
        seccomp_release(filter);
    return err;
}

/* Valgrind and qemu-user know no seccomp(2). libseccomp makes no filter then. */
static bool has_filters(void)
{
    const uint32_t action = SECCOMP_RET_KILL_PROCESS;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

int policy_new(struct policy **ret_policy, struct ob_fault *fault)
{
    struct policy *policy = calloc(1, sizeof(*policy));
    if (!policy)
        return ob_fault_set(fault, -ENOMEM, "no memory for the policy of system calls");
    int err = has_filters() ? make_filter(SCMP_ACT_TRAP, &policy->filter) : 0;
    if (err == 0 && policy->filter) /* how refusal.c ends the process */
        err = seccomp_rule_add(policy->filter, SCMP_ACT_KILL_PROCESS, REFUSAL_END, 0);
    for (int call = 0; call < NEW_CALLS_FROM; call++)
        policy->names[call] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, call);
    if (err == 0)
        err = policy_add(policy, LOADING, "policy", fault);
    if (err < 0) {
        policy_free(policy);
        return ob_fault_set(fault, err, "can't prepare a policy of system calls: %s",
                            strerror(-err));
    }
    policy_define(policy, "self", (uint32_t)getpid());
    *ret_policy = policy;
    return 0;
}

void policy_free(struct policy *policy)
{
    if (!policy)
        return;
    for (int call = 0; call < NEW_CALLS_FROM; call++)
        free(policy->names[call]);
    if (policy->filter)
        seccomp_release(policy->filter);
    free(policy->lines);
    free(policy);
}

void policy_define(struct policy *policy, const char *name, uint32_t value)
{
    for (unsigned i = 0; i < POLICY_NAMES; i++) {
        if (policy->defined[i].text)
            continue;
        policy->defined[i] = (struct policy_name){.text = name, .value = value};
        return;
    }
}

/* An argument is other than a value if one of its bits is: a rule for each bit. */
static int add_unequal(scmp_filter_ctx filter, uint32_t action, struct policy_line line)
{
    int err = 0;
    for (unsigned bit = 0; bit < 32 && err == 0; bit++) {
        uint64_t mask = UINT64_C(1) << bit;
        line.conditions[line.count] =
            SCMP_CMP(line.unequal_argument, SCMP_CMP_MASKED_EQ, mask, ~line.unequal_value & mask);
        err = seccomp_rule_add_array(filter, action, line.call, line.count + 1, line.conditions);
    }
    return err;
}

static int add_rule(scmp_filter_ctx filter, uint32_t action, const struct policy_line *line)
{
    if (line->call < 0 || !filter)
        return 0; /* a call that this machine does not have */
    int err = line->has_unequal ? add_unequal(filter, action, *line)
                                : seccomp_rule_add_array(filter, action, line->call, line->count,
                                                         line->conditions);
    return err == -EEXIST ? 0 : err;
}

static int add_line(struct policy *policy, const struct policy_line *line)
{
    if (policy->count % LINES_STEP == 0) {
        size_t size = (policy->count + LINES_STEP) * sizeof(*line);
        struct policy_line *more = realloc(policy->lines, size);
        if (!more)
            return -ENOMEM;
        policy->lines = more;
    }
    policy->lines[policy->count++] = *line;
    return add_rule(policy->filter, line->action, line);
}

int policy_add(struct policy *policy, const char *text, const char *origin, struct ob_fault *fault)
{
    for (unsigned number = 1; *text; number++) {
        char buffer[LINE_LEN];
        size_t len = strcspn(text, "\n");
        struct policy_line line;
        int verdict = -EINVAL;
        if (len < sizeof(buffer)) {
            memcpy(buffer, text, len);
            buffer[len] = '\0';
            verdict = policy_line_parse(buffer, policy->defined, POLICY_NAMES, &line);
        }
        if (verdict == 0)
            verdict = add_line(policy, &line);
        if (verdict < 0)
            return ob_fault_set(fault, -EINVAL,
                                "%.80s:%u: got '%.*s', expected the name of a system call, then "
                                "aN=VALUE, aN&MASK=VALUE, aN!=VALUE, errno=N or create",
                                origin, number, (int)(len < 60 ? len : 60), text);
        text += len + (text[len] == '\n');
    }
    return 0;
}

int policy_load(struct policy *policy)
{
    int err = policy->filter ? 0 : -EOPNOTSUPP;
    for (int call = NEW_CALLS_FROM; call < NEW_CALLS_TO && err == 0; call++) {
        err = seccomp_rule_add(policy->filter, SCMP_ACT_ERRNO(ENOSYS), call, 0);
        if (err == -EEXIST) /* a line allows it */
            err = 0;
    }
    if (err == 0)
        err = seccomp_load(policy->filter);
    if (policy->filter) /* its parts are several times as large as the filter itself */
        seccomp_release(policy->filter);
    policy->filter = NULL;
    return err;
}

/* A line without `create` keeps the calls that both allow. */
static bool ends(const struct policy *policy, const struct policy_line *line)
{
    if (!line->is_temporary)
        return false;
    for (unsigned i = 0; i < policy->count; i++)
        if (!policy->lines[i].is_temporary && policy_line_covers(&policy->lines[i], line))
            return false;
    return true;
}

/* A call that has no other lines is refused whatever its arguments are, so that who reads the
 * filters sees that it has ended. */
static int refuse(const struct policy *policy, scmp_filter_ctx filter,
                  const struct policy_line *line)
{
    const struct policy_line whole = {.call = line->call};
    for (unsigned i = 0; i < policy->count; i++)
        if (policy->lines[i].call == line->call && !policy->lines[i].is_temporary)
            return add_rule(filter, SCMP_ACT_TRAP, line);
    return add_rule(filter, SCMP_ACT_TRAP, &whole);
}

int policy_settle(struct policy *policy)
{
    scmp_filter_ctx filter = NULL;
    int err = make_filter(SCMP_ACT_ALLOW, &filter);
    if (err == 0) /* policy_load() has given new privileges up, and no line allows that call */
        err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0);
    for (unsigned i = 0; i < policy->count && err == 0; i++)
        if (ends(policy, &policy->lines[i]))
            err = refuse(policy, filter, &policy->lines[i]);
    if (err == 0)
        err = seccomp_load(filter);
    if (filter)
        seccomp_release(filter);
    free(policy->lines);
    policy->lines = NULL;
    policy->count = 0;
    return err;
}

const char *policy_call_name(const struct policy *policy, int number)
{
    return number >= 0 && number < NEW_CALLS_FROM ? policy->names[number] : NULL;
}

// SPDX-License-Identifier: BSD-3-Clause
#include "sandbox/policy.h"

#include <errno.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/number.h"
#include "sandbox/refusal.h"

/* Numbers of calls that this library has names for end here (Linux 6.1: set_mempolicy_home_node is
 * 450). The ones after that are answered with ENOSYS, as an older kernel would. */
#define NEW_CALLS_FROM 451
#define NEW_CALLS_TO   600

#define MAX_CONDITIONS 6 /* a call has as many arguments */
#define LINE_LEN       256

struct policy {
    scmp_filter_ctx filter;
    char *names[NEW_CALLS_FROM];
};

struct rule {
    int call;
    uint32_t action;
    unsigned count;
    struct scmp_arg_cmp conditions[MAX_CONDITIONS];
};

int policy_new(struct policy **ret_policy, struct ob_fault *fault)
{
    struct policy *policy = calloc(1, sizeof(*policy));
    if (!policy)
        return ob_fault_set(fault, -ENOMEM, "no memory for the policy of system calls");
    policy->filter = seccomp_init(SCMP_ACT_TRAP);
    int err = policy->filter ? 0 : -ENOMEM;
    if (err == 0)
        err = seccomp_attr_set(policy->filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (err == 0)
        err = seccomp_attr_set(policy->filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (err == 0)
        err = seccomp_attr_set(policy->filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (err == 0) /* how refusal.c ends the process */
        err = seccomp_rule_add(policy->filter, SCMP_ACT_KILL_PROCESS, REFUSAL_END, 0);
    for (int call = NEW_CALLS_FROM; call < NEW_CALLS_TO && err == 0; call++)
        err = seccomp_rule_add(policy->filter, SCMP_ACT_ERRNO(ENOSYS), call, 0);
    for (int call = 0; call < NEW_CALLS_FROM; call++)
        policy->names[call] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, call);
    if (err < 0) {
        policy_free(policy);
        return ob_fault_set(fault, err, "can't prepare a policy of system calls: %s",
                            strerror(-err));
    }
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
    free(policy);
}

/* "a2=7", "a2&4=0" or "errno=38". */
static int parse_word(char *word, struct rule *rule)
{
    char *value_text = strchr(word, '=');
    uint64_t argument = 0, mask = UINT64_MAX, value = 0;
    if (!value_text)
        return -EINVAL;
    *value_text++ = '\0';
    int err = number_parse(value_text, 0, UINT64_MAX, &value);
    if (err == 0 && strcmp(word, "errno") == 0) {
        rule->action = SCMP_ACT_ERRNO((uint32_t)value);
        return value > 0 && value < 4096 ? 0 : -EINVAL;
    }
    char *mask_text = strchr(word, '&');
    if (mask_text) {
        *mask_text++ = '\0';
        if (err == 0)
            err = number_parse(mask_text, 0, UINT64_MAX, &mask);
    }
    if (err < 0 || word[0] != 'a' ||
        number_parse(word + 1, 10, MAX_CONDITIONS - 1, &argument) < 0 ||
        rule->count == MAX_CONDITIONS)
        return -EINVAL;
    rule->conditions[rule->count++] = SCMP_CMP((unsigned)argument, SCMP_CMP_MASKED_EQ, mask, value);
    return 0;
}

/* A line without its newline, which is overwritten. Returns a rule, 1 when the line is empty, or
 * -EINVAL. */
static int parse_line(char *line, struct rule *ret_rule)
{
    char *rest = NULL;
    line[strcspn(line, "#")] = '\0';
    const char *name = strtok_r(line, " \t\r", &rest);
    if (!name)
        return 1;
    struct rule rule = {.action = SCMP_ACT_ALLOW, .call = seccomp_syscall_resolve_name(name)};
    if (rule.call == __NR_SCMP_ERROR || rule.call == REFUSAL_END)
        return -EINVAL;
    for (char *word; (word = strtok_r(NULL, " \t\r", &rest));)
        if (parse_word(word, &rule) < 0)
            return -EINVAL;
    *ret_rule = rule;
    return 0;
}

static int add_rule(struct policy *policy, const struct rule *rule)
{
    if (rule->call < 0)
        return 0; /* a call that this machine does not have */
    int err = seccomp_rule_add_array(policy->filter, rule->action, rule->call, rule->count,
                                     rule->conditions);
    return err == -EEXIST ? 0 : err;
}

int policy_add(struct policy *policy, const char *text, const char *origin, struct ob_fault *fault)
{
    for (unsigned number = 1; *text; number++) {
        char line[LINE_LEN];
        size_t len = strcspn(text, "\n");
        struct rule rule;
        int verdict = -EINVAL;
        if (len < sizeof(line)) {
            memcpy(line, text, len);
            line[len] = '\0';
            verdict = parse_line(line, &rule);
        }
        if (verdict == 0)
            verdict = add_rule(policy, &rule);
        if (verdict < 0)
            return ob_fault_set(fault, -EINVAL,
                                "%.80s:%u: got '%.*s', expected the name of a system call, then "
                                "aN=VALUE, aN&MASK=VALUE or errno=N",
                                origin, number, (int)(len < 60 ? len : 60), text);
        text += len + (text[len] == '\n');
    }
    return 0;
}

int policy_load(struct policy *policy)
{
    return seccomp_load(policy->filter);
}

const char *policy_call_name(const struct policy *policy, int number)
{
    return number >= 0 && number < NEW_CALLS_FROM ? policy->names[number] : NULL;
}

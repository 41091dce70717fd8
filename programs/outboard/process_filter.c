// SPDX-License-Identifier: BSD-3-Clause
#include "process_filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#ifdef __x86_64__
#define ARCHITECTURE AUDIT_ARCH_X86_64
#else
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

/* The answers that a filter can give, as bits. */
#define CAN_ALLOW  1u
#define CAN_REFUSE 2u

static long trace(unsigned request, pid_t pid, unsigned long address, void *data)
{
    return ptrace((enum __ptrace_request)request, pid, address, data);
}

static int read_filter(pid_t pid, unsigned index, struct process_filters *filters)
{
    long len = trace(PTRACE_SECCOMP_GET_FILTER, pid, index, NULL);
    if (len < 0)
        return -errno;
    struct sock_filter *code = calloc((size_t)len, sizeof(*code));
    if (!code)
        return -ENOMEM;
    filters->filter[filters->count].code = code;
    filters->filter[filters->count++].len = (unsigned short)len;
    return trace(PTRACE_SECCOMP_GET_FILTER, pid, index, code) < 0 ? -errno : 0;
}

/* -ENOENT behind the last filter. */
static int read_all(pid_t pid, struct process_filters *filters)
{
    int err = 0;
    while (err == 0 && filters->count < PROCESS_FILTERS)
        err = read_filter(pid, filters->count, filters);
    return err == -ENOENT ? 0 : err;
}

int process_filters_read(pid_t pid, struct process_filters *ret_filters)
{
    struct process_filters filters = {.count = 0};
    int status;
    if (trace(PTRACE_SEIZE, pid, 0, NULL) < 0)
        return -errno;
    if (trace(PTRACE_INTERRUPT, pid, 0, NULL) < 0 || waitpid(pid, &status, __WALL) < 0)
        return -errno;
    if (WIFEXITED(status) || WIFSIGNALED(status))
        return -ESRCH;
    int err = read_all(pid, &filters);
    trace(PTRACE_DETACH, pid, 0, NULL);
    if (err < 0)
        process_filters_done(&filters);
    else
        *ret_filters = filters;
    return err;
}

void process_filters_done(struct process_filters *filters)
{
    while (filters->count > 0)
        free(filters->filter[--filters->count].code);
}

/* The accumulator of a filter, as far as it is known. */
struct accumulator {
    bool known;
    uint32_t value;
};

static struct accumulator load(uint32_t offset, int call)
{
    if (offset == offsetof(struct seccomp_data, nr))
        return (struct accumulator){true, (uint32_t)call};
    if (offset == offsetof(struct seccomp_data, arch))
        return (struct accumulator){true, ARCHITECTURE};
    return (struct accumulator){false, 0};
}

static bool holds(const struct sock_filter *step, uint32_t value)
{
    switch (BPF_OP(step->code)) {
    case BPF_JEQ:
        return value == step->k;
    case BPF_JGT:
        return value > step->k;
    case BPF_JGE:
        return value >= step->k;
    default:
        return value & step->k;
    }
}

static unsigned answer(uint32_t action)
{
    return (action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ALLOW ? CAN_ALLOW : CAN_REFUSE;
}

/* Where each step was reached with an unknown accumulator: the rest has been followed then. */
struct walk {
    const struct sock_filter *code;
    unsigned len;
    int call;
    bool *seen;
    unsigned answers;
};

/* Jumps of filters lead forward only, so this ends. */
static void follow(struct walk *walk, unsigned at, struct accumulator a)
{
    for (; at < walk->len; at++) {
        const struct sock_filter *step = &walk->code[at];
        if (!a.known && walk->seen[at])
            return;
        walk->seen[at] |= !a.known;
        switch (BPF_CLASS(step->code)) {
        case BPF_LD:
            a = load(step->k, walk->call);
            break;
        case BPF_ALU:
            if (BPF_OP(step->code) == BPF_AND && BPF_SRC(step->code) == BPF_K)
                a.value &= step->k;
            else
                a.known = false;
            break;
        case BPF_JMP:
            if (BPF_OP(step->code) == BPF_JA) {
                at += step->k;
            } else if (a.known && BPF_SRC(step->code) == BPF_K) {
                at += holds(step, a.value) ? step->jt : step->jf;
            } else {
                follow(walk, at + 1 + step->jt, a);
                at += step->jf;
            }
            break;
        case BPF_RET:
            walk->answers |= answer(step->k);
            return;
        default: /* the scratch memory and the index register, of which no filter here has need */
            a.known = false;
        }
    }
}

enum process_filter_verdict process_filters_judge(const struct process_filters *filters, int call)
{
    unsigned answers = CAN_ALLOW;
    for (unsigned i = 0; i < filters->count; i++) {
        struct walk walk = {
            .code = filters->filter[i].code, .len = filters->filter[i].len, .call = call};
        walk.seen = calloc(walk.len, sizeof(*walk.seen));
        if (!walk.seen)
            return PROCESS_FILTER_REFUSED;
        follow(&walk, 0, (struct accumulator){true, 0});
        free(walk.seen);
        if (!(walk.answers & CAN_ALLOW))
            return PROCESS_FILTER_REFUSED;
        answers |= walk.answers;
    }
    return answers & CAN_REFUSE ? PROCESS_FILTER_BY_ARGUMENT : PROCESS_FILTER_ALLOWED;
}

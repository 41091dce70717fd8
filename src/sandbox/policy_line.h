// SPDX-License-Identifier: BSD-3-Clause
/* One line of a policy (policy.h), read. */
#ifndef OUTBOARD_SANDBOX_POLICY_LINE_H
#define OUTBOARD_SANDBOX_POLICY_LINE_H

#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>

#define POLICY_CONDITIONS 6 /* a call has as many arguments */

/* A name for a value; text NULL: not in use. */
struct policy_name {
    const char *text;
    uint32_t value;
};

struct policy_line {
    int call; /* negative: this machine does not have it */
    uint32_t action;
    bool is_temporary; /* ends when the device has been made */
    unsigned count;
    struct scmp_arg_cmp conditions[POLICY_CONDITIONS + 1];
    bool has_unequal; /* and an argument differs from a value in its lower 32 bits: */
    unsigned unequal_argument;
    uint32_t unequal_value;
};

/* Reads a text without its newline, which is overwritten. Returns 0, 1 if the line is empty, or
 * -EINVAL. */
int policy_line_parse(char *text, const struct policy_name *names, unsigned name_count,
                      struct policy_line *ret_line);

/* Whether all that the other line allows is allowed by this one, as far as that is easily seen. */
bool policy_line_covers(const struct policy_line *line, const struct policy_line *other);

#endif

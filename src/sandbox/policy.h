// SPDX-License-Identifier: BSD-3-Clause
/*
 * Policy: the system calls that a process may make, as text that a person can read.
 *
 * A line names a call, followed by conditions and by a reason behind '#':
 *   read
 *   mmap a2&4=0           # argument 2, counted from 0: memory is never executable
 *   clone3 errno=38       # the call fails with this errno instead of ending the process
 *   memfd_create create   # only until the device has been made
 *   sendmsg a0!=notify    # any descriptor but one
 * A condition is aN=VALUE or aN&MASK=VALUE, with all 64 bits of the argument, or aN!=VALUE, once a
 * line, with the lower 32. VALUE may be a name that policy_define() has given; `self` is this
 * process. All conditions of a line must hold, and lines of the same call are alternatives. One
 * without `create` is stronger than one with it. Calls that Linux has got after this library was written
 * fail with ENOSYS, unless a line allows them.
 */
#ifndef OUTBOARD_SANDBOX_POLICY_H
#define OUTBOARD_SANDBOX_POLICY_H

#include <stdint.h>

#include <outboard/fault.h>

#define POLICY_NAMES 4

struct policy;

/* The policy of every device program, share/outboard/policy/default.policy. */
extern const char policy_default[];
/* That of `outboard proxy`. */
extern const char policy_proxy[];
/* That of `outboard inspect` and `outboard poke`. */
extern const char policy_client[];
/* The calls of a device with a vault, besides. */
extern const char policy_vault[];
/* Calls of commands that use a proxy, besides those of `outboard inspect`. */
extern const char policy_command[];
/* The further lines of a device whose cell no address leads out of (cell_is_isolated()). */
extern const char policy_isolated[];
/* The further lines of a device that reaches out. */
extern const char policy_reach[];

/* 0 or a negative errno with the fault filled. */
int policy_new(struct policy **ret_policy, struct ob_fault *fault);
/* NULL is fine. */
void policy_free(struct policy *policy);

/* Gives lines that are added later a name for a value. At most POLICY_NAMES; the name is kept. */
void policy_define(struct policy *policy, const char *name, uint32_t value);

/* Adds the lines of a text; `origin` is a file's name for messages. Returns 0, or -EINVAL with a
 * fault that gives the line. */
int policy_add(struct policy *policy, const char *text, const char *origin, struct ob_fault *fault);

/* From now on all threads of the process obey. 0 or a negative errno. */
int policy_load(struct policy *policy);

/* Ends the calls that only lines with `create` allow, loading among it. Once, after policy_load(). 0 or a negative
 * errno. */
int policy_settle(struct policy *policy);

/* The name of a call, or NULL. Safe in a signal handler. */
const char *policy_call_name(const struct policy *policy, int number);

#endif

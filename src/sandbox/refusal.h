// SPDX-License-Identifier: BSD-3-Clause
/* Refusal of a system call that the policy does not allow: it is named, and the process ends.
 */
#ifndef OUTBOARD_SANDBOX_REFUSAL_H
#define OUTBOARD_SANDBOX_REFUSAL_H

#include <sys/syscall.h>

#include "sandbox/policy.h"

/* The call for which the kernel ends the process without a way to survive. No program needs it. */
#define REFUSAL_END SYS_reboot

/* Sets the handler of SIGSYS. Keeps both arguments. 0 or a negative errno. */
int refusal_prepare(const struct policy *policy, const char *program);

#endif

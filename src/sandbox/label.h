// SPDX-License-Identifier: BSD-3-Clause
/*
 * Label: the name under which mandatory access control knows the process.
 *
 * USER:ROLE:TYPE[:LEVEL] is an SELinux context. Any other text is the name of an AppArmor profile.
 * The kernel changes a label at exec only, so the program executes itself, before it opens
 * anything.
 */
#ifndef OUTBOARD_SANDBOX_LABEL_H
#define OUTBOARD_SANDBOX_LABEL_H

#include <stdbool.h>

#include <outboard/fault.h>

/* If the process has the label, returns 0. Else executes the program with the same arguments under
 * that label, in which label_take() returns 0. The caller has one thread. A negative errno with the
 * fault filled: the kernel refuses the label. */
int label_take(const char *label, char **argv, struct ob_fault *fault);

/* Whether the label is an SELinux context. */
bool label_is_context(const char *label);

#endif

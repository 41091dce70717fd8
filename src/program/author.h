// SPDX-License-Identifier: BSD-3-Clause
/* The author's struct for ob_program_main(), and its callbacks: slips become faults. */
#ifndef OUTBOARD_PROGRAM_AUTHOR_H
#define OUTBOARD_PROGRAM_AUTHOR_H

#include <outboard/program.h>

/* Options that a program may add. */
#define AUTHOR_MAX_OPTIONS 16

/* The program as this library knows it. 0, -EINVAL or -E2BIG with a fault (base/sized.h). */
int author_read(const struct ob_program *given, struct ob_program *ret_own, struct ob_fault *fault);

/* 0, or -EINVAL with a fault that names the missing or wrong member. */
int author_check(const struct ob_program *program, struct ob_fault *fault);

/* As ob_option.apply(), ob_program.open() and create(), with a fault whenever they fail. */
int author_apply(const struct ob_option *option, void *config, const char *value,
                 struct ob_fault *fault);
int author_open(const struct ob_program *program, void *config, struct ob_fault *fault);
int author_create(const struct ob_program *program, void *config, struct ob_device **ret_device,
                  struct ob_fault *fault);

#endif

// SPDX-License-Identifier: BSD-3-Clause
/* Job: a command at work, in a child of the agent or in the agent itself. */
#ifndef OUTBOARD_AGENT_JOB_H
#define OUTBOARD_AGENT_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/json.h"
#include "wire/json_out.h"

#define JOB_ERROR_MAX 600

struct job {
    const struct json *arguments; /* checked; NULL: none */
    struct json_out out;          /* the answer; empty: {} */
    char error[JOB_ERROR_MAX];
};

/* 0, or the result of job_fail(). */
typedef int (*job_fn)(struct job *job);

/* Sets the error. Returns -1. */
__attribute__((format(printf, 2, 3))) int job_fail(struct job *job, const char *format, ...);

/* Arguments by name, with the value of an absent one. */
int64_t job_int(const struct json *arguments, const char *name, int64_t otherwise);
bool job_bool(const struct json *arguments, const char *name, bool otherwise);
const char *job_string(const struct json *arguments, const char *name);
/* The first string of an array; NULL: none. The next ones follow by ->next. */
const struct json *job_strings(const struct json *arguments, const char *name);

/* The whole of a small file with a NUL behind it, without newlines at its end. Returns its length
 * or a negative errno. The excess is cut. */
int job_read_file(const char *path, char *ret_text, size_t size);

#endif

// SPDX-License-Identifier: BSD-3-Clause
/* Helper: a program of the guest that a worker runs and waits for. The worker's limit is its. */
#ifndef OUTBOARD_AGENT_HELPER_H
#define OUTBOARD_AGENT_HELPER_H

#include <stddef.h>

#define HELPER_OUTPUT_MAX 4096

struct helper_result {
    int status;                     /* its exit status; 128 + n: signal n ended it */
    char output[HELPER_OUTPUT_MAX]; /* of both outputs; the excess is dropped */
};

/* argv[0]: looked up on the standard path. input: its standard input; NULL: empty. 0 or a negative
 * errno, -ENOENT: there is no such program. */
int helper_run(char *const *argv, const char *input, size_t input_len,
               struct helper_result *ret_result);

/* Runs a program with one word and nothing at its standard descriptors. A process that it leaves behind is
 * not waited for. Its exit status as above, or a negative errno. */
int helper_run_silent(const char *path, const char *word);

/* Whether there is such a program. */
int helper_exists(const char *name);

#endif

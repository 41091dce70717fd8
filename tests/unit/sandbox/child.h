// SPDX-License-Identifier: BSD-3-Clause
/* What is irreversible is done in a child, which tells by its exit status how it went. */
#ifndef OUTBOARD_TESTS_SANDBOX_CHILD_H
#define OUTBOARD_TESTS_SANDBOX_CHILD_H

#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child that can't begin, since the machine forbids it that. */
#define CHILD_SKIPS 77

/* Ends the child at the first thing that is not as it should be. */
#define CHILD_ASSERT(condition)                                                                    \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            dprintf(2, "%s:%d: in the child: not so: %s\n", __FILE__, __LINE__, #condition);       \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

/* As waitpid(2) has it. */
static inline int child_status(void (*run)(void))
{
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        run();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static inline void child_succeeds(void (*run)(void))
{
    int status = child_status(run);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CHILD_SKIPS) {
        print_message("skipped: this machine refuses the stage to this user\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

#endif

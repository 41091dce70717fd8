// SPDX-License-Identifier: BSD-3-Clause
/*
 * Environment: the variables of a command, as ssh gives them: HOME, USER, LOGNAME and SHELL are
 * those of the user, from /etc/passwd; variables of the service manager for us alone are left out.
 */
#ifndef OUTBOARD_ENDPOINT_ENVIRONMENT_H
#define OUTBOARD_ENDPOINT_ENVIRONMENT_H

#include <sys/types.h>

/* A copy of `ours` for a command of this user. 0 or -ENOMEM. */
int environment_new(char *const *ours, const char *passwd_path, uid_t user,
                    char ***ret_environment);

/* Sets NAME=VALUE, in place of a variable of that name. 0 or -ENOMEM. */
int environment_set(char ***environment, const char *variable);

/* NULL is fine. */
void environment_free(char **environment);

#endif

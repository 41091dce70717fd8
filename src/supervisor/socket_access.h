// SPDX-License-Identifier: BSD-3-Clause
/* Socket access: who may connect to a socket at a path, by the file's owner, group and mode. */
#ifndef OUTBOARD_SUPERVISOR_SOCKET_ACCESS_H
#define OUTBOARD_SUPERVISOR_SOCKET_ACCESS_H

#include <outboard/fault.h>
#include <stdbool.h>
#include <sys/types.h>

struct config_section;

struct socket_access {
    mode_t mode;
    uid_t owner; /* -1: stays */
    gid_t group; /* -1: stays */
};

/* Reads the settings KIND-mode ("0660") and KIND-owner ("USER", "USER:GROUP" or ":GROUP", names or
 * numbers) of a section. Without them, only this user may connect. 0, or -EINVAL with the fault filled. */
int socket_access_read(const char *file, const struct config_section *section, const char *kind,
                       struct socket_access *ret_access, struct ob_fault *fault);

/* Whether it is one of these keys. */
bool socket_access_has_key(const char *kind, const char *key);

/* Gives the access to a socket of ours, which has mode 0600. 0 or a negative errno. */
int socket_access_give(const struct socket_access *access, const char *path);

#endif

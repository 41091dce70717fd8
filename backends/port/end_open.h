// SPDX-License-Identifier: BSD-3-Clause
/* The description of an end, and the descriptors that it has for its whole life. */
#ifndef OUTBOARD_PORT_END_OPEN_H
#define OUTBOARD_PORT_END_OPEN_H

#include <outboard/fault.h>

#include "endpoint/address.h"
#include "os/socket.h"

enum end_kind {
    END_LISTEN,
    END_CONNECT,
    END_TERMINAL,
    END_FILE,
    END_PIPE,
    END_COMMAND,
    END_DESCRIPTOR,
};

struct end_source {
    enum end_kind kind;
    const char *description; /* the option's text */
    const char *name;
    struct address address; /* listen, connect */
    const char *command;
    int fd;     /* the listener, terminal, file, PATH.in or descriptor; or -1 */
    int out_fd; /* PATH.out, or -1 */
    char path[ADDRESS_NAME_MAX + 1]; /* to be removed at the end; "": none */
    struct socket_place place;       /* of a socket's path */
};

/* The kind that a text begins with, or -EINVAL. */
int end_source_kind(const char *text);

/* Opens it. Both texts are kept. 0 or a negative errno. */
int end_source_open(const char *description, const char *name, struct end_source *ret_source,
                    struct ob_fault *fault);
/* Removes its path, unless it is another one's by now. */
void end_source_remove(const struct end_source *source);
void end_source_close(struct end_source *source);

#endif

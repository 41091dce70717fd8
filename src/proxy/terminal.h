// SPDX-License-Identifier: BSD-3-Clause
/* Terminal: a descriptor that may be one, made raw for as long as it is a channel. */
#ifndef OUTBOARD_PROXY_TERMINAL_H
#define OUTBOARD_PROXY_TERMINAL_H

#include <stdbool.h>
#include <termios.h>

/* The settings to put back. Zeroed: nothing. */
struct terminal {
    bool has_settings, has_flags;
    struct termios settings;
    int flags; /* of fcntl(2), which the shell that gave the descriptor has too */
};

/* Makes the descriptor non-blocking and, if it is a terminal, raw; remembers the settings before. 0 or a
 * negative errno. */
int terminal_prepare(int fd, struct terminal *ret_before);

/* Remembers the settings alone. 0, or a negative errno if it is no terminal. */
int terminal_remember(int fd, struct terminal *ret_before);

/* Undoes it, once. */
void terminal_put_back(int fd, struct terminal *before);

#endif

// SPDX-License-Identifier: BSD-3-Clause
/*
 * Socket remover: a process that removes the socket at the end of a program that can't any more.
 *
 * A program in a cell sees no paths. So a child that was made before waits, with nothing else open,
 * until the program has ended or asks for it, and then removes the socket if it still is that one.
 */
#ifndef OUTBOARD_PROGRAM_SOCKET_REMOVER_H
#define OUTBOARD_PROGRAM_SOCKET_REMOVER_H

#include "os/socket.h"

/* The caller has one thread. Returns a descriptor that stands for it, or a negative errno. */
int socket_remover_start(const char *path, const struct socket_place *place);

/* Returns when the socket has been removed, and closes the descriptor. */
void socket_remover_finish(int fd);

#endif

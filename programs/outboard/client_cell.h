// SPDX-License-Identifier: BSD-3-Clause
/* The cell of a command that uses a proxy (proxy_client.h). */
#ifndef OUTBOARD_PROGRAMS_CLIENT_CELL_H
#define OUTBOARD_PROGRAMS_CLIENT_CELL_H

#include <outboard/fault.h>

#include "sandbox/confine.h"

/* Opens the log, standard output and the descriptors that the command needs later, then enters the cell
 * unless `how` is CONFINE_NONE. outside: starts the process outside, once this one is prepared. 0 or a negative
 * errno with the fault filled. */
int client_cell_enter(enum confine_how how, int (*outside)(void *argument), void *argument,
                      struct ob_fault *fault);

/* Enters the cell, prints its parts, and returns the exit status: --print-cell. */
int client_cell_print(enum confine_how how);

#endif

// SPDX-License-Identifier: BSD-3-Clause
/* Sockets that a launcher has opened already: the protocol of sd_listen_fds(3), without its
 * library. */
#ifndef OUTBOARD_PROGRAM_ACTIVATION_H
#define OUTBOARD_PROGRAM_ACTIVATION_H

#include <outboard/fault.h>

/* The socket that $LISTEN_PID and $LISTEN_FDS hand to this process, which is made close-on-exec;
 * the variables are taken out of the environment. -ENOENT: none; -EINVAL with the fault filled:
 * more than one. */
int activation_take(struct ob_fault *fault);

#endif

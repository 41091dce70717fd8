// SPDX-License-Identifier: BSD-3-Clause
/* Files: the limit of descriptors of a device program, which its options decide. */
#ifndef OUTBOARD_PORT_FILES_H
#define OUTBOARD_PORT_FILES_H

#include <outboard/fault.h>
#include <stdint.h>

/* Lets the process have this many descriptors, besides those that each device program has: the
 * wire's, the log's. options: the options that need them, for the fault. Before the cell. 0, -EMFILE if
 * the hard limit is lower, or another negative errno. */
int port_files_reserve(uint64_t count, const char *options, struct ob_fault *fault);

/* Closes a descriptor of a process before, without waiting for whatever its peer may have sent. */
void port_files_close(int fd);

#endif

// SPDX-License-Identifier: BSD-3-Clause
/* Standard error, as src/os/log.h has it for programs of the host; here is libc alone. */
#ifndef OUTBOARD_GUEST_SAY_H
#define OUTBOARD_GUEST_SAY_H

/* Opens those of descriptors 0 to 2 that are closed, on /dev/null. Called before anything else is
 * opened: a device's memory that became descriptor 2 would get the messages. 0 or -1. */
int standard_fds_open(void);

/* Writes "backdoor: ", the text as printable ASCII, and a newline. Waits no longer than a second
 * for a reader, and does without one that has gone. */
void say(const char *text);

#endif

// SPDX-License-Identifier: BSD-3-Clause
/* The environment of a process in a cell. A launcher's may hold secrets that no device needs. */
#ifndef OUTBOARD_SANDBOX_ENVIRONMENT_H
#define OUTBOARD_SANDBOX_ENVIRONMENT_H

/* Forgets all variables, and overwrites the bytes that the kernel has put beside the stack for them. The
 * time zone stays, and names a file: functions of the C library that know the time of day read
 * /etc/localtime again and again unless TZ is set, and a library of a user's would end for that.
 * The caller has one thread, and paths. */
void environment_forget(void);

#endif

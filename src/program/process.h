// SPDX-License-Identifier: BSD-3-Clause
/* The resources that a process has once, whichever devices it serves. */
#ifndef OUTBOARD_PROGRAM_PROCESS_H
#define OUTBOARD_PROGRAM_PROCESS_H

/* Opens and installs everything that needs no thread; before a cell. 0 or an errno. */
int process_prepare(void);

/* Starts the thread that closes a peer's descriptors; in a cell, since a process with threads can't
 * enter one. 0 or an errno. */
int process_start_threads(void);
/* The same for a program that serves one device by this thread. */
int process_start_program_threads(void);

#endif

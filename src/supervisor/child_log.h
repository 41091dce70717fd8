// SPDX-License-Identifier: BSD-3-Clause
/*
 * The log of a child: each line of its standard output and error goes to our log with the child's name
 * in front. The child is not trusted: its lines are bounded in length and, by the log, in rate. One
 * that writes more than is read has to wait.
 */
#ifndef OUTBOARD_SUPERVISOR_CHILD_LOG_H
#define OUTBOARD_SUPERVISOR_CHILD_LOG_H

#include "os/loop.h"
#include "os/timer.h"

struct child_log;

/* Makes the pipe. The child's end, which is the caller's, goes to *ret_fd. `name` is kept. */
int child_log_new(struct loop *loop, struct timers *timers, const char *name,
                  struct child_log **ret_log, int *ret_fd);

/* The same for our end of a pipe, which is taken over; of one that there was before. */
int child_log_adopt(struct loop *loop, struct timers *timers, const char *name, int fd,
                    struct child_log **ret_log);
int child_log_fd(const struct child_log *log);

/* Reads the rest first. NULL is fine. */
void child_log_free(struct child_log *log);

#endif

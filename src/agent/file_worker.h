// SPDX-License-Identifier: BSD-3-Clause
/* The worker of a file (files.c): these run in the child. */
#ifndef OUTBOARD_AGENT_FILE_WORKER_H
#define OUTBOARD_AGENT_FILE_WORKER_H

#include "agent/job.h"

/* Opens the file of guest-file-open's arguments, the context, and serves requests for it. */
int file_work(int fd, const void *context);

/* guest-get-file: the content of a file at once. */
int file_get(struct job *job);

#endif

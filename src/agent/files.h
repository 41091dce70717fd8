// SPDX-License-Identifier: BSD-3-Clause
/* Files: those that guest-file-open has opened. */
#ifndef OUTBOARD_AGENT_FILES_H
#define OUTBOARD_AGENT_FILES_H

#include "agent/agent.h"

struct files;

int files_new(const struct agent_config *config, struct files **ret_files);
/* Closes all. NULL is fine. */
void files_free(struct files *files);

#endif

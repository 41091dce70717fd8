// SPDX-License-Identifier: BSD-3-Clause
/* outboard-agent event, hello and ping: a request to the host, by the agent or proxy that runs here. */
#ifndef OUTBOARD_PROGRAMS_CALL_HOST_H
#define OUTBOARD_PROGRAMS_CALL_HOST_H

#include <stdbool.h>

bool call_host_has(const char *word);

/* argv[0]: the word. The exit status. */
int call_host(int argc, char **argv);

#endif

// SPDX-License-Identifier: BSD-3-Clause
#ifndef OUTBOARD_AGENT_INTERNAL_H
#define OUTBOARD_AGENT_INTERNAL_H

#include "agent/agent.h"
#include "base/list.h"

struct execs;
struct files;
struct freezer;

struct agent {
    struct agent_config config;
    struct list clients;
    unsigned client_count;
    struct execs *execs;
    struct files *files;
    struct freezer *freezer;
};

#endif

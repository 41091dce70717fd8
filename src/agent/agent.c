// SPDX-License-Identifier: BSD-3-Clause
#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/command.h"
#include "agent/connection.h"
#include "agent/execs.h"
#include "agent/files.h"
#include "agent/freezer.h"
#include "agent/internal.h"
#include "base/auto.h"

int agent_new(const struct agent_config *config, struct agent **ret_agent, struct ob_fault *fault)
{
    struct agent *agent = calloc(1, sizeof(*agent));
    if (!agent)
        return ob_fault_set(fault, -ENOMEM, "no memory for the agent");
    agent->config = *config;
    list_init(&agent->clients);
    int err = execs_new(&agent->config, &agent->execs);
    if (err == 0)
        err = files_new(&agent->config, &agent->files);
    if (err == 0)
        err = freezer_new(&agent->config, &agent->freezer);
    if (err < 0) {
        agent_free(agent);
        return ob_fault_set(fault, err, "can't start the agent: %s", strerror(-err));
    }
    *ret_agent = agent;
    return 0;
}

void agent_free(struct agent *agent)
{
    if (!agent)
        return;
    connection_free_all(agent);
    execs_free(agent->execs);
    files_free(agent->files);
    freezer_free(agent->freezer);
    free(agent);
}

int agent_serve(struct agent *agent, int fd, const char *caller)
{
    return connection_new(agent, fd, caller);
}

int agent_connect(struct agent *agent, const char *caller)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
        return -errno;
    AUTO_FD ours = ends[0];
    int err = agent_serve(agent, ends[1], caller);
    return err < 0 ? err : take_fd(&ours);
}

static void print(void *argument, const struct command *command)
{
    fprintf(argument, "%s\n", command->name);
}

void agent_print_commands(FILE *to)
{
    command_each(print, to);
}

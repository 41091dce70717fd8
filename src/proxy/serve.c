// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/serve.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/event.h"
#include "os/log.h"
#include "os/notify.h"
#include "proxy/connector.h"
#include "proxy/proxy.h"
#include "sandbox/confine.h"

/* notify_fd: the launcher's, -1: none. */
static int prepare_cell(const struct proxy_options *options, int notify_fd,
                        struct confinement *ret_cell, struct ob_fault *fault)
{
    int err = confine_prepare(ret_cell, "outboard proxy", &options->cell, fault);
    if (err < 0 || !ret_cell->policy)
        return err;
    ret_cell->plan.files = ULONG_MAX; /* each stream has one, and there may be as many as before */
    policy_define(ret_cell->policy, "notify", (uint32_t)notify_fd);
    return confine_allow(ret_cell, policy_proxy, "proxy.policy", fault);
}

/* A change of user, or of namespace, forgets that we are to end with our parent. */
static int end_with_parent(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
        return -errno;
    return getppid() == parent ? 0 : -ESRCH;
}

static bool offers_agent(const struct proxy_options *options, bool has_agent)
{
    return has_agent && (options->allow_agent || options->trust_peer);
}

/* The last that needs paths, then the cell. The connector is a child without any other thread, made
 * before this process has changed. */
static int enter_cell(const struct proxy_options *options, int notify_fd, struct confinement *cell,
                      rlim_t open_files, int *ret_connector_fd, struct ob_fault *fault)
{
    pid_t parent = getppid();
    int err = prepare_cell(options, notify_fd, cell, fault);
    if (err < 0 || !cell->policy)
        return err;
    log_prepare();
    *ret_connector_fd = connector_start(options, open_files);
    if (*ret_connector_fd < 0)
        return ob_fault_set(fault, *ret_connector_fd, "can't start the connector: %s",
                            strerror(-*ret_connector_fd));
    err = confine_leave(cell, fault);
    return err == 0 && options->is_private ? end_with_parent(parent) : err;
}

/* 0 or a negative errno with the fault filled. */
static int choose_cell(const struct proxy_options *options, bool has_agent, int notify_fd,
                       struct confinement *cell, rlim_t open_files, int *ret_connector_fd,
                       struct ob_fault *fault)
{
    *cell = (struct confinement){0};
    if (!offers_agent(options, has_agent))
        return enter_cell(options, notify_fd, cell, open_files, ret_connector_fd, fault);
    if (options->cell.how == CONFINE_REQUIRED)
        return ob_fault_set(fault, -ENOTSUP,
                            "--cell=required: the other end may use the agent, which opens files "
                            "and starts programs; leave --allow-agent and --trust-peer out");
    if (options->cell.how != CONFINE_NONE)
        log_line("cell: goes on without one: --allow-agent, --trust-peer or no option at all lets "
                 "the other end use the agent, which opens files and starts programs; give other "
                 "options, or --cell=none beside them");
    return 0;
}

/* The second half, once the cell has taken paths and privileges away. */
static int run(struct proxy *proxy, struct confinement *cell, int notify_fd,
               const struct serve_agent *agent)
{
    struct ob_fault fault = {0};
    void *state = NULL;
    int status = EXIT_FAILURE;
    int err = agent && !cell->policy ? agent->start(proxy, &state, &fault) : 0;
    if (err == 0)
        err = confine_close(cell, &fault);
    if (err == 0)
        err = confine_settle(cell, &fault);
    if (err < 0)
        log_line("%s", fault.text);
    else
        status = proxy_run(proxy, notify_fd);
    if (agent && !cell->policy)
        agent->end(proxy, state);
    return status;
}

int serve_proxy(const struct proxy_options *options, int control_fd,
                const struct serve_agent *agent)
{
    struct proxy proxy;
    struct confinement cell;
    struct ob_fault fault = {0};
    int status = EXIT_FAILURE, connector_fd = -1;
    rlim_t open_files = proxy_allow_descriptors();
    AUTO_FD notify_fd = -1;
    notify_connect(&notify_fd); /* a launcher that can't be reached misses nothing either */
    int err = choose_cell(options, agent, notify_fd, &cell, open_files, &connector_fd, &fault);
    if (err < 0) {
        log_line("%s", fault.text);
        auto_close(&connector_fd);
        return status;
    }
    event_prepare();
    err = proxy_init_in_cell(&proxy, options, connector_fd, open_files, &fault);
    if (err == 0 && control_fd >= 0 && proxy_adopt_control(&proxy, control_fd) < 0)
        err = ob_fault_set(&fault, -ENOMEM, "no memory for a client");
    if (err < 0)
        log_line("%s", fault.text);
    else
        status = run(&proxy, &cell, notify_fd, agent);
    proxy_done(&proxy);
    return status;
}

int serve_print_cell(const struct proxy_options *options, bool has_agent)
{
    struct confinement cell;
    struct ob_fault fault = {0};
    if (offers_agent(options, has_agent)) {
        puts("no cell (the other end may use the agent)");
        return EXIT_SUCCESS;
    }
    if (prepare_cell(options, -1, &cell, &fault) < 0) {
        log_line("%s", fault.text);
        return EXIT_FAILURE;
    }
    confine_print(&cell);
    return EXIT_SUCCESS;
}

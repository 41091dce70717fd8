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

/* The processes outside the cell; -1: none. */
struct outsiders {
    int connector_fd, agent_fd;
};

/* Children without any other thread, made before this process has changed. */
static int start_outsiders(const struct proxy_options *options, bool has_cell, rlim_t open_files,
                           const struct serve_agent *agent, struct outsiders *ret_outsiders,
                           struct ob_fault *fault)
{
    if (agent && (options->allow_agent || options->trust_peer)) {
        int fd = agent->start(options, fault);
        if (fd < 0)
            return fd;
        ret_outsiders->agent_fd = fd;
    }
    if (!has_cell)
        return 0;
    int fd = connector_start(options, open_files);
    if (fd < 0)
        return ob_fault_set(fault, fd, "can't start the connector: %s", strerror(-fd));
    ret_outsiders->connector_fd = fd;
    return 0;
}

/* The last that needs paths, then the cell. 0 or a negative errno with the fault filled. */
static int enter_cell(const struct proxy_options *options, int notify_fd, struct confinement *cell,
                      rlim_t open_files, const struct serve_agent *agent,
                      struct outsiders *ret_outsiders, struct ob_fault *fault)
{
    pid_t parent = getppid();
    int err = prepare_cell(options, notify_fd, cell, fault);
    if (err == 0)
        err = start_outsiders(options, cell->policy, open_files, agent, ret_outsiders, fault);
    if (err < 0 || !cell->policy)
        return err;
    log_prepare();
    err = confine_leave(cell, fault);
    return err == 0 && options->is_private ? end_with_parent(parent) : err;
}

/* The second half, once the cell has taken paths and privileges away. */
static int run(struct proxy *proxy, struct confinement *cell, int notify_fd,
               const struct serve_agent *agent, int agent_fd)
{
    struct ob_fault fault = {0};
    void *link = NULL;
    int status = EXIT_FAILURE;
    int err = agent_fd >= 0 ? agent->join(proxy, agent_fd, &link, &fault) : 0;
    if (err == 0)
        err = confine_close(cell, &fault);
    if (err == 0)
        err = confine_settle(cell, &fault);
    if (err < 0)
        log_line("%s", fault.text);
    else
        status = proxy_run(proxy, notify_fd);
    if (link)
        agent->leave(proxy, link);
    return status;
}

int serve_proxy(const struct proxy_options *options, int control_fd,
                const struct serve_agent *agent)
{
    struct proxy proxy;
    struct confinement cell;
    struct outsiders outsiders = {.connector_fd = -1, .agent_fd = -1};
    struct ob_fault fault = {0};
    int status = EXIT_FAILURE;
    rlim_t open_files = proxy_allow_descriptors();
    AUTO_FD notify_fd = -1;
    notify_connect(&notify_fd); /* a launcher that can't be reached misses nothing either */
    int err = enter_cell(options, notify_fd, &cell, open_files, agent, &outsiders, &fault);
    if (err < 0) {
        log_line("%s", fault.text);
        auto_close(&outsiders.connector_fd);
        auto_close(&outsiders.agent_fd);
        return status;
    }
    event_prepare();
    err = proxy_init_in_cell(&proxy, options, outsiders.connector_fd, open_files, &fault);
    if (err == 0 && control_fd >= 0 && proxy_adopt_control(&proxy, control_fd) < 0)
        err = ob_fault_set(&fault, -ENOMEM, "no memory for a client");
    if (err < 0)
        log_line("%s", fault.text);
    else
        status = run(&proxy, &cell, notify_fd, agent, take_fd(&outsiders.agent_fd));
    auto_close(&outsiders.agent_fd);
    proxy_done(&proxy);
    return status;
}

int serve_print_cell(const struct proxy_options *options)
{
    struct confinement cell;
    struct ob_fault fault = {0};
    if (prepare_cell(options, -1, &cell, &fault) < 0) {
        log_line("%s", fault.text);
        return EXIT_FAILURE;
    }
    confine_print(&cell);
    return EXIT_SUCCESS;
}

// SPDX-License-Identifier: BSD-3-Clause
#include "port/hub_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <outboard/program.h>

#include "os/ticker.h"
#include "port/end_internal.h"

int port_hub_new(struct port_hub **ret_hub)
{
    struct port_hub *hub = calloc(1, sizeof(*hub));
    if (!hub)
        return -ENOMEM;
    timers_init(&hub->timers);
    list_init(&hub->ends);
    hub->connector = -1;
    hub->ticker = ticker_new(0);
    int err = hub->ticker < 0 ? hub->ticker : loop_new(&hub->loop);
    if (err == 0)
        err = port_hub_start_timers(hub);
    if (err < 0)
        port_hub_free(hub);
    else
        *ret_hub = hub;
    return err;
}

void port_hub_free(struct port_hub *hub)
{
    if (!hub)
        return;
    end_free_all(hub);
    connector_finish(hub->connector);
    loop_free(hub->loop);
    if (hub->ticker >= 0)
        close(hub->ticker);
    free(hub);
}

static int resolve(const void *context, uint64_t key, struct connector_target *ret_target)
{
    return end_resolve(context, key, ret_target);
}

static void remove_paths(const void *context)
{
    end_remove_paths(context);
}

static void on_answer(void *argument, uint32_t events)
{
    struct port_hub *hub = argument;
    struct connector_answer answer;
    int fd = -1, err;
    while ((err = connector_take(hub->connector, &answer, &fd)) == 0)
        end_take_answer(hub, &answer, fd);
    if (err == -EAGAIN)
        return;
    ob_log("the process that connects and starts commands has ended; restart this program to have "
           "them again");
    loop_remove(hub->answers);
    hub->answers = NULL;
}

int port_hub_start(struct port_hub *hub, struct ob_fault *fault)
{
    static const struct connector_ops ops = {.resolve = resolve, .end = remove_paths};
    struct connector_needs needs;
    if (!end_needs_connector(hub, &needs))
        return 0;
    hub->connector = connector_start(&ops, &needs, hub);
    int err = hub->connector < 0
                  ? hub->connector
                  : loop_add(hub->loop, hub->connector, EPOLLIN, on_answer, hub, &hub->answers);
    return err < 0 ? ob_fault_set(fault, err, "can't start the process that connects: %s",
                                  strerror(-err))
                   : 0;
}

// SPDX-License-Identifier: BSD-3-Clause
/*
 * INTx without KVM, in the manner of KVM's irqfd with a resample eventfd: a signal of the trigger
 * raises the line, the guest's end of interrupt lowers it and signals the resample eventfd, at
 * which a device that still holds its level triggers again. While the line is up the trigger is not
 * looked at: it can tell nothing new, and a remote that signals without end costs nothing.
 *
 * The remote holds both eventfds too, so it can make them blocking and can fill or empty them. So
 * none is read or written here in a state in which that would wait.
 */
#include "vmm/client.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/event.h"
#include "os/socket.h"

static void triggered(void *argument, uint32_t events)
{
    struct ob_client *client = argument;
    const struct ob_client_options *options = &client->options;
    client->intx.raised = true;
    loop_change(client->intx.source, 0);
    if (options->callbacks.intx_raised)
        options->callbacks.intx_raised(options->argument);
}

void intx_done(struct ob_client *client)
{
    struct intx *intx = &client->intx;
    loop_remove(intx->source);
    auto_close(&intx->trigger_fd);
    auto_close(&intx->resample_fd);
    *intx = (struct intx){.trigger_fd = -1, .resample_fd = -1};
}

int ob_client_set_intx(struct ob_client *client, int trigger_fd, int resample_fd)
{
    const struct client_request request = {
        .operation = CLIENT_SET_INTX, .trigger_fd = trigger_fd, .resample_fd = resample_fd};
    uint64_t unused;
    if (!descriptor_is_open(trigger_fd) || !descriptor_is_open(resample_fd))
        return -EBADF;
    return client_call(client, &request, &unused);
}

int ob_client_emulate_intx(struct ob_client *client)
{
    struct intx *intx = &client->intx;
    AUTO_FD trigger_fd = event_new();
    AUTO_FD resample_fd = event_new();
    if (trigger_fd < 0 || resample_fd < 0)
        return trigger_fd < 0 ? trigger_fd : resample_fd;
    int err = ob_client_set_intx(client, trigger_fd, resample_fd);
    if (err < 0)
        return err;
    intx_done(client);
    err = loop_add(client->loop, trigger_fd, EPOLLIN, triggered, client, &intx->source);
    if (err < 0)
        return err;
    intx->trigger_fd = take_fd(&trigger_fd);
    intx->resample_fd = take_fd(&resample_fd);
    return 0;
}

void ob_client_intx_eoi(struct ob_client *client)
{
    struct intx *intx = &client->intx;
    if (intx->trigger_fd < 0 || !intx->raised)
        return;
    intx->raised = false;
    event_drain_nowait(intx->trigger_fd);
    loop_change(intx->source, EPOLLIN);
    event_drain_nowait(intx->resample_fd); /* a full one would not take the signal */
    event_signal(intx->resample_fd);
}

// SPDX-License-Identifier: BSD-3-Clause
/*
 * INTx without KVM, in the manner of KVM's irqfd with a resample eventfd: a signal of the trigger
 * raises the line, the guest's end of interrupt lowers it and signals the resample eventfd, at
 * which a device that still holds its level triggers again. While the line is up the trigger is not
 * looked at: it can tell nothing new, and a remote that signals without end costs nothing.
 *
 * The remote holds both eventfds too, so it can make them blocking and can fill or empty them. So
 * none is read or written here in a way that could wait.
 *
 * A vfio-user remote may know no resample eventfd. Then this file watches it in the remote's place
 * and tells the remote by a message that nobody waits for.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <outboard/client_irq.h>

#include "base/auto.h"
#include "os/event.h"
#include "os/socket.h"
#include "remote/client.h"

/* Told once, and then not even as full (EPOLLERR), until the guest has ended the interrupt. */
#define TRIGGER_EVENTS (EPOLLIN | EPOLLONESHOT)

static void triggered(void *argument, uint32_t events)
{
    struct ob_client *client = argument;
    const struct ob_client_options *options = &client->options;
    client->intx.raised = true;
    if (options->callbacks.intx_raised)
        options->callbacks.intx_raised(options->argument);
}

static void stop_emulating(struct intx *intx)
{
    loop_remove(intx->source);
    auto_close(&intx->trigger_fd);
    auto_close(&intx->resample_fd);
    intx->source = NULL;
    intx->trigger_fd = intx->resample_fd = -1;
    intx->raised = false;
}

static void stop_unmasking(struct intx *intx)
{
    loop_remove(intx->unmask_source);
    auto_close(&intx->unmask_fd);
    intx->unmask_source = NULL;
    intx->unmask_fd = -1;
    intx->unmask_due = false;
}

static void resampled(void *argument, uint32_t events)
{
    struct ob_client *client = argument;
    event_drain_nowait(client->intx.unmask_fd);
    client->intx.unmask_due = true;
    intx_catch_up(client);
}

/* The remote knows no resample eventfd: it is told by messages when that is signalled. */
static int unmask_by_message(struct ob_client *client, int resample_fd)
{
    struct intx *intx = &client->intx;
    AUTO_FD fd = fcntl(resample_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    stop_unmasking(intx);
    int err =
        loop_add(client->loop, fd, EPOLLIN | EPOLLET, resampled, client, &intx->unmask_source);
    if (err == 0)
        intx->unmask_fd = take_fd(&fd);
    return err;
}

void intx_catch_up(struct ob_client *client)
{
    if (client->intx.unmask_due && client->state == OB_CLIENT_ALIVE)
        client->intx.unmask_due = client->wire->unmask_intx(client) == -EAGAIN;
}

void intx_done(struct ob_client *client)
{
    struct intx *intx = &client->intx;
    stop_emulating(intx);
    stop_unmasking(intx);
}

int ob_client_set_intx(struct ob_client *client, int trigger_fd, int resample_fd)
{
    if (!descriptor_is_open(trigger_fd) || !descriptor_is_open(resample_fd))
        return -EBADF;
    int result = client->wire->set_intx(client, trigger_fd, resample_fd);
    if (result == INTX_UNMASK_BY_MESSAGE)
        return unmask_by_message(client, resample_fd);
    if (result == 0)
        stop_unmasking(&client->intx); /* the remote watches the resample eventfd itself */
    return result;
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
    stop_emulating(intx);
    err = loop_add(client->loop, trigger_fd, TRIGGER_EVENTS, triggered, client, &intx->source);
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
    loop_change(intx->source, TRIGGER_EVENTS);
    event_drain_nowait(intx->resample_fd); /* a full one would not take the signal */
    event_signal(intx->resample_fd);
}

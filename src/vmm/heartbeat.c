// SPDX-License-Identifier: BSD-3-Clause
/*
 * Heartbeat: at each beat a remote that has not answered since the last one is hung; else it is
 * asked again. A remote that stops right after a beat is found at the second beat from then.
 */
#include "vmm/client.h"

#include <sys/epoll.h>

#include "base/auto.h"
#include "os/ticker.h"

static void beat(void *argument, uint32_t events)
{
    struct ob_client *client = argument;
    ticker_drain(client->timer_fd);
    client_catch_up(client);
    if (client->state != OB_CLIENT_ALIVE)
        return;
    if (client->engine.num_calls > 0 || client->engine.tx_len > 0) {
        client_take_for_hung(client);
        return;
    }
    const struct client_request ping = {.operation = CLIENT_PING};
    uint64_t unused;
    client_call(client, &ping, &unused); /* what goes wrong shows in the state */
}

int heartbeat_start(struct ob_client *client)
{
    if (client->options.heartbeat_ms == 0)
        return 0;
    int fd = ticker_new(client->options.heartbeat_ms);
    if (fd < 0)
        return fd;
    client->timer_fd = fd;
    return loop_add(client->loop, fd, EPOLLIN, beat, client, &client->timer);
}

void heartbeat_stop(struct ob_client *client)
{
    loop_remove(client->timer);
    client->timer = NULL;
    auto_close(&client->timer_fd);
    client->timer_fd = -1;
}

// SPDX-License-Identifier: BSD-3-Clause
/*
 * Heartbeat: at each beat a remote that has not answered since the last one, or has not even taken
 * a byte of the messages that wait for it, is hung; else it is asked again. A remote that stops right after a
 * beat is found at the second beat from then.
 *
 * A beat never waits, so it does not greet a remote: until somebody else has, there is nothing to
 * look after.
 */
#include "remote/client.h"

#include <sys/epoll.h>

#include "base/auto.h"
#include "os/ticker.h"

static void beat(void *argument, uint32_t events)
{
    static const struct client_request ping = {.operation = CLIENT_PING};
    struct ob_client *client = argument;
    ticker_drain(client->timer_fd);
    client_catch_up(client);
    bool moved = client->moved;
    client->moved = false;
    if (client->state != OB_CLIENT_ALIVE || (client->wire->greet && !client->greeted))
        return;
    if (client->engine.num_calls > 0 || (client->engine.tx_len > 0 && !moved))
        client_take_for_hung(client);
    else
        client_send_now(client, &ping); /* a failure shows in the state */
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

// SPDX-License-Identifier: BSD-3-Clause
#include "port/agent_front.h"

#include <errno.h>
#include <stdlib.h>

#include "endpoint/qga_turns.h"
#include "port/hub_internal.h"

struct agent_front {
    struct port_hub *hub;
    struct qga_turns turns;
    port_end_fn changed;
    void *argument;
    const char *out; /* lent by the turns; NULL: nothing */
    size_t out_at, out_len;
};

static struct agent_front *front_of(struct qga_turns *turns)
{
    return list_entry(turns, struct agent_front, turns);
}

/* The agent connects, by opening its port. */
static int wait_for_agent(struct qga_turns *turns)
{
    return -EINPROGRESS;
}

static int send_to_agent(struct qga_turns *turns, const char *bytes, size_t len)
{
    struct agent_front *front = front_of(turns);
    front->out = bytes;
    front->out_at = 0;
    front->out_len = len;
    front->changed(front->argument);
    return 0;
}

static void disconnect(struct qga_turns *turns)
{
    front_of(turns)->out = NULL;
}

static void set_timer(struct qga_turns *turns, struct timer *timer, uint64_t at_ns)
{
    port_hub_set_timer(front_of(turns)->hub, timer, at_ns);
}

static void on_connection(void *argument, int fd)
{
    struct agent_front *front = argument;
    qga_turns_add(&front->turns, fd);
}

int agent_front_new(struct port_hub *hub, struct port_end *end, port_end_fn changed, void *argument,
                    struct agent_front **ret_front)
{
    static const struct qga_turns_ops ops = {.connect = wait_for_agent,
                                             .send = send_to_agent,
                                             .disconnect = disconnect,
                                             .set_timer = set_timer};
    struct agent_front *front = calloc(1, sizeof(*front));
    if (!front)
        return -ENOMEM;
    front->hub = hub;
    front->changed = changed;
    front->argument = argument;
    qga_turns_init(&front->turns, hub->loop, &ops);
    int err = port_end_share(end, on_connection, front);
    if (err < 0)
        agent_front_free(front);
    else
        *ret_front = front;
    return err;
}

void agent_front_free(struct agent_front *front)
{
    if (!front)
        return;
    qga_turns_done(&front->turns);
    free(front);
}

void agent_front_open(struct agent_front *front)
{
    qga_turns_connected(&front->turns);
}

void agent_front_close(struct agent_front *front)
{
    qga_turns_paused(&front->turns);
}

void agent_front_take(struct agent_front *front, const char *bytes, size_t len)
{
    while (len > 0) {
        bool ended;
        size_t taken = qga_turns_take(&front->turns, bytes, len, &ended);
        bytes += taken;
        len -= taken;
        if (ended)
            qga_turns_answered(&front->turns);
    }
}

size_t agent_front_peek(const struct agent_front *front, const char **ret_bytes)
{
    if (!front->out)
        return 0;
    *ret_bytes = front->out + front->out_at;
    return front->out_len - front->out_at;
}

void agent_front_sent(struct agent_front *front, size_t len)
{
    front->out_at += len;
    if (front->out_at < front->out_len)
        return;
    front->out = NULL;
    qga_turns_sent(&front->turns);
}

unsigned agent_front_clients(const struct agent_front *front)
{
    return front->turns.count;
}

bool agent_front_is_busy(const struct agent_front *front)
{
    return front->turns.busy;
}

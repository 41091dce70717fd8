// SPDX-License-Identifier: BSD-3-Clause
#include "server/engine.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int engine_new(const struct engine_ops *ops, struct ob_device *device, struct engine **ret_engine,
               struct ob_fault *fault)
{
    int err = ops->fit_device(device, fault);
    if (err < 0)
        return err;
    struct engine *engine = calloc(1, ops->instance_len);
    if (!engine)
        return ob_fault_set(fault, -ENOMEM, "no memory to serve %s over %s", device->name,
                            ops->wire);
    engine->ops = ops;
    engine->device = device;
    engine->tx_fd = -1;
    *ret_engine = engine;
    return 0;
}

static void close_fds(struct engine *engine, struct engine_fds *fds)
{
    const struct server_host *host = engine->device->host;
    for (unsigned i = 0; i < fds->count; i++)
        if (fds->fd[i] >= 0)
            host->close(host->context, fds->fd[i]);
    fds->count = 0;
}

void engine_free(struct engine *engine)
{
    if (!engine)
        return;
    close_fds(engine, &engine->waiting);
    close_fds(engine, &engine->arrived);
    device_disconnect(engine->device);
    free(engine);
}

uint8_t *engine_receive_space(struct engine *engine, size_t *ret_len)
{
    bool must_send = engine->tx_len + engine->ops->reply_limit > sizeof(engine->tx);
    *ret_len = must_send ? 0 : sizeof(engine->rx) - engine->rx_len;
    return engine->rx + engine->rx_len;
}

/* Moves descriptors from one set to the other; those that do not fit stay. */
static void move_fds(struct engine_fds *from, struct engine_fds *to)
{
    unsigned moved = 0;
    while (moved < from->count && to->count < LIMIT_FDS_PER_RECEIVE)
        to->fd[to->count++] = from->fd[moved++];
    memmove(from->fd, from->fd + moved, (from->count - moved) * sizeof(from->fd[0]));
    from->count -= moved;
}

static int handle_frame(struct engine *engine, const uint8_t *frame, size_t len,
                        bool is_last_received)
{
    if (is_last_received)
        move_fds(&engine->arrived, &engine->waiting);
    struct engine_fds fds = {.count = engine->waiting.count};
    memcpy(fds.fd, engine->waiting.fd, fds.count * sizeof(fds.fd[0]));
    engine->waiting.count = 0;
    int err = engine->ops->handle(engine, frame, len, &fds);
    close_fds(engine, &fds);
    return err;
}

/* Carries out the whole frames in the buffer, as far as there is room for replies. A refusal is
 * final: what lies behind the refused frame is never carried out, what lies before it never again.
 */
static int handle_frames(struct engine *engine)
{
    const struct engine_ops *ops = engine->ops;
    size_t at = 0;
    int err = engine->fault.code ? -EPROTO : 0;
    while (err == 0 && engine->rx_len - at >= ops->header_len &&
           engine->tx_len + ops->reply_limit <= sizeof(engine->tx)) {
        int len = ops->frame_len(engine, engine->rx + at);
        if (len < 0)
            return len;
        assert((size_t)len >= ops->header_len && (size_t)len <= sizeof(engine->rx));
        if (engine->rx_len - at < (size_t)len)
            break;
        err =
            handle_frame(engine, engine->rx + at, (size_t)len, engine->rx_len - at == (size_t)len);
        at += (size_t)len;
    }
    engine->rx_len -= at;
    if (at > 0 && engine->rx_len > 0)
        memmove(engine->rx, engine->rx + at, engine->rx_len);
    return err;
}

int engine_received(struct engine *engine, size_t len, const int *fds, unsigned num_fds)
{
    /* What arrived before belongs to the frame that is first in the buffer now. */
    move_fds(&engine->arrived, &engine->waiting);
    close_fds(engine, &engine->arrived);
    assert(len <= sizeof(engine->rx) - engine->rx_len && num_fds <= LIMIT_FDS_PER_RECEIVE);
    engine->rx_len += len;
    for (unsigned i = 0; i < num_fds; i++)
        engine->arrived.fd[engine->arrived.count++] = fds[i];
    return handle_frames(engine);
}

const uint8_t *engine_pending(const struct engine *engine, size_t *ret_len, int *ret_fd)
{
    *ret_len = engine->tx_len - engine->tx_sent;
    *ret_fd = engine->tx_fd;
    return engine->tx + engine->tx_sent;
}

int engine_sent(struct engine *engine, size_t len)
{
    assert(len <= engine->tx_len - engine->tx_sent);
    engine->tx_fd = -1;
    engine->tx_sent += len;
    if (engine->tx_sent < engine->tx_len)
        return 0;
    engine->tx_len = engine->tx_sent = 0;
    return handle_frames(engine);
}

uint8_t *engine_reply(struct engine *engine, size_t len)
{
    assert(len <= engine->ops->reply_limit && len <= sizeof(engine->tx) - engine->tx_len);
    uint8_t *at = engine->tx + engine->tx_len;
    engine->tx_len += len;
    return at;
}

// SPDX-License-Identifier: BSD-3-Clause
#include "server/engine.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/statistics.h"
#include "device/device_vault.h"
#include "device/pci.h"
#include "server/engine_vault.h"
#include "server/trace.h"

int engine_new(const struct engine_ops *ops, struct ob_device *device, struct engine **ret_engine,
               struct ob_fault *fault)
{
    if (device_memory(device)->never_maps && !ops->has_dma_messages)
        return ob_fault_set(fault, -ENOTSUP, "%s: --dma=messages: got wire %s, expected vfio-user",
                            device_name(device), ops->wire);
    device_unfit(device);
    int err = ops->fit_device(device, fault);
    if (err < 0)
        return err;
    struct engine *engine = calloc(1, ops->instance_len);
    if (!engine)
        return ob_fault_set(fault, -ENOMEM, "no memory to serve %s over %s", device_name(device),
                            ops->wire);
    engine->ops = ops;
    engine->device = device;
    engine->vault = device_vault(device);
    if (engine->vault) {
        engine_vault_begin(engine);
    } else {
        engine->rx = malloc(ops->rx_len);
        engine->tx = malloc(ops->tx_len);
    }
    if (!engine->rx || !engine->tx) {
        engine_free(engine);
        return ob_fault_set(fault, -ENOMEM, "no memory to serve %s over %s", device_name(device),
                            ops->wire);
    }
    err = ops->start ? ops->start(engine, fault) : 0;
    if (err < 0) {
        engine_free(engine);
        return err;
    }
    engine->started = true;
    device_begin_serving(device);
    *ret_engine = engine;
    return 0;
}

static void close_fds(struct engine *engine, struct fd_list *fds)
{
    const struct server_host *host = device_host(engine->device);
    if (engine->vault) {
        engine_vault_close(engine, fds);
        return;
    }
    for (unsigned i = 0; i < fds->count; i++)
        if (fds->fd[i] >= 0)
            host->close(host->context, fds->fd[i]);
    fds->count = 0;
}

static void stop(struct engine *engine)
{
    if (engine->started && engine->ops->stop)
        engine->ops->stop(engine);
    engine->started = false;
}

bool engine_leave(struct engine *engine)
{
    stop(engine);
    return device_leave(engine->device);
}

void engine_free(struct engine *engine)
{
    if (!engine)
        return;
    stop(engine);
    close_fds(engine, &engine->waiting);
    close_fds(engine, &engine->arrived);
    device_disconnect(engine->device);
    if (engine->vault) {
        engine_vault_end(engine);
    } else {
        free(engine->rx);
        free(engine->tx);
    }
    free(engine);
}

static bool may_reply(const struct engine *engine)
{
    return !engine->later && engine->tx_fds.count == 0 &&
           engine->tx_len + engine->ops->reply_limit <= engine->ops->tx_len;
}

uint8_t *engine_receive_space(struct engine *engine, size_t *ret_len)
{
    *ret_len = may_reply(engine) ? engine->ops->rx_len - engine->rx_len : 0;
    return engine->rx + engine->rx_len;
}

/* For the search for the cause of a crash: wire, command and address. */
static void tell_what_was_at_hand(struct engine *engine, const uint8_t *frame, size_t len)
{
    engine->at_hand = false;
    ob_device_warn(engine->device,
                   "the process before died at this message, over %s:", engine->ops->wire);
    trace_message(engine, true, frame, len, engine->waiting.count);
}

static int handle_frame(struct engine *engine, const uint8_t *frame, size_t len,
                        bool is_last_received)
{
    if (is_last_received)
        fd_list_move(&engine->arrived, &engine->waiting);
    if (engine->at_hand)
        tell_what_was_at_hand(engine, frame, len);
    else if (trace_is_on(device_traces(engine->device) && !engine->traced))
        trace_message(engine, true, frame, len, engine->waiting.count);
    if (engine->vault)
        engine_vault_begin_message(engine);
    int err = engine->poisoned ? engine_vault_answer_error(engine, frame, len)
                               : engine->ops->handle(engine, frame, len, &engine->waiting);
    engine->poisoned = false;
    if (engine->vault)
        engine->vault->in_message = false;
    struct statistics *statistics = device_statistics(engine->device);
    if (statistics && err != ENGINE_LATER)
        statistics_add(&statistics->requests, 1);
    close_fds(engine, &engine->waiting);
    return err;
}

/* The peer has broken the rules; the fault says which. */
static int refused(const struct engine *engine, int err)
{
    if (trace_is_on(device_traces(engine->device)))
        trace_say(engine->device, "refused: %s", engine->fault.text);
    return err;
}

/* Reads the header of the frame that begins there, unless it was read before. 0 or -EPROTO. */
static int read_header(struct engine *engine, const uint8_t *frame)
{
    if (engine->frame_len > 0)
        return 0;
    int len = engine->ops->frame_len(engine, frame);
    if (len < 0)
        return len;
    assert((size_t)len >= engine->ops->header_len && (size_t)len <= engine->ops->rx_len);
    engine->frame_len = (size_t)len;
    return 0;
}

/* Carries out the whole frames in the buffer, as far as there is room for replies. A refusal is
 * final: frames behind the refused one are never carried out, frames before it never again.
 */
static int handle_frames(struct engine *engine)
{
    const struct engine_ops *ops = engine->ops;
    size_t at = 0;
    int err = engine->fault.code ? -EPROTO : 0;
    while (err == 0 && engine->rx_len - at >= ops->header_len && may_reply(engine)) {
        err = read_header(engine, engine->rx + at);
        if (err < 0)
            return refused(engine, err);
        const size_t len = engine->frame_len;
        if (engine->rx_len - at < len)
            break;
        err = handle_frame(engine, engine->rx + at, len, engine->rx_len - at == len);
        engine->later = engine->traced = err == ENGINE_LATER;
        if (engine->later)
            break;
        engine->frame_len = 0;
        at += len;
        if (engine->vault && err == 0)
            engine_vault_frame(engine, len, at == engine->rx_len);
    }
    engine->rx_len -= at;
    if (at > 0 && engine->rx_len > 0) {
        if (engine->vault)
            engine_vault_slide(engine, at);
        else
            memmove(engine->rx, engine->rx + at, engine->rx_len);
    }
    if (err >= 0 && ops->pump)
        ops->pump(engine);
    if (engine->vault && err >= 0)
        engine_vault_settle(engine, at > 0);
    return err < 0 ? refused(engine, err) : 0;
}

int engine_poke(struct engine *engine)
{
    engine->later = false;
    return handle_frames(engine);
}

int engine_received(struct engine *engine, size_t len, const int *fds, unsigned num_fds)
{
    /* Descriptors that arrived before belong to the frame that is first in the buffer now. */
    fd_list_move(&engine->arrived, &engine->waiting);
    if (engine->vault && engine->arrived.count > 0 && !engine->fault.code)
        ob_fault_set(&engine->fault, -EPROTO, "a message: got more than %u descriptors",
                     LIMIT_FDS_PER_RECEIVE);
    close_fds(engine, &engine->arrived);
    assert(len <= engine->ops->rx_len - engine->rx_len && num_fds <= LIMIT_FDS_PER_RECEIVE);
    engine->rx_len += len;
    for (unsigned i = 0; i < num_fds; i++)
        engine->arrived.fd[engine->arrived.count++] = fds[i];
    return handle_frames(engine);
}

bool engine_is_settled(const struct engine *engine)
{
    return !engine->later && engine_pending(engine).len == 0;
}

struct engine_output engine_pending(const struct engine *engine)
{
    struct engine_output output = {.bytes = engine->tx + engine->tx_sent,
                                   .len = engine->tx_len - engine->tx_sent};
    if (engine->tx_fds.count == 0)
        return output;
    if (engine->tx_sent < engine->tx_fds_at) {
        output.len = engine->tx_fds_at - engine->tx_sent;
    } else {
        output.fds = engine->tx_fds.fd;
        output.num_fds = engine->tx_fds.count;
    }
    return output;
}

int engine_sent(struct engine *engine, size_t len)
{
    assert(len <= engine->tx_len - engine->tx_sent);
    engine->tx_sent += len;
    if (engine->tx_sent > engine->tx_fds_at)
        engine->tx_fds.count = 0;
    if (engine->vault)
        engine_vault_sent(engine);
    if (engine->tx_sent < engine->tx_len)
        return 0;
    engine->tx_len = engine->tx_sent = 0;
    return handle_frames(engine);
}

bool engine_may_send(const struct engine *engine, size_t len)
{
    return engine->tx_len + len + engine->ops->reply_limit <= engine->ops->tx_len;
}

uint8_t *engine_reply_room(struct engine *engine)
{
    return engine->tx + engine->tx_len;
}

void engine_reply(struct engine *engine, size_t len, const int *fds, unsigned num_fds)
{
    assert(len <= engine->ops->reply_limit && num_fds <= LIMIT_FDS_PER_RECEIVE);
    for (unsigned i = 0; i < num_fds; i++)
        engine->tx_fds.fd[engine->tx_fds.count++] = fds[i];
    if (num_fds > 0)
        engine->tx_fds_at = engine->tx_len;
    if (trace_is_on(device_traces(engine->device)))
        trace_message(engine, false, engine->tx + engine->tx_len, len, num_fds);
    engine->tx_len += len;
    if (engine->vault)
        engine_vault_replied(engine, len, num_fds > 0);
}

bool engine_works(struct engine *engine)
{
    return device_poll(engine->device);
}

bool engine_has_io_in_flight(const struct engine *engine)
{
    return device_has_io_in_flight(engine->device);
}

bool engine_has_deferred_work(const struct engine *engine)
{
    return device_has_deferred_work(engine->device);
}

bool engine_before_sleep(struct engine *engine)
{
    return device_before_sleep(engine->device);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "chains.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Chains of a queue that the library gives in one round. */
#define ROUND_MAX 64u

#define SPANS_MAX   32    /* of one write */
#define COPY_LEN    16384 /* for the agent's parser, which may not read memory that changes */
#define CONSOLE_MAX 65536 /* bytes that wait for a console's peer */

static void append(struct port_chains *chains, struct ob_virtio_chain *chain)
{
    chain->context = NULL;
    if (chains->last)
        chains->last->context = chain;
    else
        chains->first = chain;
    chains->last = chain;
    chains->count++;
}

static struct ob_virtio_chain *pop(struct port_chains *chains)
{
    struct ob_virtio_chain *chain = chains->first;
    chains->first = chain->context;
    if (!chains->first)
        chains->last = NULL;
    chains->count--;
    return chain;
}

void chains_take(struct port *port, bool is_input)
{
    struct port_chains *chains = is_input ? &port->input.free : &port->output.chains;
    unsigned queue = is_input ? port_input_queue(port->id) : port_output_queue(port->id);
    struct ob_virtio_chain *chain;
    if (!is_input && port->output.round != *port->round)
        port->output.taken = 0;
    port->output.round = *port->round;
    for (; (chain = ob_virtio_take(port->virtio, queue)); port->output.taken += !is_input)
        if (is_input ? chain->writable_len == 0 : chain->readable_len == 0)
            ob_virtio_complete(chain, 0);
        else
            append(chains, chain);
    if (is_input && chains->count > port->input.full)
        port->input.full = chains->count;
}

bool chains_has_all(const struct port *port)
{
    return port->output.taken < ROUND_MAX;
}

size_t chains_fill(struct port *port, size_t budget, bool *ret_end)
{
    struct port_chains *chains = &port->input.free;
    size_t moved = 0;
    *ret_end = false;
    while (chains->first && moved < budget) {
        const struct ob_dma_span *span = chains->first->writable;
        ssize_t got = port_end_read(port->end, span->address, span->len);
        if (got < 0)
            break;
        if (got == 0) {
            *ret_end = true;
            break;
        }
        ob_virtio_complete(pop(chains), (size_t)got);
        moved += (size_t)got;
    }
    if (!chains->first)
        *ret_end = port_end_has_gone(port->end);
    port->input.bytes += moved;
    return moved;
}

size_t chains_put(struct port *port, const void *bytes, size_t len)
{
    struct port_chains *chains = &port->input.free;
    size_t moved = 0;
    while (chains->first && moved < len) {
        size_t put = ob_virtio_write(chains->first, 0, (const uint8_t *)bytes + moved, len - moved);
        ob_virtio_complete(pop(chains), put);
        moved += put;
    }
    port->input.bytes += moved;
    return moved;
}

/* The bytes that come next, of several chains. */
static int gather(const struct port_output *output, struct iovec *ret_spans)
{
    int count = 0;
    if (output->rest_at < output->rest_len) {
        ret_spans[0] =
            (struct iovec){output->rest + output->rest_at, output->rest_len - output->rest_at};
        return 1;
    }
    size_t skip = output->at;
    for (const struct ob_virtio_chain *chain = output->chains.first; chain && count < SPANS_MAX;
         chain = chain->context)
        for (unsigned i = 0; i < chain->num_readable && count < SPANS_MAX; i++) {
            const struct ob_dma_span *span = &chain->readable[i];
            size_t skipped = skip < span->len ? skip : span->len;
            skip -= skipped;
            if (skipped < span->len)
                ret_spans[count++] =
                    (struct iovec){(uint8_t *)span->address + skipped, span->len - skipped};
        }
    return count;
}

static void consume(struct port_output *output, size_t len)
{
    if (output->rest_at < output->rest_len) {
        output->rest_at += len;
        return;
    }
    output->at += len;
    while (output->chains.first && output->at >= output->chains.first->readable_len) {
        output->at -= output->chains.first->readable_len;
        ob_virtio_complete(pop(&output->chains), 0);
    }
}

void chains_forget_rest(struct port *port)
{
    free(port->output.rest);
    port->output.rest = NULL;
    port->output.rest_at = port->output.rest_len = 0;
}

/* Writes the next bytes, once. Returns how much, or 0. */
static size_t write_next(struct port *port)
{
    struct port_output *output = &port->output;
    struct iovec spans[SPANS_MAX];
    int count = output->broken ? 0 : gather(output, spans);
    ssize_t put = count > 0 ? port_end_write(port->end, spans, count) : -EAGAIN;
    if (put < 0) {
        output->broken |= put != -EAGAIN;
        return 0;
    }
    consume(output, (size_t)put);
    if (output->rest && output->rest_at == output->rest_len)
        chains_forget_rest(port);
    output->bytes += (size_t)put;
    return (size_t)put;
}

bool chains_drain_rest(struct port *port)
{
    while (port->output.rest && write_next(port) > 0) {}
    return !port->output.rest || port->output.broken;
}

size_t chains_drain(struct port *port, size_t budget)
{
    size_t moved = 0, put;
    while (moved < budget && (put = write_next(port)) > 0)
        moved += put;
    return moved;
}

size_t chains_drain_to_agent(struct port *port, size_t budget)
{
    struct port_output *output = &port->output;
    char bytes[COPY_LEN];
    size_t moved = 0;
    while (output->chains.first && moved < budget) {
        size_t len = ob_virtio_read(output->chains.first, output->at, bytes, sizeof(bytes));
        agent_front_take(port->agent, bytes, len);
        consume(output, len);
        moved += len;
    }
    output->bytes += moved;
    return moved;
}

static size_t unsent(const struct port_output *output)
{
    size_t len = 0;
    for (const struct ob_virtio_chain *chain = output->chains.first; chain; chain = chain->context)
        len += chain->readable_len;
    return len > output->at ? len - output->at : 0;
}

static void count_dropped(struct port *port, size_t len)
{
    if (len == 0)
        return;
    port->output.dropped += len;
    if (port->mode != PORT_CONSOLE) /* which nobody may read for hours */
        port->events->tell(port->device, port->id, "dropped", "guest", len);
}

void chains_drop(struct port *port)
{
    struct port_output *output = &port->output;
    size_t len = output->chains.first ? unsent(output) : 0;
    while (output->chains.first)
        ob_virtio_complete(pop(&output->chains), 0);
    output->at = 0;
    count_dropped(port, len);
}

void chains_return(struct port *port, bool is_input)
{
    struct port_chains *chains = is_input ? &port->input.free : &port->output.chains;
    while (chains->first)
        ob_virtio_return(pop(chains));
}

/* Room for the rest and `more` bytes behind it. False: no memory. */
static bool make_room(struct port_output *output, size_t more)
{
    size_t had = output->rest_len - output->rest_at;
    uint8_t *rest = malloc(had + more);
    if (!rest)
        return false;
    if (had > 0)
        memcpy(rest, output->rest + output->rest_at, had);
    free(output->rest);
    output->rest = rest;
    output->rest_at = 0;
    output->rest_len = had;
    return true;
}

/* Copies at most `room` bytes of chains, and completes those that were copied. */
static void copy(struct port_output *output, size_t room)
{
    while (output->chains.first && room > 0) {
        struct ob_virtio_chain *chain = output->chains.first;
        size_t len = ob_virtio_read(chain, output->at, output->rest + output->rest_len, room);
        output->rest_len += len;
        room -= len;
        output->at += len;
        if (output->at < chain->readable_len)
            return;
        output->at = 0;
        ob_virtio_complete(pop(&output->chains), 0);
    }
}

static void keep(struct port *port, size_t max, bool stays)
{
    struct port_output *output = &port->output;
    size_t more = output->chains.first ? unsent(output) : 0;
    size_t had = output->rest_len - output->rest_at;
    size_t room = had < max ? max - had : 0;
    size_t kept = more < room ? more : room;
    if (kept > 0 && make_room(output, kept))
        copy(output, kept);
    if (stays)
        chains_return(port, false);
    else
        chains_drop(port);
}

void chains_keep(struct port *port, bool stays)
{
    if (port->output.chains.first)
        keep(port, PORT_REST_MAX, stays);
}

size_t chains_drain_console(struct port *port, size_t budget)
{
    size_t moved = port_end_has_peer(port->end) ? chains_drain(port, budget) : 0;
    if (port->output.chains.first)
        keep(port, CONSOLE_MAX, false);
    return moved;
}

// SPDX-License-Identifier: BSD-3-Clause
/*
 * The queues of the transmitter, as a stream sees them: it stands in tx.control while it owes
 * frames, in tx.active while it has data and credit, in tx.notify while its owner is to be told.
 * Code that changes a stream's debts or credit calls a function of this file afterwards.
 */
#include "session/queues.h"
#include "session/session.h"

#include <assert.h>
#include <string.h>

void stream_owe(struct ob_stream *stream, enum pending pending)
{
    stream->pending |= (uint16_t)pending;
    if (list_empty(&stream->control))
        list_append(&stream->session->tx.control, &stream->control);
}

size_t stream_waiting(const struct ob_stream *stream)
{
    return stream->tx.unsent.len + stream->tx.lent_len - stream->tx.ahead;
}

size_t stream_room(const struct ob_stream *stream)
{
    size_t size = stream->session->config.send_buffer;
    return stream->tx.unsent.len < size ? size - stream->tx.unsent.len : 0;
}

void stream_schedule(struct ob_stream *stream)
{
    bool accepted = stream->state == STREAM_OPEN && !(stream->pending & PENDING_ACCEPT);
    bool sendable = accepted && stream_waiting(stream) && stream->tx.sent < stream->tx.limit;
    if (sendable && list_empty(&stream->active)) {
        list_append(&stream->session->tx.active, &stream->active);
    } else if (!sendable) {
        list_remove(&stream->active);
        stream->tx.deficit = 0;
    }
}

void stream_finish(struct ob_stream *stream)
{
    if (stream->tx.ending && !stream->tx.ended && stream->state == STREAM_OPEN &&
        !stream_waiting(stream))
        stream_owe(stream, PENDING_FIN);
}

void stream_confirm_end(struct ob_stream *stream)
{
    if (stream->state == STREAM_OPEN && !stream->orphan && stream->rx.ended &&
        stream->rx.consumed == stream->rx.received && !stream->tx.ended)
        stream_owe(stream, PENDING_CREDIT);
}

/* The stream's bytes are about to go away: saves those of a frame that is partly sent. */
static void save_partial(struct ob_stream *stream)
{
    struct transmitter *tx = &stream->session->tx;
    assert(!tx->planned_count); /* ob_session_transmitted() comes before any other call */
    if (!tx->partial_done || tx->partial.stream != stream)
        return;
    memcpy(tx->orphaned, tx->partial.payload, tx->partial.len);
    tx->partial.payload = tx->orphaned;
    tx->partial.stream = NULL;
}

void stream_leave_queues(struct ob_stream *stream)
{
    save_partial(stream);
    list_remove(&stream->control);
    list_remove(&stream->active);
    list_remove(&stream->notify);
}

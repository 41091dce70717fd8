// SPDX-License-Identifier: BSD-3-Clause
/*
 * The unread bytes of a stream are a chain of copies and, behind it, pieces that lie where they
 * were received: in the buffer that ob_session_receive() or ob_session_receive_lent() was given.
 * Pieces of all streams are in one array, in the order of their arrival; those of a stream are
 * linked by their numbers, which begin at 1.
 */
#include "session/unread.h"
#include "session/session.h"

#include <assert.h>

static const struct piece *piece_at(const struct ob_stream *stream, unsigned int number)
{
    return &stream->session->rx.pieces[number - 1];
}

bool unread_any(const struct ob_stream *stream)
{
    return stream->rx.unread.len || stream->rx.first_piece;
}

bool unread_full(const struct ob_session *session)
{
    return session->rx.piece_count == LIMIT_SESSION_PIECES;
}

void unread_add(struct ob_stream *stream, const uint8_t *bytes, size_t len)
{
    struct receiver *rx = &stream->session->rx;
    assert(!unread_full(stream->session));
    rx->pieces[rx->piece_count++] = (struct piece){.stream = stream, .bytes = bytes, .len = len};
    if (stream->rx.first_piece)
        rx->pieces[stream->rx.last_piece - 1].next = rx->piece_count;
    else
        stream->rx.first_piece = rx->piece_count;
    stream->rx.last_piece = rx->piece_count;
}

void unread_tell(struct ob_stream *stream)
{
    struct ob_session *session = stream->session;
    if (session->config.events.readable)
        TELL(session, readable, stream);
    else if (list_empty(&stream->readable))
        list_append(&session->rx.readable, &stream->readable);
}

size_t unread_peek(const struct ob_stream *stream, const uint8_t **ret_bytes)
{
    if (stream->rx.unread.len)
        return chain_peek(&stream->rx.unread, 0, ret_bytes);
    if (!stream->rx.first_piece)
        return 0;
    const struct piece *piece = piece_at(stream, stream->rx.first_piece);
    *ret_bytes = piece->bytes;
    return piece->len;
}

int unread_spans(const struct ob_stream *stream, struct iovec *iov, int iov_max)
{
    const struct chain *queued = &stream->rx.unread;
    const uint8_t *bytes;
    int count = 0;
    for (size_t at = 0, len; at < queued->len && count < iov_max; at += len) {
        len = chain_peek(queued, at, &bytes);
        iov[count++] = (struct iovec){.iov_base = (void *)bytes, .iov_len = len};
    }
    for (unsigned int number = stream->rx.first_piece; number && count < iov_max;) {
        const struct piece *piece = piece_at(stream, number);
        iov[count++] = (struct iovec){.iov_base = (void *)piece->bytes, .iov_len = piece->len};
        number = piece->next;
    }
    return count;
}

/* Takes the first piece out of the stream's links. */
static void drop_first(struct ob_stream *stream)
{
    stream->rx.first_piece = piece_at(stream, stream->rx.first_piece)->next;
}

void unread_consume(struct ob_stream *stream, size_t len)
{
    struct receiver *rx = &stream->session->rx;
    size_t queued = len < stream->rx.unread.len ? len : stream->rx.unread.len;
    if (queued)
        chain_consume(&stream->rx.unread, queued);
    for (size_t left = len - queued, some; left; left -= some) {
        assert(stream->rx.first_piece); /* more was consumed than there was */
        struct piece *piece = &rx->pieces[stream->rx.first_piece - 1];
        some = left < piece->len ? left : piece->len;
        piece->bytes += some;
        piece->len -= some;
        if (!piece->len)
            drop_first(stream);
    }
}

void unread_forget(struct ob_stream *stream)
{
    struct receiver *rx = &stream->session->rx;
    for (; stream->rx.first_piece; drop_first(stream))
        rx->pieces[stream->rx.first_piece - 1].stream = NULL;
    chain_clear(&stream->rx.unread);
    list_remove(&stream->readable);
}

struct ob_stream *unread_keep(struct ob_session *session)
{
    struct receiver *rx = &session->rx;
    while (rx->pieces_kept < rx->piece_count) {
        const struct piece *piece = &rx->pieces[rx->pieces_kept++];
        struct ob_stream *stream = piece->stream;
        if (!stream || !piece->len)
            continue; /* forgotten, or consumed */
        if (chain_append(&stream->rx.unread, piece->bytes, piece->len) < 0)
            return stream;
        drop_first(stream);
    }
    rx->piece_count = rx->pieces_kept = 0;
    return NULL;
}

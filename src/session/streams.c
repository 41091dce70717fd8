// SPDX-License-Identifier: BSD-3-Clause
/*
 * The table of streams, and the life of their objects.
 *
 * An object is in one of three lists: live (it may be in the table, too), over (its owner has yet
 * to free it) or freed (its owner has, inside a callback; the memory goes when the callback's
 * caller is done). Ids count up and are never used again in a session, so an id below the next one
 * that is not in the table belongs to a stream that is over, and further frames for it are
 * dropped.
 */
#include "session/streams.h"
#include "base/auto.h"
#include "session/queues.h"
#include "session/session.h"
#include "session/unread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_MIN 64

int streams_init(struct ob_session *session)
{
    struct streams *streams = &session->streams;
    list_init(&streams->live);
    list_init(&streams->over);
    list_init(&streams->freed);
    streams->buckets = calloc(BUCKETS_MIN, sizeof(struct ob_stream *));
    streams->mask = BUCKETS_MIN - 1;
    streams->refusals_room = streams_unanswered_max(session->config.max_streams);
    streams->refusals = calloc(streams->refusals_room, sizeof(streams->refusals[0]));
    return streams->buckets && streams->refusals ? 0 : -ENOMEM;
}

static void drop_request(struct ob_stream *stream)
{
    if (stream->id == 0)
        free(take_ptr(&stream->request));
}

static void destroy(struct ob_stream *stream)
{
    struct streams *streams = &stream->session->streams;
    list_remove(&stream->all);
    streams->count--;
    streams->ours -= stream->ours;
    chain_clear(&stream->rx.unread);
    chain_clear(&stream->tx.unsent);
    drop_request(stream);
    free(stream);
}

static void destroy_all(struct list *list)
{
    /* Lists are not set up when the engine could not be made. */
    while (list->next && !list_empty(list))
        destroy(list_entry(list_take(list), struct ob_stream, all));
}

void streams_done(struct ob_session *session)
{
    struct streams *streams = &session->streams;
    destroy_all(&streams->live);
    destroy_all(&streams->over);
    destroy_all(&streams->freed);
    free(streams->buckets);
    free(streams->refusals);
}

void streams_free_freed(struct ob_session *session)
{
    destroy_all(&session->streams.freed);
}

void streams_begin(struct ob_session *session)
{
    struct streams *streams = &session->streams;
    /* The end with the lesser nonce opens odd ids, the other even ones. */
    streams->next_ours = session->handshake.greater ? 2 : 1;
    streams->next_theirs = session->handshake.greater ? 1 : 2;
    streams->unanswered_ours = 0;
    streams->unanswered_theirs = 0;
    streams->refusals_count = 0;
}

static struct ob_stream **bucket(const struct streams *streams, uint64_t id)
{
    return &streams->buckets[id & streams->mask];
}

/* Doubles the table; when there is no memory for that, it just gets slower. */
static void grow(struct streams *streams)
{
    uint32_t old = streams->mask + 1;
    struct ob_stream **buckets = calloc(2 * (size_t)old, sizeof(struct ob_stream *));
    if (!buckets)
        return;
    struct ob_stream **before = streams->buckets;
    streams->buckets = buckets;
    streams->mask = 2 * old - 1;
    for (uint32_t i = 0; i < old; i++) {
        for (struct ob_stream *stream = before[i], *next; stream; stream = next) {
            next = stream->hash_next;
            struct ob_stream **at = bucket(streams, stream->id);
            stream->hash_next = *at;
            *at = stream;
        }
    }
    free(before);
}

void stream_enter_table(struct ob_stream *stream, uint64_t id)
{
    struct streams *streams = &stream->session->streams;
    if (streams->count > streams->mask)
        grow(streams);
    struct ob_stream **at = bucket(streams, id);
    stream->id = id;
    stream->hash_next = *at;
    *at = stream;
}

static void leave_table(struct ob_stream *stream)
{
    struct ob_stream **at = bucket(&stream->session->streams, stream->id);
    while (*at && *at != stream)
        at = &(*at)->hash_next;
    if (*at)
        *at = stream->hash_next;
}

struct ob_stream *stream_find(const struct ob_session *session, uint64_t id)
{
    struct ob_stream *stream = *bucket(&session->streams, id);
    while (stream && stream->id != id)
        stream = stream->hash_next;
    return stream;
}

bool stream_was_opened(const struct ob_session *session, uint64_t id)
{
    const struct streams *streams = &session->streams;
    bool ours = (id & 1) == (streams->next_ours & 1);
    return id != 0 && id < (ours ? streams->next_ours : streams->next_theirs);
}

struct ob_stream *stream_new(struct ob_session *session, enum stream_state state)
{
    struct ob_stream *stream = calloc(1, sizeof(*stream));
    if (!stream)
        return NULL;
    stream->session = session;
    stream->state = (uint8_t)state;
    stream->ours = state == STREAM_OPENING;
    list_init(&stream->control);
    list_init(&stream->active);
    list_init(&stream->notify);
    list_init(&stream->readable);
    list_append(&session->streams.live, &stream->all);
    session->streams.count++;
    session->streams.ours += stream->ours;
    return stream;
}

void stream_answered(struct ob_stream *stream)
{
    struct streams *streams = &stream->session->streams;
    if (!stream->unanswered)
        return;
    stream->unanswered = false;
    *(stream->ours ? &streams->unanswered_ours : &streams->unanswered_theirs) -= 1;
}

void stream_detach(struct ob_stream *stream, uint32_t reason)
{
    struct ob_session *session = stream->session;
    stream_leave_queues(stream);
    unread_forget(stream);
    leave_table(stream);
    chain_clear(&stream->tx.unsent);
    stream->tx.lent = NULL;
    stream->tx.lent_len = 0;
    stream->tx.ahead = 0;
    drop_request(stream);
    stream->pending = 0;
    stream->state = STREAM_OVER;
    stream->reason = reason;
    list_remove(&stream->all);
    list_append(&session->streams.over, &stream->all);
}

void stream_kill(struct ob_stream *stream, uint32_t reason)
{
    /* Until ACCEPT is encoded the peer waits for an answer, and this is it. */
    bool refusal = !stream->ours && stream->unanswered;
    /* And while its session is ending there is nobody to tell. */
    bool known = stream->id != 0 && stream->session->state == SESSION_UP;
    stream_detach(stream, reason);
    if (known)
        stream_owe(stream, refusal ? PENDING_REFUSE : PENDING_RESET);
}

void streams_keep_unread(struct ob_session *session)
{
    for (struct ob_stream *stream; (stream = unread_keep(session));) {
        stream_kill(stream, OB_REASON_NO_MEMORY);
        TELL(session, reset, stream, OB_REASON_NO_MEMORY);
    }
}

void stream_release(struct ob_stream *stream)
{
    struct ob_session *session = stream->session;
    if (stream->state != STREAM_OVER)
        stream_detach(stream, OB_REASON_NONE);
    list_remove(&stream->control);
    if (session->depth == 0) {
        destroy(stream);
        return;
    }
    list_remove(&stream->all);
    list_append(&session->streams.freed, &stream->all);
}

uint32_t streams_unanswered_max(uint32_t granted)
{
    return granted > LIMIT_SESSION_UNANSWERED ? granted : LIMIT_SESSION_UNANSWERED;
}

static struct refusal *refusal_at(const struct streams *streams, uint32_t number)
{
    return &streams->refusals[(streams->refusals_first + number) % streams->refusals_room];
}

/* Closes the gaps that cancelled ones have left. */
static void compact_refusals(struct streams *streams)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < streams->refusals_count; i++) {
        if (refusal_at(streams, i)->id)
            *refusal_at(streams, kept++) = *refusal_at(streams, i);
    }
    streams->refusals_count = kept;
}

void refuse_unborn(struct ob_session *session, uint64_t id, uint32_t reason)
{
    struct streams *streams = &session->streams;
    /* There is room: an entry stands for an unanswered OPEN, or is about to go. */
    if (streams->refusals_count == streams->refusals_room)
        compact_refusals(streams);
    *refusal_at(streams, streams->refusals_count++) = (struct refusal){.id = id, .reason = reason};
    streams->unanswered_theirs++;
}

/* The first one in the ring is never a cancelled one: where there are some, there is output. */
static void drop_cancelled(struct streams *streams)
{
    while (streams->refusals_count > 0 && !refusal_at(streams, 0)->id) {
        streams->refusals_first = (streams->refusals_first + 1) % streams->refusals_room;
        streams->refusals_count--;
    }
}

void refusal_cancel(struct ob_session *session, uint64_t id)
{
    struct streams *streams = &session->streams;
    for (uint32_t i = 0; i < streams->refusals_count; i++) {
        struct refusal *refusal = refusal_at(streams, i);
        if (refusal->id != id)
            continue;
        refusal->id = 0;
        streams->unanswered_theirs--;
        drop_cancelled(streams);
        return;
    }
}

bool refusal_take(struct ob_session *session, struct refusal *ret_refusal)
{
    struct streams *streams = &session->streams;
    *ret_refusal = *refusal_at(streams, 0);
    streams->refusals_first = (streams->refusals_first + 1) % streams->refusals_room;
    streams->refusals_count--;
    streams->unanswered_theirs -= ret_refusal->id != 0;
    drop_cancelled(streams);
    return ret_refusal->id != 0;
}

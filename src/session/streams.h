// SPDX-License-Identifier: BSD-3-Clause
/* The table of streams, and the life of their objects. */
#ifndef OUTBOARD_SESSION_STREAMS_H
#define OUTBOARD_SESSION_STREAMS_H

#include "session/session.h"

int streams_init(struct ob_session *session);
void streams_done(struct ob_session *session);
struct ob_stream *stream_new(struct ob_session *session, enum stream_state state);
void stream_enter_table(struct ob_stream *stream, uint64_t id);
struct ob_stream *stream_find(const struct ob_session *session, uint64_t id);
/* Takes a stream out of everything: it is over, for this reason, and its data is gone. */
void stream_detach(struct ob_stream *stream, uint32_t reason);
/* Detaches a stream that the peer knows, and owes it the news. */
void stream_kill(struct ob_stream *stream, uint32_t reason);
/* Copies the bytes in a buffer that is about to go; resets streams for which there is no memory. */
void streams_keep_unread(struct ob_session *session);
/* Frees the object, now or when the callbacks have returned. */
void stream_release(struct ob_stream *stream);
void stream_answered(struct ob_stream *stream);
/* OPENs that may be unanswered in a direction in which `granted` streams are granted. */
uint32_t streams_unanswered_max(uint32_t granted);
/* Owes the peer a REFUSE for an OPEN that got no object. */
void refuse_unborn(struct ob_session *session, uint64_t id, uint32_t reason);
void refusal_cancel(struct ob_session *session, uint64_t id);
/* Takes the first one; false if it was cancelled meanwhile. */
bool refusal_take(struct ob_session *session, struct refusal *ret_refusal);
/* Whether the id was opened in this session, and so belongs to a stream that may be over by now. */
bool stream_was_opened(const struct ob_session *session, uint64_t id);
/* A session begins: numbers start again. */
void streams_begin(struct ob_session *session);
void streams_free_freed(struct ob_session *session);

#endif

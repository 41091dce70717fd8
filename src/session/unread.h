// SPDX-License-Identifier: BSD-3-Clause
/* Bytes that a stream has received and its application has not consumed. */
#ifndef OUTBOARD_SESSION_UNREAD_H
#define OUTBOARD_SESSION_UNREAD_H

#include "session/session.h"

bool unread_any(const struct ob_stream *stream);
/* Adds bytes where they lie. There must be room: see unread_full(). */
void unread_add(struct ob_stream *stream, const uint8_t *bytes, size_t len);
bool unread_full(const struct ob_session *session);
/* Calls `readable`; without that callback, puts the stream on the list of readable streams. */
void unread_tell(struct ob_stream *stream);
/* The first contiguous bytes; 0 if there are no bytes. */
size_t unread_peek(const struct ob_stream *stream, const uint8_t **ret_bytes);
int unread_spans(const struct ob_stream *stream, struct iovec *iov, int iov_max);
void unread_consume(struct ob_stream *stream, size_t len);
/* The stream is over: drops its bytes, and takes it from the list of readable streams. */
void unread_forget(struct ob_stream *stream);
/*
 * Copies all pieces into their streams, since the buffer in which they lie is about to go. Returns
 * NULL, or the first stream for which there was no memory; then forget that one and call again.
 */
struct ob_stream *unread_keep(struct ob_session *session);

#endif

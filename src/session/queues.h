// SPDX-License-Identifier: BSD-3-Clause
/* Which queues of the transmitter a stream stands in. */
#ifndef OUTBOARD_SESSION_QUEUES_H
#define OUTBOARD_SESSION_QUEUES_H

#include "session/session.h"

void stream_owe(struct ob_stream *stream, enum pending pending);
/* Puts the stream among the active ones, or takes it out, as its data and credit demand. */
void stream_schedule(struct ob_stream *stream);
/* Owes FIN once the last byte before it is on its way. */
void stream_finish(struct ob_stream *stream);
/* Owes CREDIT once all was read up to the peer's FIN, as long as the peer may want to know. */
void stream_confirm_end(struct ob_stream *stream);
/* Takes the stream out of all queues. Of a frame that is partly sent, the rest is saved. */
void stream_leave_queues(struct ob_stream *stream);
/* Bytes that wait for a frame. */
size_t stream_waiting(const struct ob_stream *stream);
size_t stream_room(const struct ob_stream *stream);

#endif

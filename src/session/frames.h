// SPDX-License-Identifier: BSD-3-Clause
/* The meaning of each frame, and when it is allowed. */
#ifndef OUTBOARD_SESSION_FRAMES_H
#define OUTBOARD_SESSION_FRAMES_H

#include "session/session.h"

/* Whether the payload of a header is wanted: VERDICT_GO_ON or VERDICT_SKIP. */
enum verdict frame_begin(struct ob_session *session, const struct session_header *header);
/* A whole control frame. */
enum verdict frame_control(struct ob_session *session, const struct session_header *header,
                           const uint8_t *payload);
/* Some bytes of a DATA frame that frame_begin() wanted. */
void frame_data(struct ob_session *session, uint64_t id, const uint8_t *bytes, size_t len);

#endif

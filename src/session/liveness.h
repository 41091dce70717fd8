// SPDX-License-Identifier: BSD-3-Clause
/* The round trip, silence, and the tail of a raw line. */
#ifndef OUTBOARD_SESSION_LIVENESS_H
#define OUTBOARD_SESSION_LIVENESS_H

#include "session/session.h"

void liveness_reset(struct ob_session *session);
void liveness_advance(struct ob_session *session, uint64_t now_ns);
void liveness_heard(struct ob_session *session);
void liveness_sent(struct ob_session *session, uint8_t type);
void liveness_pong(struct ob_session *session, uint64_t value);
enum verdict liveness_tick(struct ob_session *session);
uint64_t liveness_deadline(const struct ob_session *session);

#endif

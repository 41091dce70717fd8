// SPDX-License-Identifier: BSD-3-Clause
/* The control lane: encoded control frames, which go before any data. */
#ifndef OUTBOARD_SESSION_CONTROL_H
#define OUTBOARD_SESSION_CONTROL_H

#include "session/session.h"

void control_reset(struct ob_session *session);
bool control_waits(const struct ob_session *session);
void control_fill(struct ob_session *session);
void control_bye(struct ob_session *session, uint32_t reason);
void header_next(struct ob_session *session, struct session_header *header,
                 uint8_t ret_bytes[SESSION_HEADER_LEN]);

#endif

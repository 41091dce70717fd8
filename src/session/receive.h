// SPDX-License-Identifier: BSD-3-Clause
/* Bytes to frames. */
#ifndef OUTBOARD_SESSION_RECEIVE_H
#define OUTBOARD_SESSION_RECEIVE_H

#include "session/session.h"

int receiver_init(struct ob_session *session);
void receiver_done(struct ob_session *session);
void receiver_reset(struct ob_session *session);
/* Takes bytes up to the first verdict but VERDICT_GO_ON. Returns how many. */
size_t receiver_take(struct ob_session *session, const uint8_t *bytes, size_t len,
                     enum verdict *ret_verdict);

#endif

// SPDX-License-Identifier: BSD-3-Clause
/* Which bytes go next. */
#ifndef OUTBOARD_SESSION_TRANSMIT_H
#define OUTBOARD_SESSION_TRANSMIT_H

#include "session/session.h"

int transmitter_init(struct ob_session *session);
void transmitter_done(struct ob_session *session);
/* The channel is gone, and with it whatever transmit gave out and nobody has reported. */
void transmitter_abandon(struct ob_session *session);
/* Forgets everything that is not sent. */
void transmitter_reset(struct ob_session *session);
bool transmitter_has_output(const struct ob_session *session);
/* Fills spans with the bytes that go next; transmitter_settle() says how many bytes of it went. */
int transmitter_gather(struct ob_session *session, struct iovec *iov, int iov_max);
void transmitter_settle(struct ob_session *session, size_t len);

#endif

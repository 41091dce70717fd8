// SPDX-License-Identifier: BSD-3-Clause
/* The handshake: nonces, HELLO, HELLO_ACK, proof, tag. */
#ifndef OUTBOARD_SESSION_HANDSHAKE_H
#define OUTBOARD_SESSION_HANDSHAKE_H

#include "session/session.h"

int handshake_begin(struct ob_session *session);
/* Whether a greeting proves nothing, so that it must not end the session that stands. */
bool handshake_is_guarded(const struct ob_session *session);
enum verdict handshake_hello(struct ob_session *session, const uint8_t *payload, size_t len);
enum verdict handshake_hello_ack(struct ob_session *session, const uint8_t *payload, size_t len);
/* Answers the HELLO for which VERDICT_NEWCOMER was given. */
enum verdict handshake_answer_newcomer(struct ob_session *session);
/* The stranger is the peer from now on. It may not have heard of our proof. */
void handshake_change_peer(struct ob_session *session);
/* Both nonces are known to both ends: makes the tag. */
void handshake_stand(struct ob_session *session);
size_t handshake_put_hello(const struct ob_session *session, uint8_t *payload);
size_t handshake_put_hello_ack(const struct ob_session *session, const struct handshake_peer *to,
                               uint8_t *payload);
void handshake_tick(struct ob_session *session);

#endif

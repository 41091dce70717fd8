// SPDX-License-Identifier: BSD-3-Clause
/*
 * A peer made of frames that a test writes by hand, so that it can break every rule. Its nonce is
 * 1: it is the lesser one, opens odd ids and sets no flag.
 */
#ifndef OUTBOARD_TESTS_SESSION_PEER_H
#define OUTBOARD_TESTS_SESSION_PEER_H

#include "session/pair.h"
#include "wire/session_wire.h"

#define PEER_NONCE 1

struct peer {
    struct pair pair; /* ends[0] is the engine under test; ends[1] stands aside */
    struct end *end;
    uint32_t seq;
    uint64_t next_id;
};

/* An engine on a clean channel with which a session stands. */
void peer_up(struct peer *peer, struct ob_session_config config);
void peer_free(struct peer *peer);

/* The next frame in order; the engine's verdict. */
int peer_send(struct peer *peer, enum session_type type, uint64_t stream, const void *payload,
              size_t len);
int peer_send_u32(struct peer *peer, enum session_type type, uint64_t stream, uint32_t value);
int peer_send_u64(struct peer *peer, enum session_type type, uint64_t stream, uint64_t value);
int peer_send_credit(struct peer *peer, uint64_t stream, uint64_t consumed, uint32_t window);
/* Opens the next odd id, gives it back. */
uint64_t peer_open(struct peer *peer, uint32_t window);
/* A frame with a header of the test's own. */
int peer_send_header(struct peer *peer, const struct session_header *header, const void *payload);
/* Takes all frames that wait; says of which type the last was, and its first four payload bytes. */
uint8_t peer_take(struct peer *peer, uint32_t *ret_value);

#endif

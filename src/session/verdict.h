// SPDX-License-Identifier: BSD-3-Clause
/* A verdict of a part of the engine: the work that is due. Parts return it, up to session.c, which acts on
 * it. */
#ifndef OUTBOARD_SESSION_VERDICT_H
#define OUTBOARD_SESSION_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

struct ob_session;

enum verdict {
    VERDICT_GO_ON,
    VERDICT_SKIP,            /* of a header: its payload is not wanted */
    VERDICT_STANDS,          /* the handshake is complete */
    VERDICT_STRANGER_PROVEN, /* likewise, with the stranger: the session that stands is over */
    VERDICT_RESTARTED,       /* the peer has begun a new life: over, and greet */
    VERDICT_NEWCOMER,        /* likewise, and handshake.newcomer is to be answered then */
    VERDICT_OVER,            /* the session is over, as `ending` says */
    VERDICT_BROKEN,          /* the peer broke the rules, as `ending` and the fault say */
    VERDICT_FAILED,          /* likewise, and no session can stand with this life of the peer */
};

/* Why the last verdict that ends a session was given. */
struct ending {
    int code; /* negative errno; 0: nobody did anything wrong */
    uint32_t reason;
    bool farewell;       /* BYE is due */
    uint64_t peer_nonce; /* VERDICT_FAILED: whose greeting it was */
};

enum verdict verdict_over(struct ob_session *session, uint32_t reason, bool farewell);
/* Notes the fault, too. */
enum verdict verdict_broken(struct ob_session *session, int code, uint32_t reason,
                            const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif

// SPDX-License-Identifier: BSD-3-Clause
/*
 * Reason: why a stream was refused or reset, in the words of who has to mend it. Those that the
 * session protocol leaves to the application are ours here; a peer that does not know them shows
 * its clients a general failure.
 */
#ifndef OUTBOARD_PROXY_REASON_H
#define OUTBOARD_PROXY_REASON_H

#include <outboard/session.h>
#include <stdbool.h>

enum {
    REASON_REFUSED = OB_REASON_APPLICATION + 1, /* the destination refuses connections */
    REASON_NAME_UNKNOWN,                        /* the destination's name has no address */
    REASON_ADDRESS_BUSY,                        /* somebody else listens there */
    REASON_ADDRESS_FOREIGN,                     /* to listen at: no address of that machine */
    REASON_ADDRESS_DENIED,                      /* to listen at: needs privileges there */
};

/* Why a destination could not be connected to, or why an OPEN failed: from a negative errno. */
uint32_t reason_of_errno(int err);

/* Why an address could not be listened at. */
uint32_t reason_of_listen_errno(int err);

/* One clause, with neither a name of a service nor a full stop. */
const char *reason_text(uint32_t reason);

/* Why no session stands: has_key tells whether this end was given one. */
const char *reason_session_text(uint32_t reason, bool has_key);

/* Whether a person must change something before a session can stand. */
bool reason_is_lasting(uint32_t reason);

#endif

// SPDX-License-Identifier: BSD-3-Clause
/*
 * A proxy and a caller in one process: the other end of the proxy's channel is a session of the
 * test's own, which may open and say what no proxy does.
 */
#ifndef OUTBOARD_TESTS_PROXY_CALLER_H
#define OUTBOARD_TESTS_PROXY_CALLER_H

#include <outboard/session.h>

#include "lab.h"

#define CALLER_HEARD 4096
#define CALLER_NAME  128

/* What has become of the stream that the caller has opened. */
enum call_state {
    CALL_ASKED,
    CALL_ACCEPTED,
    CALL_ENDED, /* accepted, then refused or reset */
    CALL_REFUSED,
};

struct caller {
    struct lab lab; /* with one proxy */
    struct ob_session *session;
    uint64_t life; /* its random numbers */
    enum call_state state;
    uint32_t reason;
    uint8_t heard[CALLER_HEARD];
    size_t heard_len;
    bool heard_end;
    struct ob_stream *stream; /* the one that it opened last; NULL: over */
    bool answers;             /* accepts what the proxy opens, which becomes `stream` */
    /* The last one that the proxy has opened, and whereto. */
    struct ob_stream *asked;
    char service[CALLER_NAME], metadata[CALLER_NAME];
};

/* Starts a proxy with these options ("@" stands for the lab's folder), and greets it: over the
 * socket pair, or at "@/channel" when the options have a channel (-c). */
void caller_start(struct caller *caller, const char *words);
/* The caller's channel goes away, and it comes to "@/channel" again. */
void caller_reconnect(struct caller *caller);
void caller_stop(struct caller *caller);
void caller_until(struct caller *caller, bool (*holds)(void *argument), void *argument);

/* Opens a stream and waits for the answer. */
enum call_state caller_open(struct caller *caller, const char *service, const char *metadata);
/* As caller_open(), with a name of any bytes. */
enum call_state caller_open_bytes(struct caller *caller, const void *service, size_t service_len,
                                  const char *metadata);
void caller_say(struct caller *caller, const void *bytes, size_t len);
/* Whether the proxy has consumed all that was said; its first flow is the caller's. */
bool caller_was_read(void *caller);
/* Waits until that much has been heard; fails when the stream is over before. */
void caller_hear(struct caller *caller, size_t len);
/* Waits until the proxy has reset the stream; the reason. */
uint32_t caller_hear_reset(struct caller *caller);
/* The stream is the test's from now on, with no more to be heard of it. */
struct ob_stream *caller_keep(struct caller *caller);
/* Waits until the proxy has opened a stream, and accepts it, or refuses it. */
void caller_take(struct caller *caller);
void caller_take_none(struct caller *caller, uint32_t reason);

#endif

// SPDX-License-Identifier: BSD-3-Clause
/*
 * Relay: carries bytes between a stream and a descriptor, both ways, each with its own end.
 *
 * The descriptor's end of file becomes the stream's FIN and the other way round; the relay is done
 * when both directions are. A break is never made to look like an end: when the stream is reset a
 * TCP peer gets a reset, and when the descriptor fails the stream gets one.
 */
#ifndef OUTBOARD_PROXY_RELAY_H
#define OUTBOARD_PROXY_RELAY_H

#include "proxy/flow.h"

struct child;

enum relay_end {
    RELAY_SOCKET,
    RELAY_RUN,      /* a socket at whose other end somebody waits for an exit status */
    RELAY_COMMAND,  /* a socket whose other end is a command */
    RELAY_TERMINAL, /* master of a pseudo terminal: its end of file is a byte */
};

/* Tells the client the result, before any byte of the stream: reason is OB_REASON_NONE when
 * the peer accepted. The socket is fresh, a few bytes fit. */
typedef void (*relay_answer_fn)(int fd, uint32_t reason);

/* Opens a stream for a connection of ours. Takes fd, whatever happens; on failure it is answered
 * and closed. metadata, answer: may be NULL. */
void relay_open(struct proxy *proxy, int fd, const char *service, const char *metadata,
                relay_answer_fn answer);

/* Accepts the peer's stream that `from` holds and relays it to fd, which it takes; `from` is empty
 * afterwards. child: the command at the other end of fd, which a break hangs up; NULL: none. */
void relay_accept(struct flow *from, int fd, enum relay_end end, struct child *child);

/* Continues with relays whose output the peer has read to its end since the last call: to be called
 * after each read of the channel. */
void relay_pump_ready(struct proxy *proxy);

/* Closes those whose streams are over and whose last bytes are still on their way. */
void relay_end_lingering(struct proxy *proxy);

#endif

// SPDX-License-Identifier: BSD-3-Clause
/*
 * The application at one end: opens, reads, writes and closes streams at random, and knows what it
 * must see.
 *
 * Every stream of a run has a serial number, which its service name carries, and every byte follows
 * from serial, direction and offset. A byte of another stream, of another session, lost, repeated
 * or out of order is so found by looking at it. Both applications write into one ledger, by which
 * what one believes can be compared with what the other does.
 */
#ifndef OUTBOARD_TESTS_SIMULATION_APPLICATION_H
#define OUTBOARD_TESTS_SIMULATION_APPLICATION_H

#include "channel.h"

#include <outboard/session.h>

#define CONNECTIONS 12
#define LENT_MAX    40000

/* What is known of a stream at either end; by the end that opened it (0) and the other (1). */
struct record {
    uint64_t tag; /* of the session in which it was opened */
    uint64_t written[2];
    uint64_t read[2];
    bool finished[2]; /* shut down */
    bool seen_end[2];
    bool gone[2]; /* this side gave it up, or was told that it is over */
};

struct ledger {
    struct record *records;
    uint32_t count, size;
};

struct connection {
    struct ob_stream *stream; /* NULL: a free slot */
    uint32_t serial;
    int side; /* 0: opened here */
    bool stopped;
    bool over;
    uint8_t *lent;
};

struct application {
    struct ob_session *session;
    struct ledger *ledger;
    struct random *random;
    struct random nonces;
    uint64_t tag; /* of the session that stands */
    uint32_t sessions;
    bool asks; /* lends what it receives, and asks which streams are readable */
    struct connection connections[CONNECTIONS];
};

/* Says what was wrong with which seed, and ends the program. */
_Noreturn void failed(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Makes the engine; the channel is down. */
void application_start(struct application *application, const struct ob_session_config *config);
/* As a process that is killed: nothing is said to anybody. */
void application_kill(struct application *application);

/* Takes bytes of the channel, which may change afterwards. */
int application_receive(struct application *application, const void *bytes, size_t len,
                        uint64_t now);
/* Does one thing at random. */
void application_act(struct application *application);
/* Reads everything on streams that are not stopped; all of them when `also_stopped`. */
void application_read(struct application *application, bool also_stopped);
/* Opens one more stream if there is a slot. */
void application_open(struct application *application);
/* Asserts that memory is within what windows and send buffers allow. */
void application_check_memory(const struct application *application,
                              const struct ob_session_config *config);
/* Asserts that every stream held here belongs to the session that stands, and is held there too. */
void application_check_agreement(const struct application *application);

#endif

// SPDX-License-Identifier: BSD-3-Clause
/*
 * Two engines and the bytes between them, with a clock that stands still until told otherwise. Each
 * end records what it was told and, if asked to, accepts every stream and reads all that comes.
 */
#ifndef OUTBOARD_TESTS_SESSION_PAIR_H
#define OUTBOARD_TESTS_SESSION_PAIR_H

#include "support.h"

#include <outboard/session.h>
#include <string.h>

#define MS 1000000ull

struct end {
    struct ob_session *session;
    uint64_t random_state;
    uint64_t tag; /* of the session that stands, 0 when none does */
    unsigned int ups, ends, opens, opened, refused, readable, writable, finished, resets, pongs,
        goaways;
    uint32_t reason;            /* the last that came with ended, refused, reset or going_away */
    struct ob_stream *incoming; /* the last stream that the peer opened */
    char service[256];          /* its name */
    bool accepts;               /* accept whatever is opened */
    bool eats;                  /* consume whatever comes */
    bool asks;                  /* lends what it receives, and asks which streams are readable */
    uint64_t eaten;
    struct ob_stream *dependent; /* freed as soon as another stream is reset */
};

struct pair {
    struct end ends[2];
    uint64_t now;
    size_t step; /* bytes carried at a time, 0: as many as there are */
};

/* Engines with these configurations; events, user and random are filled in here. */
void pair_new(struct pair *pair, const struct ob_session_config *a,
              const struct ob_session_config *b);
/* The same for both, channel up and session standing. */
void pair_up(struct pair *pair, struct ob_session_config config);
/* Likewise, with ends that ask instead of being told by `readable`. */
void pair_up_asking(struct pair *pair, struct ob_session_config config);
void pair_free(struct pair *pair);
/* Makes a new engine at one end, as a process that was restarted does. */
void end_restart(struct pair *pair, int which, const struct ob_session_config *config);

/* Takes up to len bytes that an end wants to send. */
size_t end_take(struct pair *pair, int which, uint8_t *bytes, size_t len);
int end_give(struct pair *pair, int which, const void *bytes, size_t len);
/* Carries bytes both ways until there are none. */
void pair_run(struct pair *pair);
/* Lets time pass in small steps, ticking both ends, until both sessions stand; false if not. */
bool pair_settle(struct pair *pair, uint64_t limit_ns);
bool pair_stands(const struct pair *pair);

/* Opens a stream from ends[from], which the other end accepts; gives both handles. */
void pair_open(struct pair *pair, int from, struct ob_stream **ret_here,
               struct ob_stream **ret_there);

#endif

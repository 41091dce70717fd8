// SPDX-License-Identifier: BSD-3-Clause
/*
 * What an engine may do: the peer's model of it (session_peer_model.c) and the application's
 * (session_application_model.c). Byte n of any direction of any stream has the value model_byte(n).
 */
#ifndef OUTBOARD_FUZZ_SESSION_MODEL_H
#define OUTBOARD_FUZZ_SESSION_MODEL_H

#include "base/limits.h"
#include "wire/cobs.h"
#include "wire/session_wire.h"

#include "check.h"

#include <outboard/session.h>

#define HANDLES   90
#define IDS       64 /* streams of one session that the peer keeps an eye on */
#define FRAME_MAX (SESSION_HEADER_LEN + LIMIT_SESSION_DATA + SESSION_CRC_LEN)

/* A stream as the peer sees it. */
struct seen {
    bool opened, answered, ended, over; /* by the engine; opened: by either */
    uint64_t sent;                      /* by the engine */
    uint64_t limit;                     /* that the peer gave it */
    uint64_t peer_sent;
    uint64_t peer_limit; /* that the engine gave the peer */
    uint64_t consumed;   /* that the engine said */
};

/* A stream as the application sees it. */
struct handle {
    struct model *model;
    struct ob_stream *stream; /* NULL: a free slot */
    uint64_t written, read;
    uint8_t *lent;
    bool ended; /* shut down */
    bool over;  /* refused or reset */
};

struct model {
    const uint8_t *input;
    size_t input_len;
    struct ob_session *session;
    struct ob_session_config config;
    uint64_t now;
    bool tainted; /* raw bytes went in: what the peer sent is not known any more */
    bool dead;    /* clean channel: the engine has dropped the peer */
    /* The application. */
    bool up;
    bool asks; /* lends what it receives, and asks which streams are readable */
    struct handle handles[HANDLES];
    int num_handles;
    /* The peer. */
    uint8_t lives; /* of the engine: each has a seed of its own */
    uint64_t engine_nonce, peer_nonce;
    uint64_t tag;
    uint32_t engine_seq, peer_seq;
    uint64_t peer_next_id, engine_next_id;
    struct seen seen[IDS];
    /* Bytes of the engine that are not a whole frame yet. */
    uint8_t frame[FRAME_MAX];
    size_t frame_len;
    struct cobs_decoder cobs;
};

uint8_t model_byte(uint64_t offset);
void model_fill(uint8_t *bytes, size_t len, uint64_t offset);

/* Makes the engine and greets it. */
void model_begin(struct model *model, const struct ob_session_config *config);
void model_end(struct model *model);
void model_reconnect(struct model *model);
void model_check_bounds(const struct model *model);

void model_give(struct model *model, const void *bytes, size_t len);
/* Takes up to len bytes from the engine and looks at every frame. */
void model_take(struct model *model, size_t len);
/* The peer answers the engine's greeting. */
void model_greet(struct model *model);
/* The peer begins a new life, mostly; `how` is what it says of itself, which may be wrong. */
void model_restart(struct model *model, uint8_t how);
void model_peer_send(struct model *model, enum session_type type, uint64_t id,
                     const uint8_t *payload, size_t len);
uint64_t model_peer_sent(const struct model *model, uint64_t id);
/* A session came up: the peer forgets the one before. */
void model_peer_begin(struct model *model, uint64_t tag);

void model_application(struct model *model, struct ob_session_events *events);
/* Gives the engine bytes of the peer as this application does. */
int model_receive(struct model *model, const void *bytes, size_t len);
void model_open(struct model *model);
void model_write(struct handle *handle, size_t len);
void model_lend(struct handle *handle, size_t len);
void model_read(struct handle *handle, size_t len);
/* As model_read(), by ob_stream_peek_spans() of up to so many and by ob_stream_read(). */
void model_look(struct handle *handle, int most);
void model_copy(struct handle *handle, size_t len);
void model_free(struct handle *handle, uint32_t reason);
void model_check_streams(const struct model *model);

#endif

// SPDX-License-Identifier: BSD-3-Clause
/*
 * Who is around a proxy (proxy_world.c): actors, which are the clients, servers and commands that
 * its descriptors lead to, and peers, which are the other ends of its channel.
 *
 * Whoever talks through a relay has a number, says that as its first byte, and as its n-th byte
 * what speech_byte() makes of both. So whoever listens knows whom it hears.
 */
#ifndef OUTBOARD_FUZZ_PROXY_WORLD_H
#define OUTBOARD_FUZZ_PROXY_WORLD_H

#include "child_model.h"
#include "kernel_model.h"

#include "proxy/proxy.h"

#include "check.h"

#define SPEAKERS 200
#define ACTORS   48
#define PEERS    2
#define HANDLES  12
#define PORT_FWD 1001 /* of --local to the service "fwd", whose bytes are checked */

#define PATH_CHANNEL "/world/channel"
#define PATH_FWD     "/world/fwd"

/* What somebody has said, and what somebody has heard. */
struct speaker {
    uint64_t said;
    bool ended;
};
struct ear {
    int hears; /* -1: nobody yet */
    uint64_t heard;
};

enum role {
    ACTOR_NONE,
    ACTOR_TALKER, /* says and hears checked bytes */
    ACTOR_GUEST,  /* says whatever the input has */
    ACTOR_RESOLVER,
};

struct actor {
    enum role role;
    struct end *in, *out; /* the same of a socket; NULL: closed */
    struct child *child;
    int speaker;
    struct ear ear;
};

/* A stream, as a peer has it. */
struct handle {
    struct peer *peer;
    struct ob_stream *stream; /* NULL: none */
    bool answered;            /* or opened by the peer */
    bool checked;             /* what it says and hears */
    bool shut, heard_end;
    int speaker;
    struct ear ear;
};

struct peer {
    struct ob_session *session;
    struct end *end; /* NULL: no channel */
    bool stalled;
    struct handle handles[HANDLES];
};

struct world {
    const uint8_t *input;
    size_t input_len;
    bool tainted; /* the peer has said anything: what comes is not to be checked */
    bool settling;
    struct speaker speakers[SPEAKERS];
    int num_speakers;
    struct actor actors[ACTORS];
    struct peer peers[PEERS];
    struct ob_session_config peer_config;
    struct proxy proxy;
};

extern struct world world;

uint8_t world_next(void);
/* Up to so many bytes of the input. */
size_t world_take(size_t len, const uint8_t **ret_bytes);

/* Returns the number of a new speaker; -1: there are too many. */
int speaker_new(void);
/* What it says next. */
size_t speaker_fill(int number, uint8_t *ret_bytes, size_t len);
void speaker_said(int number, size_t len);
void speaker_ends(int number);
void ear_hears(struct ear *ear, const uint8_t *bytes, size_t len);
void ear_hears_end(const struct ear *ear);

/* NULL: there are too many. */
struct actor *actor_new(enum role role, struct end *in, struct end *out);
struct actor *actor_pick(uint8_t choice);
void actor_comes(uint8_t choice); /* to a listener */
void actor_act(struct actor *actor, uint8_t what);
void actor_close(struct actor *actor, bool abruptly);
void actor_settle(struct actor *actor, bool is_late);
void actors_finish(void);

void peers_begin(void);
void peers_end(void);
void peer_pump(struct peer *peer);
/* Has the channel from now on. */
void peer_connect(struct peer *peer, struct end *end);
void peer_act(struct peer *peer, uint8_t what);
void handle_act(struct handle *handle, uint8_t what);
void peer_settle(struct peer *peer);

#endif

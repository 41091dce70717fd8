// SPDX-License-Identifier: BSD-3-Clause
/*
 * The session object, the parts of the engine that work on it, and the values that pass between its states.
 * The functions of each part are in the header of its name.
 *
 *   session.c    the public ob_session functions: making, ending, bytes in and out, the clock;
 *                acts on verdicts
 *   verdict.c    verdicts with a reason
 *   handshake.c  nonces, HELLO, HELLO_ACK, proof, tag
 *   receive.c    bytes to frames, on both kinds of channel
 *   frames.c     the meaning of each frame, and when it is allowed
 *   streams.c    the table of streams, their life
 *   queues.c     which queues of the transmitter a stream stands in
 *   unread.c     received bytes, until the application consumes them
 *   stream.c     the public ob_stream functions: reading and writing a stream
 *   transmit.c   which bytes go next: control, then data in deficit round robin
 *   control.c    the control lane
 *   line.c       frames as they go over a raw line
 *   liveness.c   ping, keepalive, the probe of a line's tail
 *
 * Life of a session:
 *
 *   DOWN ── transport_up ──► GREETING ── both nonces came back ──► UP
 *    ▲                          ▲  ▲                              │ │
 *    │                          │  └── peer restarted, damage ────┘ │
 *    │                          └───── transport_up ──┐             │
 *    └── transport_down (from every state)          CLOSED ◄────────┘ ob_session_end, and on
 *                                                                     a clean channel: BYE, fault
 *
 * A session that ends draws a new nonce before it greets again, so that no HELLO_ACK of an earlier
 * life can complete a later handshake.
 */
#ifndef OUTBOARD_SESSION_SESSION_H
#define OUTBOARD_SESSION_SESSION_H

#include "base/chain.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/sha256.h"
#include "session/verdict.h"
#include "wire/cobs.h"
#include "wire/session_wire.h"

#include <assert.h>
#include <outboard/session.h>

enum session_state {
    SESSION_DOWN,     /* no channel: nothing goes out, nothing is taken in */
    SESSION_GREETING, /* HELLO goes out; only HELLO and HELLO_ACK are taken */
    SESSION_UP,
    SESSION_CLOSED, /* a farewell was said or heard, or the peer broke the rules: silence */
};

static_assert(LIMIT_SESSION_PIECES < 256, "their numbers are bytes");

enum stream_state {
    STREAM_OPENING,  /* ours; OPEN is to be sent or answered. May be written, is held back */
    STREAM_INCOMING, /* the peer's; our application has not answered */
    STREAM_OPEN,     /* both directions until their FIN */
    STREAM_OVER,     /* refused, reset, or its session ended; in no table */
};

/* Frames that a stream or the session owes the peer. Each is owed once, however often asked for. */
enum pending {
    PENDING_ACCEPT = 1 << 0,
    PENDING_CREDIT = 1 << 1,
    PENDING_FIN = 1 << 2,
    PENDING_REFUSE = 1 << 3,
    PENDING_RESET = 1 << 4,
    PENDING_HELLO = 1 << 5,
    PENDING_HELLO_ACK = 1 << 6,
    PENDING_GOAWAY = 1 << 7,
    PENDING_PING = 1 << 8,
    PENDING_PONG = 1 << 9,
    PENDING_STRANGER_ACK = 1 << 10, /* HELLO_ACK to handshake.stranger */
};

/* The content of OPEN; kept until it has been encoded. */
struct open_request {
    size_t service_len;
    size_t metadata_len;
    uint8_t bytes[]; /* service, metadata */
};

struct stream_rx {
    struct chain unread;
    uint64_t received; /* bytes that came */
    uint64_t consumed; /* bytes that the application is done with */
    uint64_t limit;    /* received may not pass it: the credit that we granted so far */
    bool ended;        /* FIN came */
    /* Behind `unread`, numbers in session->rx.pieces; 0: no further pieces. */
    uint8_t first_piece, last_piece;
};

struct stream_tx {
    struct chain unsent;    /* written: a copy */
    const uint8_t *lent;    /* or lent: where it lies */
    size_t lent_len;        /* of it, not yet wholly handed to the channel */
    uint64_t sent;          /* bytes in frames, in all */
    uint64_t limit;         /* sent may not pass it: the credit that the peer granted so far */
    uint64_t acknowledged;  /* bytes that the peer said it consumed */
    uint32_t ahead;         /* bytes in front of unsent or lent that are in frames being sent */
    int32_t deficit : 24;   /* deficit round robin: bytes it may send in this turn */
    bool ending : 1;        /* shut down: FIN comes after the last byte */
    bool ended : 1;         /* FIN was sent */
    bool told_finished : 1; /* the application knows that the peer's has read it all */
    bool want_room : 1;     /* a write fell short: tell when there is room */
    bool want_back : 1;     /* memory is lent: tell when it is all sent */
};

static_assert(LIMIT_SESSION_BATCH * (SESSION_HEADER_LEN + LIMIT_SESSION_DATA) < 1 << 23,
              "a deficit has 24 bits");

/* An end has tens of thousands of these, so flags are bits. */
struct ob_stream {
    struct ob_session *session;
    void *user;
    uint64_t id; /* 0 until OPEN is sent */
    union {
        struct open_request *request; /* while id is 0 */
        struct ob_stream *hash_next;  /* afterwards */
    };
    struct list all;      /* streams.live, .over or .freed */
    struct list control;  /* tx.control while frames are pending; tx.opening before OPEN */
    struct list active;   /* tx.active while data may go */
    struct list readable; /* rx.readable until ob_session_next_readable() gives it */
    struct list notify;   /* tx.notify while `writable` is due */
    struct stream_rx rx;
    struct stream_tx tx;
    uint32_t reason;
    uint16_t pending;
    uint8_t state;
    bool ours : 1;       /* we opened it */
    bool unanswered : 1; /* counted in unanswered_ours or unanswered_theirs */
    bool orphan : 1;     /* its owner has freed it; it goes once it owes nothing */
};

struct refusal {
    uint64_t id;
    uint32_t reason;
};

struct streams {
    struct ob_stream **buckets;
    uint32_t mask; /* buckets - 1 */
    struct list live;
    struct list over;  /* handles that only wait to be freed */
    struct list freed; /* freed inside a callback; memory goes when the outermost call ends */
    uint32_t count;    /* objects, over ones too */
    uint32_t ours;     /* of them, opened by us */
    uint64_t next_ours;
    uint64_t next_theirs; /* id that the peer's next OPEN must have */
    uint32_t unanswered_ours;
    uint32_t unanswered_theirs;
    /* Of OPENs that got no object: a ring of refusals_room entries. */
    struct refusal *refusals;
    uint32_t refusals_room, refusals_first, refusals_count;
};

/* Who greets us, as far as it is known. */
struct handshake_peer {
    uint64_t nonce; /* of its last HELLO or HELLO_ACK; 0: nobody has greeted */
    uint32_t max_streams;
    bool has_challenged;
    uint8_t challenge[SESSION_CHALLENGE_LEN]; /* ours, drawn when this nonce came first */
    uint8_t peer_challenge[SESSION_CHALLENGE_LEN];
};

struct handshake {
    uint64_t nonce; /* 0: there were no random numbers */
    struct handshake_peer peer;
    struct handshake_peer stranger; /* while a session with a key stands: claims to be its peer */
    struct session_hello newcomer;  /* VERDICT_NEWCOMER: its HELLO */
    uint64_t tag;
    bool greater;          /* our nonce is the greater one */
    uint64_t failed_nonce; /* the peer's life whose failure the application knows about */
    uint64_t hello_at;     /* line: when to repeat HELLO */
    uint64_t hello_interval;
};

/* Payload of a DATA frame, where it was received. */
struct piece {
    struct ob_stream *stream; /* NULL: it is over */
    const uint8_t *bytes;
    size_t len;   /* 0: it was consumed */
    uint8_t next; /* number of the stream's next piece, or 0 */
};

struct receiver {
    /* Clean channel: the frame at hand. */
    uint8_t head[SESSION_HEADER_LEN];
    size_t head_len;
    struct session_header header; /* meaningful while in_payload */
    bool in_payload;
    bool skip;   /* the payload is of another session, or of a stream that is over */
    size_t left; /* of the payload */
    size_t control_len;
    uint8_t control[LIMIT_SESSION_CONTROL_PAYLOAD];
    /* Raw line. */
    struct cobs_decoder cobs;
    /* Both. */
    uint32_t seq; /* of the next frame */
    /* Unread bytes in the caller's buffer. */
    bool lent; /* which stays as it is after the call */
    uint8_t piece_count;
    uint8_t pieces_kept; /* of them: have been copied */
    struct piece pieces[LIMIT_SESSION_PIECES];
    struct list readable; /* streams, without the callback `readable` */
};

/* One DATA frame on its way. */
struct data_frame {
    uint8_t head[SESSION_HEADER_LEN];
    struct ob_stream *stream; /* NULL: the payload lies in tx.orphaned, its stream is over */
    const uint8_t *payload;
    size_t len;
};

struct transmitter {
    uint16_t pending; /* of the session itself */
    uint32_t goaway_reason;
    uint64_t pong_value;
    uint32_t seq; /* of the next frame */
    /* A frame of which some bytes went out; at most one, and its rest goes before anything else. */
    struct data_frame partial;
    size_t partial_done; /* bytes of header and payload that went; 0: none is partial */
    uint8_t *orphaned;   /* LIMIT_SESSION_DATA bytes, for the rest of a partial frame's payload */
    /* Then the control lane. */
    size_t lane_len, lane_done;
    uint8_t lane[LIMIT_SESSION_LANE];
    /* Then data, planned by transmit and settled by transmitted. */
    int planned_count;
    struct data_frame planned[LIMIT_SESSION_BATCH];
    struct list opening; /* streams whose OPEN waits */
    struct list control; /* streams with pending frames */
    struct list active;  /* streams with data and credit, in round-robin order */
    struct list notify;  /* streams that have room again, or their lent memory back */
    struct line_out *line;
};

struct liveness {
    uint64_t now;
    uint64_t silent_ns; /* of the peer, counted in steps of at most LIMIT_SESSION_CLOCK_STEP_NS */
    uint64_t ping_value;
    uint64_t ping_sent_at;
    bool ping_out;     /* PONG is due */
    bool ping_asked;   /* the application wants to know */
    bool keepalive;    /* PING was sent for this silence */
    bool tail_covered; /* line: the PING that is out went after them */
    uint64_t probe_at;
    uint64_t probe_interval;
};

struct ob_session {
    struct ob_session_config config;
    uint8_t key[OB_SESSION_KEY_MAX];
    enum session_state state;
    int broken; /* clean channel: the errno that each further receive gives */
    int depth;  /* > 0 while callbacks may be running */
    bool going_away;
    bool peer_going_away;
    struct handshake handshake;
    struct streams streams;
    struct receiver rx;
    struct transmitter tx;
    struct liveness live;
    struct ending ending;
    struct ob_session_stats stats;
    struct ob_fault fault;
};

/* Calls back, when the application wants that event. */
#define TELL(session, event, ...)                                                                  \
    do {                                                                                           \
        if ((session)->config.events.event)                                                        \
            (session)->config.events.event((session)->config.user, __VA_ARGS__);                   \
    } while (0)

static inline bool on_line(const struct ob_session *session)
{
    return session->config.channel == OB_CHANNEL_LINE;
}

#endif

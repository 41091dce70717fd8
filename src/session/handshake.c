// SPDX-License-Identifier: BSD-3-Clause
/*
 * Handshake: how two ends agree that they talk to each other, now.
 *
 * Each end greets with HELLO and its nonce, and answers every HELLO with HELLO_ACK, which carries
 * its own nonce and the peer's. A session stands at an end once a HELLO_ACK has brought its own
 * nonce back: only a peer that lives now can know it. Bytes of an earlier life cannot, because a
 * nonce is drawn anew for each session.
 *
 * While greeting, the nonce stays the same whatever arrives, so two ends that greet each other
 * converge. A HELLO with an unknown nonce while a session stands means that the peer has begun a
 * new life: the session ends, and with it our own nonce.
 */
#include "session/session.h"

#include <errno.h>
#include <string.h>

/* A raw line can lose a HELLO: it is repeated, soon at first, then at a steady pace. */
#define HELLO_INTERVAL_NS     50000000ull
#define HELLO_INTERVAL_MAX_NS 400000000ull

static const char proof_label[] = "outboard session 1 proof";
static const char tag_label[] = "outboard session 1 tag";

void handshake_seed(struct ob_session *session, const uint8_t seed[SHA256_LEN])
{
    memcpy(session->handshake.seed, seed, SHA256_LEN);
    session->handshake.drawn = 0;
}

/* The next nonce of this life: a hash of its seed and a counter, never 0. */
static uint64_t draw(struct handshake *handshake)
{
    uint64_t nonce = 0;
    while (!nonce) {
        struct sha256 sha;
        uint8_t digest[SHA256_LEN];
        handshake->drawn++;
        sha256_init(&sha);
        sha256_update(&sha, handshake->seed, sizeof(handshake->seed));
        sha256_update(&sha, &handshake->drawn, sizeof(handshake->drawn));
        sha256_done(&sha, digest);
        memcpy(&nonce, digest, sizeof(nonce));
    }
    return nonce;
}

void handshake_begin(struct ob_session *session)
{
    struct handshake *handshake = &session->handshake;
    handshake->nonce = draw(handshake);
    handshake->peer_nonce = 0;
    handshake->hello_interval = HELLO_INTERVAL_NS;
    handshake->hello_at = session->live.now + HELLO_INTERVAL_NS;
    session->tx.pending = PENDING_HELLO;
}

void handshake_tick(struct ob_session *session)
{
    struct handshake *handshake = &session->handshake;
    if (session->state != SESSION_GREETING || !on_line(session) ||
        session->live.now < handshake->hello_at)
        return;
    session->tx.pending |= PENDING_HELLO;
    if (handshake->hello_interval < HELLO_INTERVAL_MAX_NS)
        handshake->hello_interval *= 2;
    handshake->hello_at = session->live.now + handshake->hello_interval;
}

static struct session_hello our_hello(const struct ob_session *session)
{
    return (struct session_hello){
        .version = SESSION_VERSION,
        .flags = session->config.key ? SESSION_HELLO_KEY : 0,
        .max_streams = session->config.max_streams,
        .nonce = session->handshake.nonce,
    };
}

size_t handshake_put_hello(const struct ob_session *session, uint8_t *payload)
{
    struct session_hello hello = our_hello(session);
    return session_hello_put(payload, &hello);
}

/* HMAC of everything before the proof; zeroes without a key. The sender's nonce comes first. */
static void prove(const struct ob_session *session, const struct session_hello_ack *ack,
                  uint8_t ret_proof[SESSION_PROOF_LEN])
{
    memset(ret_proof, 0, SESSION_PROOF_LEN);
    if (!session->config.key)
        return;
    uint8_t payload[SESSION_HELLO_ACK_LEN];
    struct hmac_sha256 hmac;
    session_hello_ack_put(payload, ack);
    hmac_sha256_init(&hmac, session->config.key, session->config.key_len);
    hmac_sha256_update(&hmac, proof_label, sizeof(proof_label) - 1);
    hmac_sha256_update(&hmac, payload, SESSION_PROVEN_LEN);
    hmac_sha256_done(&hmac, ret_proof);
}

size_t handshake_put_hello_ack(const struct ob_session *session, uint8_t *payload)
{
    struct session_hello_ack ack = {
        .hello = our_hello(session),
        .peer_nonce = session->handshake.peer_nonce,
    };
    prove(session, &ack, ack.proof);
    return session_hello_ack_put(payload, &ack);
}

static uint64_t mix(uint64_t value)
{
    value = (value ^ value >> 33) * 0xff51afd7ed558ccdull;
    value = (value ^ value >> 33) * 0xc4ceb9fe1a85ec53ull;
    return value ^ value >> 33;
}

static void put_le(uint8_t bytes[8], uint64_t value)
{
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
}

/* Both nonces make the tag. With a key it cannot be computed by who has only read the nonces. */
static uint64_t make_tag(const struct ob_session *session)
{
    const struct handshake *handshake = &session->handshake;
    bool greater = handshake->nonce > handshake->peer_nonce;
    uint64_t low = greater ? handshake->peer_nonce : handshake->nonce;
    uint64_t high = greater ? handshake->nonce : handshake->peer_nonce;
    uint64_t tag = mix(mix(low) + high);
    if (session->config.key) {
        uint8_t nonces[16], digest[SHA256_LEN];
        struct hmac_sha256 hmac;
        put_le(nonces, low);
        put_le(nonces + 8, high);
        hmac_sha256_init(&hmac, session->config.key, session->config.key_len);
        hmac_sha256_update(&hmac, tag_label, sizeof(tag_label) - 1);
        hmac_sha256_update(&hmac, nonces, sizeof(nonces));
        hmac_sha256_done(&hmac, digest);
        tag = 0;
        for (int i = 0; i < 8; i++)
            tag |= (uint64_t)digest[i] << (8 * i);
    }
    return tag ? tag : 1;
}

static void stand(struct ob_session *session)
{
    struct handshake *handshake = &session->handshake;
    handshake->greater = handshake->nonce > handshake->peer_nonce;
    handshake->tag = make_tag(session);
    session->state = SESSION_UP;
    session->peer_going_away = false;
    session->rx.seq = 0;
    session->tx.seq = 0;
    session->tx.pending &= PENDING_HELLO_ACK;
    if (session->going_away)
        session->tx.pending |= PENDING_GOAWAY;
    session->stats.sessions++;
    streams_begin(session);
    liveness_reset(session);
    TELL(session, up, handshake->tag);
}

/* A peer with which no session can stand: told once per life of it. */
static int fail(struct ob_session *session, uint64_t peer_nonce, uint32_t reason, int code,
                const char *text)
{
    bool news = session->state != SESSION_UP && session->handshake.failed_nonce != peer_nonce;
    session_violation(session, code, reason, "%s", text);
    session->handshake.failed_nonce = peer_nonce;
    if (news)
        TELL(session, ended, reason);
    return code;
}

static int malformed(struct ob_session *session, int error, const struct session_hello *hello)
{
    if (error == -EPROTONOSUPPORT)
        return fail(session, hello->version, OB_REASON_VERSION, error,
                    "the peer speaks another version of the session protocol");
    return session_violation(session, -EPROTO, OB_REASON_PROTOCOL,
                             "what the peer sends as a greeting is none");
}

static bool key_fits(const struct ob_session *session, const struct session_hello *hello)
{
    return !(hello->flags & SESSION_HELLO_KEY) == !session->config.key;
}

static int key_wrong(struct ob_session *session, const struct session_hello *hello)
{
    const char *text = "the peer's proof does not fit the key";
    if (!key_fits(session, hello))
        text = session->config.key ? "the peer has no key, and this end asks for one"
                                   : "the peer asks for a key, and this end has none";
    return fail(session, hello->nonce, OB_REASON_KEY, -EACCES, text);
}

/* Our own frames come back: the line has an echo. They say nothing about a peer. */
static bool echoes(struct ob_session *session, const struct session_hello *hello)
{
    if (hello->nonce != session->handshake.nonce)
        return false;
    session->stats.frames_dropped++;
    return true;
}

int handshake_hello(struct ob_session *session, const uint8_t *payload, size_t len)
{
    struct session_hello hello;
    struct handshake *handshake = &session->handshake;
    int result = session_hello_get(payload, len, &hello);
    if (result < 0)
        return malformed(session, result, &hello);
    if (echoes(session, &hello))
        return 0;
    if (session->state == SESSION_UP && hello.nonce != handshake->peer_nonce) {
        session_over(session, OB_REASON_RESTARTED, false);
        session_greet(session);
    }
    if (!key_fits(session, &hello))
        return key_wrong(session, &hello);
    handshake->peer_nonce = hello.nonce;
    handshake->peer_max_streams = hello.max_streams;
    session->tx.pending |= PENDING_HELLO_ACK;
    return 0;
}

static bool proven(const struct ob_session *session, const struct session_hello_ack *ack)
{
    uint8_t proof[SESSION_PROOF_LEN];
    prove(session, ack, proof);
    return equal_in_constant_time(proof, ack->proof, sizeof(proof));
}

int handshake_hello_ack(struct ob_session *session, const uint8_t *payload, size_t len)
{
    struct session_hello_ack ack;
    struct handshake *handshake = &session->handshake;
    int result = session_hello_ack_get(payload, len, &ack);
    if (result < 0)
        return malformed(session, result, &ack.hello);
    if (echoes(session, &ack.hello))
        return 0;
    if (ack.peer_nonce != handshake->nonce) {
        session->stats.frames_dropped++; /* the answer to an earlier life of ours */
        return 0;
    }
    bool valid = key_fits(session, &ack.hello) && proven(session, &ack);
    if (session->state == SESSION_UP) {
        if (valid && ack.hello.nonce != handshake->peer_nonce) {
            session_over(session, OB_REASON_RESTARTED, false);
            session_greet(session);
        }
        return 0;
    }
    if (!valid)
        return key_wrong(session, &ack.hello);
    if (handshake->peer_nonce != ack.hello.nonce)
        session->tx.pending |= PENDING_HELLO_ACK;
    handshake->peer_nonce = ack.hello.nonce;
    handshake->peer_max_streams = ack.hello.max_streams;
    stand(session);
    return 0;
}

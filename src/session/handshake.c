// SPDX-License-Identifier: BSD-3-Clause
/*
 * Handshake: how two ends agree that they talk to each other, now.
 *
 * Each end greets with HELLO and its nonce, and answers every HELLO with HELLO_ACK, which carries
 * its own nonce and the peer's. Without a key a session stands at an end once a HELLO_ACK has
 * brought its own nonce back: only a peer that lives now can know it. Bytes of an earlier life
 * cannot, because each session draws a new nonce.
 *
 * While greeting, the nonce stays the same whatever arrives, so two ends that greet each other
 * converge. A HELLO with an unknown nonce while a session stands means that the peer has begun a
 * new life: the session ends, and with it our own nonce.
 *
 * With a key that is not enough. Where a virtual machine is resumed twice from one snapshot, both
 * clones have the nonce that was drawn before it, and an answer to one of them would suit the
 * other. So each end draws a challenge when it first hears of a peer, sends it with HELLO_ACK, and
 * a session stands once a proof over both nonces and both challenges has come. And nothing that
 * proves nothing ends a session with a key: who greets meanwhile is met as a stranger, beside the
 * session, which ends when the stranger has proven itself.
 */
#include "session/handshake.h"
#include "session/session.h"
#include "session/verdict.h"

#include <errno.h>
#include <string.h>

/* A raw line can lose a HELLO: it is repeated, soon at first, then at a steady pace. */
#define HELLO_INTERVAL_NS     50000000ull
#define HELLO_INTERVAL_MAX_NS 400000000ull

static const char proof_label[] = "outboard session 2 proof";
static const char tag_label[] = "outboard session 2 tag";

static int no_random(struct ob_session *session, int err)
{
    session->fault.code = 0;
    return ob_fault_set(&session->fault, err, "can't get random numbers");
}

/* Straight from the source, at the moment of use: never 0. */
static int draw_nonce(struct ob_session *session, uint64_t *ret_nonce)
{
    uint64_t nonce = 0;
    int err = session->config.random(session->config.user, &nonce, sizeof(nonce));
    if (err < 0)
        return no_random(session, err);
    *ret_nonce = nonce ? nonce : 1;
    return 0;
}

int handshake_begin(struct ob_session *session)
{
    struct handshake *handshake = &session->handshake;
    handshake->nonce = 0;
    handshake->peer = handshake->stranger = (struct handshake_peer){0};
    handshake->hello_interval = HELLO_INTERVAL_NS;
    handshake->hello_at = session->live.now + HELLO_INTERVAL_NS;
    session->tx.pending = 0;
    int err = draw_nonce(session, &handshake->nonce);
    if (err == 0)
        session->tx.pending = PENDING_HELLO;
    return err;
}

void handshake_tick(struct ob_session *session)
{
    struct handshake *handshake = &session->handshake;
    if (session->state != SESSION_GREETING || !on_line(session) ||
        session->live.now < handshake->hello_at)
        return;
    if (handshake->nonce || draw_nonce(session, &handshake->nonce) == 0)
        session->tx.pending |= PENDING_HELLO;
    if (handshake->hello_interval < HELLO_INTERVAL_MAX_NS)
        handshake->hello_interval *= 2;
    handshake->hello_at = session->live.now + handshake->hello_interval;
}

static struct session_hello our_hello(const struct ob_session *session)
{
    const struct ob_session_config *config = &session->config;
    return (struct session_hello){
        .version = SESSION_VERSION,
        .flags = (uint16_t)((config->key ? SESSION_HELLO_KEY : 0) |
                            (config->listens ? SESSION_HELLO_LISTENS : 0)),
        .max_streams = config->max_streams,
        .nonce = session->handshake.nonce,
    };
}

size_t handshake_put_hello(const struct ob_session *session, uint8_t *payload)
{
    struct session_hello hello = our_hello(session);
    return session_hello_put(payload, &hello);
}

/* HMAC of everything before the proof. The sender's nonce comes first. */
static void prove(const struct ob_session *session, const struct session_hello_ack *ack,
                  uint8_t ret_proof[SESSION_PROOF_LEN])
{
    uint8_t payload[SESSION_HELLO_ACK_LEN];
    struct hmac_sha256 hmac;
    session_hello_ack_put(payload, ack);
    hmac_sha256_init(&hmac, session->config.key, session->config.key_len);
    hmac_sha256_update(&hmac, proof_label, sizeof(proof_label) - 1);
    hmac_sha256_update(&hmac, payload, SESSION_PROVEN_LEN);
    hmac_sha256_done(&hmac, ret_proof);
}

size_t handshake_put_hello_ack(const struct ob_session *session, const struct handshake_peer *to,
                               uint8_t *payload)
{
    struct session_hello_ack ack = {.hello = our_hello(session), .peer_nonce = to->nonce};
    if (session->config.key)
        memcpy(ack.challenge, to->challenge, sizeof(ack.challenge));
    if (session->config.key && to->has_challenged) {
        memcpy(ack.peer_challenge, to->peer_challenge, sizeof(ack.peer_challenge));
        prove(session, &ack, ack.proof);
    }
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
    bool greater = handshake->nonce > handshake->peer.nonce;
    uint64_t low = greater ? handshake->peer.nonce : handshake->nonce;
    uint64_t high = greater ? handshake->nonce : handshake->peer.nonce;
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

void handshake_stand(struct ob_session *session)
{
    struct handshake *handshake = &session->handshake;
    handshake->greater = handshake->nonce > handshake->peer.nonce;
    handshake->tag = make_tag(session);
    handshake->stranger = (struct handshake_peer){0};
}

bool handshake_is_guarded(const struct ob_session *session)
{
    return session->state == SESSION_UP && session->config.key;
}

static enum verdict drop(struct ob_session *session)
{
    session->stats.frames_dropped++;
    return VERDICT_GO_ON;
}

/* A peer with which no session can stand. */
static enum verdict fail(struct ob_session *session, uint64_t peer_nonce, uint32_t reason, int code,
                         const char *text)
{
    verdict_broken(session, code, reason, "%s", text);
    session->ending.peer_nonce = peer_nonce;
    return VERDICT_FAILED;
}

static enum verdict malformed(struct ob_session *session, int error,
                              const struct session_hello *hello)
{
    if (handshake_is_guarded(session))
        return drop(session);
    if (error == -EPROTONOSUPPORT)
        return fail(session, hello->version, OB_REASON_VERSION, error,
                    "the peer speaks another version of the session protocol");
    return verdict_broken(session, -EPROTO, OB_REASON_PROTOCOL, "the peer's greeting is malformed");
}

/* Two ends that listen could be made to prove themselves to each other by somebody who connects to
 * both, or twice to one, and who has no key. */
static bool both_listen(const struct ob_session *session, const struct session_hello *hello)
{
    return session->config.key && session->config.listens && hello->flags & SESSION_HELLO_LISTENS;
}

static bool key_fits(const struct ob_session *session, const struct session_hello *hello)
{
    return !(hello->flags & SESSION_HELLO_KEY) == !session->config.key &&
           !both_listen(session, hello);
}

static enum verdict key_wrong(struct ob_session *session, const struct session_hello *hello)
{
    const char *text = "the peer's proof does not fit the key";
    if (both_listen(session, hello))
        text = "both ends listen: with a key, one of them has to connect";
    else if (!key_fits(session, hello))
        text = session->config.key ? "the peer has no key, but this end requires one"
                                   : "the peer requires a key, but this end has no key";
    return fail(session, hello->nonce, OB_REASON_KEY, -EACCES, text);
}

/* Our own frames come back: the line has an echo. They say nothing about a peer. */
static bool echoes(const struct ob_session *session, const struct session_hello *hello)
{
    return hello->nonce == session->handshake.nonce;
}

/* The peer that greets, as we know it: the session's own, or a stranger beside it. */
static struct handshake_peer *who_greets(struct ob_session *session,
                                         const struct session_hello *hello)
{
    struct handshake *handshake = &session->handshake;
    bool strange = handshake_is_guarded(session) && hello->nonce != handshake->peer.nonce;
    return strange ? &handshake->stranger : &handshake->peer;
}

static void owe_ack(struct ob_session *session, const struct handshake_peer *to)
{
    session->tx.pending |=
        to == &session->handshake.stranger ? PENDING_STRANGER_ACK : PENDING_HELLO_ACK;
}

/* Notes who greets, and draws a challenge for it if it is new. */
static enum verdict meet(struct ob_session *session, struct handshake_peer *who,
                         const struct session_hello *hello)
{
    struct handshake_peer met = {.nonce = hello->nonce, .max_streams = hello->max_streams};
    if (who->nonce == hello->nonce)
        return VERDICT_GO_ON;
    if (session->config.key) {
        int err =
            session->config.random(session->config.user, met.challenge, sizeof(met.challenge));
        if (err < 0 && handshake_is_guarded(session))
            return drop(session);
        if (err < 0)
            return verdict_broken(session, err, OB_REASON_FAILED, "can't get random numbers");
        met.challenge[0] |= 1; /* zeroes mean none */
    }
    *who = met;
    owe_ack(session, who);
    return VERDICT_GO_ON;
}

static enum verdict answer(struct ob_session *session, const struct session_hello *hello)
{
    if (!key_fits(session, hello))
        return key_wrong(session, hello);
    struct handshake_peer *who = who_greets(session, hello);
    enum verdict verdict = meet(session, who, hello);
    if (verdict == VERDICT_GO_ON && who->nonce == hello->nonce)
        owe_ack(session, who);
    return verdict;
}

enum verdict handshake_answer_newcomer(struct ob_session *session)
{
    return answer(session, &session->handshake.newcomer);
}

enum verdict handshake_hello(struct ob_session *session, const uint8_t *payload, size_t len)
{
    struct session_hello hello;
    int err = session_hello_get(payload, len, &hello);
    if (err < 0)
        return malformed(session, err, &hello);
    if (!session->handshake.nonce || echoes(session, &hello))
        return drop(session);
    if (handshake_is_guarded(session) && !key_fits(session, &hello))
        return drop(session);
    if (session->state == SESSION_UP && !session->config.key &&
        hello.nonce != session->handshake.peer.nonce) {
        session->handshake.newcomer = hello;
        return VERDICT_NEWCOMER;
    }
    return answer(session, &hello);
}

/* Without a key the nonce that came back is all there is. */
static enum verdict take_ack(struct ob_session *session, const struct session_hello *hello)
{
    struct handshake_peer *peer = &session->handshake.peer;
    if (session->state == SESSION_UP) {
        bool same = !key_fits(session, hello) || hello->nonce == peer->nonce;
        return same ? VERDICT_GO_ON : VERDICT_RESTARTED;
    }
    if (!key_fits(session, hello))
        return key_wrong(session, hello);
    enum verdict verdict = meet(session, peer, hello);
    return verdict == VERDICT_GO_ON ? VERDICT_STANDS : verdict;
}

static bool is_proven(const struct ob_session *session, const struct session_hello_ack *ack)
{
    uint8_t proof[SESSION_PROOF_LEN];
    prove(session, ack, proof);
    return equal_in_constant_time(proof, ack->proof, sizeof(proof));
}

void handshake_change_peer(struct ob_session *session)
{
    session->handshake.peer = session->handshake.stranger;
    session->tx.pending = PENDING_HELLO_ACK;
}

/* Notes the peer's challenge, whose proof we owe it then. */
static void note_challenge(struct ob_session *session, struct handshake_peer *who,
                           const struct session_hello_ack *ack)
{
    if (who->has_challenged &&
        memcmp(who->peer_challenge, ack->challenge, sizeof(ack->challenge)) == 0)
        return;
    memcpy(who->peer_challenge, ack->challenge, sizeof(ack->challenge));
    who->has_challenged = true;
    owe_ack(session, who);
}

static enum verdict take_keyed_ack(struct ob_session *session, const struct session_hello_ack *ack)
{
    static const uint8_t none[SESSION_CHALLENGE_LEN];
    struct handshake_peer *who = who_greets(session, &ack->hello);
    bool guarded = handshake_is_guarded(session);
    if (!key_fits(session, &ack->hello))
        return guarded ? drop(session) : key_wrong(session, &ack->hello);
    enum verdict verdict = meet(session, who, &ack->hello);
    if (verdict != VERDICT_GO_ON || who->nonce != ack->hello.nonce)
        return verdict;
    note_challenge(session, who, ack);
    if (memcmp(ack->peer_challenge, none, sizeof(none)) == 0)
        return VERDICT_GO_ON; /* it has not heard our challenge */
    if (memcmp(ack->peer_challenge, who->challenge, sizeof(who->challenge)) != 0)
        return drop(session); /* the answer to an earlier challenge */
    if (!is_proven(session, ack))
        return guarded ? drop(session) : key_wrong(session, &ack->hello);
    if (guarded && who == &session->handshake.peer)
        return VERDICT_GO_ON;
    return guarded ? VERDICT_STRANGER_PROVEN : VERDICT_STANDS;
}

enum verdict handshake_hello_ack(struct ob_session *session, const uint8_t *payload, size_t len)
{
    struct session_hello_ack ack;
    uint64_t nonce = session->handshake.nonce;
    int err = session_hello_ack_get(payload, len, &ack);
    if (err < 0)
        return malformed(session, err, &ack.hello);
    if (!nonce || echoes(session, &ack.hello) || ack.peer_nonce != nonce)
        return drop(session); /* the answer to an earlier life of ours */
    return session->config.key ? take_keyed_ack(session, &ack) : take_ack(session, &ack.hello);
}

// SPDX-License-Identifier: BSD-3-Clause
/*
 * Bytes to frames.
 *
 * On a clean channel a frame is a header and a payload; DATA is handed on piece by piece as it
 * arrives, straight from the caller's buffer.
 *
 * On a raw line a frame ends with a zero and counts only as a whole, when its CRC fits. Everything
 * else between two zeroes is damage: noise while there is no session, its end while there is one.
 */
#include "session/receive.h"
#include "base/crc32c.h"
#include "session/frames.h"
#include "session/session.h"
#include "session/verdict.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINE_FRAME_MAX (SESSION_HEADER_LEN + LIMIT_SESSION_DATA + SESSION_CRC_LEN)

int receiver_init(struct ob_session *session)
{
    list_init(&session->rx.readable);
    if (!on_line(session))
        return 0;
    uint8_t *frame = malloc(LINE_FRAME_MAX);
    if (!frame)
        return -ENOMEM;
    cobs_decoder_init(&session->rx.cobs, frame, LINE_FRAME_MAX);
    return 0;
}

void receiver_done(struct ob_session *session)
{
    free(session->rx.cobs.frame);
}

void receiver_reset(struct ob_session *session)
{
    struct receiver *rx = &session->rx;
    rx->head_len = 0;
    rx->in_payload = false;
    rx->piece_count = rx->pieces_kept = 0;
    if (on_line(session))
        cobs_decoder_reset(&rx->cobs);
}

static enum verdict begin_payload(struct ob_session *session, const uint8_t *head)
{
    struct receiver *rx = &session->rx;
    rx->header = session_header_get(head);
    rx->head_len = 0;
    enum verdict verdict = frame_begin(session, &rx->header);
    if (verdict != VERDICT_GO_ON && verdict != VERDICT_SKIP)
        return verdict;
    rx->in_payload = rx->header.len > 0;
    rx->skip = verdict == VERDICT_SKIP;
    rx->left = rx->header.len;
    rx->control_len = 0;
    return VERDICT_GO_ON;
}

/* Takes header bytes; returns how many. */
static size_t take_header(struct ob_session *session, const uint8_t *bytes, size_t len,
                          enum verdict *ret_verdict)
{
    struct receiver *rx = &session->rx;
    if (!rx->head_len && len >= SESSION_HEADER_LEN) {
        *ret_verdict = begin_payload(session, bytes);
        return SESSION_HEADER_LEN;
    }
    size_t missing = SESSION_HEADER_LEN - rx->head_len;
    size_t some = len < missing ? len : missing;
    memcpy(rx->head + rx->head_len, bytes, some);
    rx->head_len += some;
    if (rx->head_len == SESSION_HEADER_LEN)
        *ret_verdict = begin_payload(session, rx->head);
    return some;
}

/* Some bytes of a control frame: handles it when they are the last ones. */
static enum verdict take_control(struct ob_session *session, const uint8_t *bytes, size_t len)
{
    struct receiver *rx = &session->rx;
    const struct session_header header = rx->header;
    if (len == header.len)
        return frame_control(session, &header, bytes);
    memcpy(rx->control + rx->control_len, bytes, len);
    rx->control_len += len;
    return rx->control_len == header.len ? frame_control(session, &header, rx->control)
                                         : VERDICT_GO_ON;
}

static size_t take_payload(struct ob_session *session, const uint8_t *bytes, size_t len,
                           enum verdict *ret_verdict)
{
    struct receiver *rx = &session->rx;
    size_t some = len < rx->left ? len : rx->left;
    rx->left -= some;
    rx->in_payload = rx->left > 0;
    if (rx->skip)
        return some;
    if (rx->header.type == SESSION_DATA)
        frame_data(session, rx->header.stream, bytes, some);
    else
        *ret_verdict = take_control(session, bytes, some);
    return some;
}

static size_t take_clean(struct ob_session *session, const uint8_t *bytes, size_t len,
                         enum verdict *ret_verdict)
{
    size_t taken = 0;
    while (taken < len && *ret_verdict == VERDICT_GO_ON)
        taken += session->rx.in_payload
                     ? take_payload(session, bytes + taken, len - taken, ret_verdict)
                     : take_header(session, bytes + taken, len - taken, ret_verdict);
    return taken;
}

static enum verdict damaged(struct ob_session *session)
{
    session->stats.frames_damaged++;
    if (session->state != SESSION_UP)
        return VERDICT_GO_ON;
    return verdict_broken(session, -EPROTO, OB_REASON_CORRUPT, "a frame arrived damaged");
}

static uint32_t get_le(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* The bytes between two zeroes. */
static enum verdict take_line_frame(struct ob_session *session)
{
    const struct cobs_decoder *cobs = &session->rx.cobs;
    const uint8_t *frame = cobs->frame;
    size_t body = cobs->len - SESSION_CRC_LEN;
    if (!cobs->begun)
        return VERDICT_GO_ON;
    if (!cobs_frame_whole(cobs) || cobs->len < SESSION_HEADER_LEN + SESSION_CRC_LEN ||
        get_le(frame + body) != crc32c(0, frame, body))
        return damaged(session);
    const struct session_header header = session_header_get(frame);
    if (header.len != body - SESSION_HEADER_LEN)
        return damaged(session);
    enum verdict verdict = frame_begin(session, &header);
    if (verdict != VERDICT_GO_ON)
        return verdict == VERDICT_SKIP ? VERDICT_GO_ON : verdict;
    if (header.type != SESSION_DATA)
        return frame_control(session, &header, frame + SESSION_HEADER_LEN);
    frame_data(session, header.stream, frame + SESSION_HEADER_LEN, header.len);
    return VERDICT_GO_ON;
}

static size_t take_line(struct ob_session *session, const uint8_t *bytes, size_t len,
                        enum verdict *ret_verdict)
{
    struct cobs_decoder *cobs = &session->rx.cobs;
    size_t taken = 0;
    while (taken < len && *ret_verdict == VERDICT_GO_ON) {
        bool ended;
        taken += cobs_decode(cobs, bytes + taken, len - taken, &ended);
        if (ended) {
            *ret_verdict = take_line_frame(session);
            cobs_decoder_reset(cobs);
        } else if (cobs->overflow && session->state == SESSION_UP) {
            /* An end that never comes must not keep the session up. */
            *ret_verdict = damaged(session);
        }
    }
    return taken;
}

size_t receiver_take(struct ob_session *session, const uint8_t *bytes, size_t len,
                     enum verdict *ret_verdict)
{
    *ret_verdict = VERDICT_GO_ON;
    return on_line(session) ? take_line(session, bytes, len, ret_verdict)
                            : take_clean(session, bytes, len, ret_verdict);
}

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
#include "base/crc32c.h"
#include "session/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINE_FRAME_MAX (SESSION_HEADER_LEN + LIMIT_SESSION_DATA + SESSION_CRC_LEN)

int receiver_init(struct ob_session *session)
{
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
    if (on_line(session))
        cobs_decoder_reset(&rx->cobs);
}

static int begin_payload(struct ob_session *session, const uint8_t *head)
{
    struct receiver *rx = &session->rx;
    rx->header = session_header_get(head);
    rx->head_len = 0;
    int wanted = frame_begin(session, &rx->header);
    if (wanted < 0)
        return wanted;
    rx->in_payload = rx->header.len > 0;
    rx->skip = !wanted;
    rx->left = rx->header.len;
    rx->control_len = 0;
    return 0;
}

/* Takes header bytes; returns how many, or negative. */
static ssize_t take_header(struct ob_session *session, const uint8_t *bytes, size_t len)
{
    struct receiver *rx = &session->rx;
    int result = 0;
    if (!rx->head_len && len >= SESSION_HEADER_LEN) {
        result = begin_payload(session, bytes);
        return result < 0 ? result : SESSION_HEADER_LEN;
    }
    size_t missing = SESSION_HEADER_LEN - rx->head_len;
    size_t some = len < missing ? len : missing;
    memcpy(rx->head + rx->head_len, bytes, some);
    rx->head_len += some;
    if (rx->head_len == SESSION_HEADER_LEN)
        result = begin_payload(session, rx->head);
    return result < 0 ? result : (ssize_t)some;
}

/* Some bytes of a control frame: handles it when they are the last ones. */
static int take_control(struct ob_session *session, const uint8_t *bytes, size_t len)
{
    struct receiver *rx = &session->rx;
    const struct session_header header = rx->header;
    if (len == header.len)
        return frame_control(session, &header, bytes);
    memcpy(rx->control + rx->control_len, bytes, len);
    rx->control_len += len;
    return rx->control_len == header.len ? frame_control(session, &header, rx->control) : 0;
}

static ssize_t take_payload(struct ob_session *session, const uint8_t *bytes, size_t len)
{
    struct receiver *rx = &session->rx;
    size_t some = len < rx->left ? len : rx->left;
    int result = 0;
    rx->left -= some;
    rx->in_payload = rx->left > 0;
    if (rx->skip)
        return (ssize_t)some;
    if (rx->header.type == SESSION_DATA)
        frame_data(session, rx->header.stream, bytes, some);
    else
        result = take_control(session, bytes, some);
    return result < 0 ? result : (ssize_t)some;
}

static int receive_clean(struct ob_session *session, const uint8_t *bytes, size_t len)
{
    while (len && session->state != SESSION_CLOSED) {
        ssize_t taken = session->rx.in_payload ? take_payload(session, bytes, len)
                                               : take_header(session, bytes, len);
        if (taken < 0)
            return (int)taken;
        bytes += taken;
        len -= (size_t)taken;
    }
    return 0;
}

static void damaged(struct ob_session *session)
{
    session->stats.frames_damaged++;
    if (session->state == SESSION_UP)
        session_violation(session, -EPROTO, OB_REASON_CORRUPT, "a frame arrived damaged");
}

static uint32_t get_le(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* What lay between two zeroes. */
static void take_line_frame(struct ob_session *session)
{
    const struct cobs_decoder *cobs = &session->rx.cobs;
    const uint8_t *frame = cobs->frame;
    size_t body = cobs->len - SESSION_CRC_LEN;
    if (!cobs->begun)
        return;
    if (!cobs_frame_whole(cobs) || cobs->len < SESSION_HEADER_LEN + SESSION_CRC_LEN ||
        get_le(frame + body) != crc32c(0, frame, body)) {
        damaged(session);
        return;
    }
    const struct session_header header = session_header_get(frame);
    if (header.len != body - SESSION_HEADER_LEN) {
        damaged(session);
        return;
    }
    if (frame_begin(session, &header) <= 0)
        return;
    if (header.type == SESSION_DATA)
        frame_data(session, header.stream, frame + SESSION_HEADER_LEN, header.len);
    else
        frame_control(session, &header, frame + SESSION_HEADER_LEN);
}

static void receive_line(struct ob_session *session, const uint8_t *bytes, size_t len)
{
    struct cobs_decoder *cobs = &session->rx.cobs;
    while (len && session->state != SESSION_CLOSED) {
        bool ended;
        size_t taken = cobs_decode(cobs, bytes, len, &ended);
        bytes += taken;
        len -= taken;
        if (ended) {
            take_line_frame(session);
            cobs_decoder_reset(cobs);
        } else if (cobs->overflow && session->state == SESSION_UP) {
            damaged(session); /* an end that never comes must not keep the session up */
        }
    }
}

int ob_session_receive(struct ob_session *session, const void *bytes, size_t len, uint64_t now_ns)
{
    if (session->broken)
        return session->broken;
    if (!len || session->state == SESSION_DOWN || session->state == SESSION_CLOSED)
        return 0;
    int result = 0;
    session_enter(session, now_ns);
    session->stats.bytes_received += len;
    liveness_heard(session);
    if (on_line(session))
        receive_line(session, bytes, len);
    else
        result = receive_clean(session, bytes, len);
    session_leave(session);
    return result;
}

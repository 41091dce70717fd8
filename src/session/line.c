// SPDX-License-Identifier: BSD-3-Clause
/*
 * Frames as they go over a raw line: the frame and its CRC-32C, stuffed so that no byte is zero,
 * and a zero. A greeting has a zero before it, too: whatever half frame an earlier life left behind
 * ends there, and the greeting is whole.
 *
 * Frames are encoded when they are about to go, up to a mark, and encoded frames can no longer be
 * overtaken. So the mark follows the line: it rises while the line takes all that it is given, and
 * falls as soon as it does not, and on a slow line a control frame waits for one data frame or two.
 */
#include "session/line.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "wire/cobs.h"
#include "wire/session_wire.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PAYLOAD_MAX LIMIT_SESSION_LINE_DATA
#define FRAME_MAX   (SESSION_HEADER_LEN + PAYLOAD_MAX + SESSION_CRC_LEN)

/* No further frame is begun beyond the mark, which lies between these. */
#define MARK_MIN 4096
#define MARK_MAX 65536

static_assert(LIMIT_SESSION_CONTROL_PAYLOAD <= PAYLOAD_MAX, "one buffer for both");

struct line_out {
    size_t start, end; /* bytes[start] to bytes[end - 1] are to be sent */
    size_t mark;
    uint8_t frame[FRAME_MAX];
    uint8_t bytes[MARK_MAX + LIMIT_SESSION_LANE + COBS_ENCODED_MAX(FRAME_MAX) + 2];
};

struct line_out *line_out_new(void)
{
    struct line_out *line = calloc(1, sizeof(*line));
    if (line)
        line->mark = MARK_MIN;
    return line;
}

void line_out_free(struct line_out *line)
{
    free(line);
}

void line_out_reset(struct line_out *line)
{
    line->start = line->end = 0;
}

bool line_out_full(const struct line_out *line)
{
    return line->end >= line->mark;
}

static void put_le(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

void line_out_frame(struct line_out *line, const uint8_t *head, const uint8_t *payload, size_t len)
{
    uint8_t *at = line->frame;
    size_t frame_len = SESSION_HEADER_LEN + len;
    assert(len <= PAYLOAD_MAX &&
           sizeof(line->bytes) - line->end >= COBS_ENCODED_MAX(frame_len + SESSION_CRC_LEN) + 2);
    memcpy(at, head, SESSION_HEADER_LEN);
    memcpy(at + SESSION_HEADER_LEN, payload, len);
    put_le(at + frame_len, crc32c(0, at, frame_len));
    if (head[0] == SESSION_HELLO || head[0] == SESSION_HELLO_ACK)
        line->bytes[line->end++] = 0;
    line->end += cobs_encode(line->bytes + line->end, at, frame_len + SESSION_CRC_LEN);
    line->bytes[line->end++] = 0;
}

size_t line_out_waiting(const struct line_out *line, const uint8_t **ret_bytes)
{
    *ret_bytes = line->bytes + line->start;
    return line->end - line->start;
}

void line_out_sent(struct line_out *line, size_t len)
{
    assert(len <= line->end - line->start);
    line->start += len;
    if (line->start < line->end) {
        line->mark = MARK_MIN;
        return;
    }
    if (line->mark < MARK_MAX)
        line->mark *= 2;
    line_out_reset(line);
}

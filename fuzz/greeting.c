// SPDX-License-Identifier: BSD-3-Clause
/*
 * The first bytes of a peer (src/server/greeting.h), as they come in one after the other.
 *
 * What must hold: no two wires recognise the same bytes; what is known of the wire is never taken
 * back by more bytes; what is enough stays enough, and GREETING_LEN bytes always are; the answer to
 * a busy device's peer is a reply to its message, of the length that it says.
 */
#include <string.h>

#include "check.h"
#include "server/greeting.h"
#include "wire/vfio_user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bytes that tell the wire, at least and at most. */
#define TELLS_LEAST 3u
#define TELLS_MOST  12u

/* No two wires recognise the same bytes, and what one has recognised it goes on to recognise. */
static void check_wires(const uint8_t *data, size_t len, const struct engine_ops *told)
{
    for (size_t i = 0; greeting_wires[i]; i++) {
        enum recognition now = greeting_wires[i]->recognises(data, len);
        CHECK(now != WIRE_YES || told == greeting_wires[i]);
        CHECK(len == 0 || greeting_wires[i]->recognises(data, len - 1) == now ||
              greeting_wires[i]->recognises(data, len - 1) == WIRE_MORE);
    }
}

static void check_answer(const struct engine_ops *wire, const uint8_t *data)
{
    uint8_t answer[GREETING_ANSWER_LEN];
    struct vfio_user_header asked = {0}, answered = {0};
    vfio_user_header_get(data, VFIO_USER_HEADER_LEN, &asked);
    if (!greeting_answer_busy(wire, data, answer))
        return;
    CHECK(vfio_user_header_get(answer, sizeof(answer), &answered) == 0);
    CHECK(answered.id == asked.id && answered.command == asked.command && answered.error != 0);
    CHECK(answered.size == sizeof(answer) &&
          answered.flags == (VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct greeting before = {0};
    for (size_t len = 0; len <= size && len <= GREETING_LEN; len++) {
        struct greeting now = greeting_judge(data, len);
        CHECK(!now.wire || len >= TELLS_LEAST);
        CHECK(now.wire || len < TELLS_MOST);
        CHECK(!before.wire || now.wire == before.wire);
        check_wires(data, len, now.wire);
        CHECK(now.has_header == (now.wire && len >= now.wire->header_len));
        CHECK(now.is_enough || (!before.is_enough && len < GREETING_LEN));
        before = now;
    }
    for (size_t i = 0; greeting_wires[i] && size >= GREETING_ANSWER_LEN; i++)
        check_answer(greeting_wires[i], data);
    return 0;
}

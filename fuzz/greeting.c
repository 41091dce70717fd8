// SPDX-License-Identifier: BSD-3-Clause
/*
 * The first bytes of a peer (src/server/greeting.h), as they come in one after the other.
 *
 * What must hold: what is known of the wire is never taken back by more bytes; what is enough stays
 * enough, and GREETING_LEN bytes always are; the answer to a busy device's peer is a reply to its
 * message, of the length that it says.
 */
#include <string.h>

#include "check.h"
#include "server/greeting.h"
#include "wire/vfio_user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_answer(const uint8_t *data)
{
    uint8_t answer[GREETING_ANSWER_LEN];
    struct vfio_user_header asked = {0}, answered = {0};
    vfio_user_header_get(data, VFIO_USER_HEADER_LEN, &asked);
    if (!greeting_answer_busy(data, answer))
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
        CHECK((now.wire != NULL) == (len >= GREETING_TELLS_LEN));
        CHECK(!before.wire || now.wire == before.wire);
        CHECK(now.has_header == (now.wire && len >= now.wire->header_len));
        CHECK(now.is_enough || (!before.is_enough && len < GREETING_LEN));
        before = now;
    }
    if (size >= GREETING_ANSWER_LEN)
        check_answer(data);
    return 0;
}

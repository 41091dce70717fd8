// SPDX-License-Identifier: BSD-3-Clause
#include "server/greeting.h"

#include <assert.h>
#include <errno.h>

#include "wire/mpqemu.h"
#include "wire/vfio_user.h"

#define TELLING_BYTE      (GREETING_TELLS_LEN - 1)
#define VFIO_USER_TELLING 1u

static_assert(GREETING_ANSWER_LEN == VFIO_USER_HEADER_LEN, "an error has no payload");

/* Bytes of the message that a header announces; 0: it is none that a peer begins with. */
static uint64_t message_len(const struct engine_ops *wire, const uint8_t *bytes)
{
    if (wire == &vfio_user_engine) {
        struct vfio_user_header header = {0};
        vfio_user_header_get(bytes, VFIO_USER_HEADER_LEN, &header);
        return header.command == VFIO_USER_VERSION ? header.size : 0;
    }
    struct mpqemu_header header = {0};
    mpqemu_header_get(bytes, MPQEMU_HEADER_LEN, &header);
    return header.number <= MPQEMU_V8 ? MPQEMU_HEADER_LEN + header.size : 0;
}

struct greeting greeting_judge(const uint8_t *bytes, size_t len)
{
    struct greeting greeting = {0};
    if (len < GREETING_TELLS_LEN)
        return greeting;
    greeting.wire = bytes[TELLING_BYTE] == VFIO_USER_TELLING ? &vfio_user_engine : &mpqemu_engine;
    greeting.has_header = len >= greeting.wire->header_len;
    greeting.is_enough =
        greeting.has_header && (len >= GREETING_LEN || len >= message_len(greeting.wire, bytes));
    return greeting;
}

bool greeting_answer_busy(const uint8_t *bytes, uint8_t *ret_answer)
{
    struct vfio_user_header header = {0};
    vfio_user_header_get(bytes, VFIO_USER_HEADER_LEN, &header);
    if (header.command != VFIO_USER_VERSION ||
        (header.flags & VFIO_USER_TYPE_MASK) != VFIO_USER_TYPE_COMMAND)
        return false;
    header.flags = VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR;
    header.size = VFIO_USER_HEADER_LEN;
    header.error = EBUSY;
    vfio_user_header_put(ret_answer, VFIO_USER_HEADER_LEN, &header);
    return true;
}

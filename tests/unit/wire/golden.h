// SPDX-License-Identifier: BSD-3-Clause
/* Messages of fixed length: golden bytes, both ways. */
#ifndef OUTBOARD_TESTS_WIRE_GOLDEN_H
#define OUTBOARD_TESTS_WIRE_GOLDEN_H

#include <stdint.h>
#include <string.h>

#include "support.h"

/* One message: its bytes, what they say, and the functions between the two. */
struct golden {
    const char *bytes;
    int len;
    const void *says;
    int (*get)(const uint8_t *buf, size_t len, void *ret_message);
    int (*put)(uint8_t *buf, size_t len, const void *message);
};

/* Functions for a message of a wire: vfio_user, header. */
#define GOLDEN_CODEC(wire, name)                                                                   \
    static int get_##name(const uint8_t *buf, size_t len, void *ret_message)                       \
    {                                                                                              \
        return wire##_##name##_get(buf, len, ret_message);                                         \
    }                                                                                              \
    static int put_##name(uint8_t *buf, size_t len, const void *message)                           \
    {                                                                                              \
        return wire##_##name##_put(buf, len, message);                                             \
    }

#define GOLDEN(wire, name, length, golden, ...)                                                    \
    {                                                                                              \
        golden, length, &(const struct wire##_##name){__VA_ARGS__}, get_##name, put_##name         \
    }

static inline void golden_both_ways(const struct golden *messages, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct golden *m = &messages[i];
        uint8_t buf[64], parsed[128];
        assert_int_equal(m->put(buf, sizeof(buf), m->says), m->len);
        assert_memory_equal(buf, m->bytes, m->len);
        assert_int_equal(m->get(buf, (size_t)m->len, parsed), 0);
        memset(buf, 0xee, sizeof(buf));
        assert_int_equal(m->put(buf, (size_t)m->len, parsed), m->len);
        assert_memory_equal(buf, m->bytes, m->len);
    }
}

#endif

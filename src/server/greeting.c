// SPDX-License-Identifier: BSD-3-Clause
#include "server/greeting.h"

#include <assert.h>
#include <string.h>

const struct engine_ops *const greeting_wires[] = {&mpqemu_engine, &vfio_user_engine, NULL};

unsigned greeting_number(const struct engine_ops *wire)
{
    unsigned number = 0;
    while (greeting_wires[number] && greeting_wires[number] != wire)
        number++;
    return number;
}

const struct engine_ops *greeting_wire(unsigned number)
{
    return number < sizeof(greeting_wires) / sizeof(greeting_wires[0]) ? greeting_wires[number]
                                                                       : NULL;
}

/* 0 request, 4 flags, 8 size */
static enum recognition recognises_vhost_user(const uint8_t *bytes, size_t len)
{
    static const uint8_t get_features[12] = {1, 0, 0, 0, 1};
    const bool whole = len >= sizeof(get_features);
    if (memcmp(bytes, get_features, whole ? sizeof(get_features) : len) != 0)
        return WIRE_NO;
    return whole ? WIRE_YES : WIRE_MORE;
}

/* Asks each wire. Whether one has recognised the bytes, or none will. */
static bool ask_all(const uint8_t *bytes, size_t len, struct greeting *greeting)
{
    enum recognition recognition = recognises_vhost_user(bytes, len);
    bool decided = recognition != WIRE_MORE;
    if (recognition == WIRE_YES)
        greeting->unserved = "vhost-user";
    for (size_t i = 0; greeting_wires[i]; i++) {
        recognition = greeting_wires[i]->recognises(bytes, len);
        decided &= recognition != WIRE_MORE;
        if (recognition == WIRE_YES)
            greeting->wire = greeting_wires[i];
    }
    return decided || greeting->wire || greeting->unserved;
}

struct greeting greeting_judge(const uint8_t *bytes, size_t len)
{
    struct greeting greeting = {0};
    if (!ask_all(bytes, len, &greeting))
        return greeting;
    if (greeting.unserved) {
        greeting.is_enough = true;
        return greeting;
    }
    if (!greeting.wire)
        greeting.wire = &mpqemu_engine;
    greeting.has_header = len >= greeting.wire->header_len;
    greeting.is_enough =
        greeting.has_header && (len >= GREETING_LEN || len >= greeting.wire->first_len(bytes));
    return greeting;
}

bool greeting_answer_busy(const struct engine_ops *wire, const uint8_t *header, uint8_t *ret_answer)
{
    assert(wire->header_len == GREETING_ANSWER_LEN);
    return wire->answer_busy && wire->answer_busy(header, ret_answer);
}

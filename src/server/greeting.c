// SPDX-License-Identifier: BSD-3-Clause
#include "server/greeting.h"

#include <assert.h>

const struct engine_ops *const greeting_wires[] = {&mpqemu_engine, &vfio_user_engine,
                                                   &vhost_user_engine, NULL};

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

/* Asks each wire. Whether one has recognised the bytes, or none will. */
static bool ask_all(const uint8_t *bytes, size_t len, struct greeting *greeting)
{
    bool decided = true;
    for (size_t i = 0; greeting_wires[i]; i++) {
        enum recognition recognition = greeting_wires[i]->recognises(bytes, len);
        decided &= recognition != WIRE_MORE;
        if (recognition == WIRE_YES)
            greeting->wire = greeting_wires[i];
    }
    return decided || greeting->wire;
}

struct greeting greeting_judge(const uint8_t *bytes, size_t len)
{
    struct greeting greeting = {0};
    if (!ask_all(bytes, len, &greeting))
        return greeting;
    if (!greeting.wire)
        greeting.wire = &mpqemu_engine;
    greeting.has_header = len >= greeting.wire->header_len;
    greeting.is_enough =
        greeting.has_header && (len >= GREETING_LEN || len >= greeting.wire->first_len(bytes));
    return greeting;
}

bool greeting_answer_busy(const struct engine_ops *wire, const uint8_t *header, uint8_t *ret_answer)
{
    assert(!wire->answer_busy || wire->header_len == GREETING_ANSWER_LEN);
    return wire->answer_busy && wire->answer_busy(header, ret_answer);
}

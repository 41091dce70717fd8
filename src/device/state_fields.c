// SPDX-License-Identifier: BSD-3-Clause
/* include/outboard/state.h: fields that are written and read by the same list. */
#include <outboard/state.h>

#include <errno.h>
#include <string.h>

struct ob_state_fields ob_state_saved(void *ret_buf, size_t size)
{
    static uint8_t nowhere; /* `to` tells that fields are saved */
    if (!ret_buf)
        return (struct ob_state_fields){.to = &nowhere, .failed = size > 0};
    return (struct ob_state_fields){.to = ret_buf, .left = size};
}

struct ob_state_fields ob_state_loaded(const void *buf, size_t len)
{
    return (struct ob_state_fields){.from = buf, .left = len, .failed = !buf && len > 0};
}

/* Whether this number of bytes can be written or read; if so they count as done. */
static bool advance(struct ob_state_fields *fields, size_t len)
{
    if (fields->failed || len > fields->left) {
        fields->failed = true;
        return false;
    }
    fields->left -= len;
    fields->len += len;
    return true;
}

void ob_state_bytes(struct ob_state_fields *fields, void *bytes, size_t len)
{
    size_t at = fields->len;
    bool fits = advance(fields, len);
    if (fits && len > 0 && fields->to)
        memcpy(fields->to + at, bytes, len);
    else if (fits && len > 0)
        memcpy(bytes, fields->from + at, len);
    else if (!fits && !fields->to)
        memset(bytes, 0, len);
}

/* An integer of this length. Returns its value, which is another one when it is loaded. */
static uint64_t integer(struct ob_state_fields *fields, uint64_t value, size_t size)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    ob_state_bytes(fields, bytes, size);
    uint64_t result = 0;
    for (size_t i = 0; i < size; i++)
        result |= (uint64_t)bytes[i] << (8 * i);
    return result;
}

void ob_state_u8(struct ob_state_fields *fields, uint8_t *value)
{
    *value = (uint8_t)integer(fields, *value, sizeof(*value));
}

void ob_state_u16(struct ob_state_fields *fields, uint16_t *value)
{
    *value = (uint16_t)integer(fields, *value, sizeof(*value));
}

void ob_state_u32(struct ob_state_fields *fields, uint32_t *value)
{
    *value = (uint32_t)integer(fields, *value, sizeof(*value));
}

void ob_state_u64(struct ob_state_fields *fields, uint64_t *value)
{
    *value = integer(fields, *value, sizeof(*value));
}

void ob_state_bool(struct ob_state_fields *fields, bool *value)
{
    const bool saved = fields->to && *value; /* the old value may be anything when loading */
    uint64_t number = integer(fields, saved, 1);
    fields->failed |= number > 1;
    *value = number == 1;
}

int ob_state_done(const struct ob_state_fields *fields)
{
    if (fields->to)
        return fields->failed ? -ENOSPC : (int)fields->len;
    return fields->failed || fields->left > 0 ? -EINVAL : (int)fields->len;
}

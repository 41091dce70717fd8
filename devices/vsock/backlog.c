// SPDX-License-Identifier: BSD-3-Clause
#include "backlog.h"

#include <stdlib.h>
#include <string.h>

#define SIZE_MIN 4096u

static bool grow(struct backlog *backlog, size_t len)
{
    size_t used = backlog->end - backlog->begin, size = backlog->size ? backlog->size : SIZE_MIN;
    if (backlog->begin > 0 && used > 0)
        memmove(backlog->bytes, backlog->bytes + backlog->begin, used);
    backlog->last -= backlog->in_message ? backlog->begin : 0;
    backlog->begin = 0;
    backlog->end = used;
    while (size - used < len)
        size *= 2;
    if (size == backlog->size)
        return true;
    uint8_t *bytes = realloc(backlog->bytes, size);
    if (!bytes)
        return false;
    backlog->bytes = bytes;
    backlog->size = size;
    return true;
}

uint8_t *backlog_add(struct backlog *backlog, size_t len)
{
    if (backlog->size - backlog->end < len && !grow(backlog, len))
        return NULL;
    uint8_t *at = backlog->bytes + backlog->end;
    backlog->end += len;
    return at;
}

static uint32_t message_len(const struct backlog *backlog, size_t at)
{
    uint32_t len;
    memcpy(&len, backlog->bytes + at, sizeof(len));
    return len;
}

uint8_t *backlog_add_fragment(struct backlog *backlog, size_t len, bool ends)
{
    size_t head = backlog->in_message ? 0 : BACKLOG_PER_MESSAGE;
    uint8_t *at = backlog_add(backlog, head + len);
    if (!at)
        return NULL;
    if (!backlog->in_message) {
        memset(at, 0, head);
        backlog->last = backlog->end - head - len;
    }
    uint32_t so_far = message_len(backlog, backlog->last) + (uint32_t)len;
    memcpy(backlog->bytes + backlog->last, &so_far, sizeof(so_far));
    backlog->in_message = !ends;
    return at + head;
}

const uint8_t *backlog_first(const struct backlog *backlog, bool messages, size_t *ret_len)
{
    if (backlog_is_empty(backlog))
        return NULL;
    const uint8_t *at = backlog->bytes + backlog->begin;
    *ret_len = backlog->end - backlog->begin;
    if (!messages)
        return at;
    if (backlog->in_message && backlog->last == backlog->begin)
        return NULL;
    *ret_len = message_len(backlog, backlog->begin);
    return at + BACKLOG_PER_MESSAGE;
}

void backlog_drop(struct backlog *backlog, bool messages, size_t len)
{
    backlog->begin += messages ? BACKLOG_PER_MESSAGE + message_len(backlog, backlog->begin) : len;
    if (backlog_is_empty(backlog))
        backlog_clear(backlog);
}

void backlog_clear(struct backlog *backlog)
{
    free(backlog->bytes);
    *backlog = (struct backlog){0};
}

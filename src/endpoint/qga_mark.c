// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/qga_mark.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "wire/json.h"

#define SYNC_LEN   120
#define NUMBER_MAX 0x1fffffffffffff /* that all JSON parsers know */

int qga_mark_compose(struct qga_mark *mark, const char *request, size_t len, char **ret_bytes,
                     size_t *ret_len)
{
    uint64_t number;
    if (getrandom(&number, sizeof(number), 0) != sizeof(number))
        return -EIO;
    char *bytes = malloc(len + SYNC_LEN);
    if (!bytes)
        return -ENOMEM;
    mark->number = (int64_t)(number & NUMBER_MAX);
    mark->len = 0;
    memcpy(bytes, request, len);
    len += (size_t)snprintf(
        bytes + len, SYNC_LEN,
        "\n{\"execute\": \"guest-sync-delimited\", \"arguments\": {\"id\": %" PRId64 "}}\n",
        mark->number);
    *ret_bytes = bytes;
    *ret_len = len;
    return 0;
}

/* Whether the line behind FF answers our sync. */
static bool is_ours(const struct qga_mark *mark)
{
    struct json_document *document;
    struct json_fault fault;
    if (json_parse(mark->bytes + 1, mark->len - 1, &document, &fault) < 0)
        return false;
    const struct json *value = json_member(json_root(document), "return");
    bool ours = value && value->type == JSON_INT && value->integer == mark->number;
    json_free(document);
    return ours;
}

/* A byte behind FF. Whether the answer ends with it. */
static bool take_mark_byte(struct qga_mark *mark, char byte, qga_deliver_fn deliver, void *argument)
{
    if (byte == QGA_MARK_BYTE || mark->len == QGA_MARK_MAX) {
        deliver(argument, mark->bytes, mark->len); /* of a sync of the client's own */
        mark->len = 0;
    }
    if (byte != QGA_MARK_BYTE && mark->len == 0) {
        deliver(argument, &byte, 1);
        return false;
    }
    mark->bytes[mark->len++] = byte;
    if (byte != '\n')
        return false;
    bool ours = is_ours(mark);
    if (!ours)
        deliver(argument, mark->bytes, mark->len);
    mark->len = 0;
    return ours;
}

size_t qga_mark_take(struct qga_mark *mark, const char *bytes, size_t len, qga_deliver_fn deliver,
                     void *argument, bool *ret_ended)
{
    *ret_ended = false;
    for (size_t at = 0; at < len;) {
        if (mark->len == 0) {
            const char *next = memchr(bytes + at, (unsigned char)QGA_MARK_BYTE, len - at);
            size_t plain = next ? (size_t)(next - bytes) - at : len - at;
            deliver(argument, bytes + at, plain);
            at += plain;
            if (!next)
                break;
        }
        *ret_ended = take_mark_byte(mark, bytes[at++], deliver, argument);
        if (*ret_ended)
            return at;
    }
    return len;
}

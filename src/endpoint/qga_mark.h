// SPDX-License-Identifier: BSD-3-Clause
/*
 * Mark: shows where an answer of qemu-ga ends. A guest-sync-delimited with a random number of ours
 * follows each request; all bytes up to FF and that number are the answer, which may be empty.
 */
#ifndef OUTBOARD_ENDPOINT_QGA_MARK_H
#define OUTBOARD_ENDPOINT_QGA_MARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QGA_MARK_MAX  256 /* of the line behind FF; a longer one is not ours */
#define QGA_MARK_BYTE '\xff'

struct qga_mark {
    int64_t number;           /* of the last sync */
    char bytes[QGA_MARK_MAX]; /* FF and the bytes behind it so far */
    size_t len;               /* 0: no FF was seen */
};

typedef void (*qga_deliver_fn)(void *argument, const char *bytes, size_t len);

/* A request with a sync behind it, to be freed. 0 or a negative errno. */
int qga_mark_compose(struct qga_mark *mark, const char *request, size_t len, char **ret_bytes,
                     size_t *ret_len);

/* Takes bytes up to the end of an answer, and delivers those of the answer. Returns their number;
 * *ret_ended: the end was there. */
size_t qga_mark_take(struct qga_mark *mark, const char *bytes, size_t len, qga_deliver_fn deliver,
                     void *argument, bool *ret_ended);

#endif

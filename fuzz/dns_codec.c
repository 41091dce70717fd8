// SPDX-License-Identifier: BSD-3-Clause
/*
 * DNS: names and answers of a name server. A query is made of labels of 1 to 63 bytes; an answer is
 * read from the bytes that are there, its owner is text that a resolver can print, and with a byte
 * cut off it is no answer unless what was cut came behind its records.
 */
#include "wire/dns.h"

#include "check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte says how much of the input is a name; the rest is an answer to its query. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size - 1 < data[0])
        return 0;
    char name[256] = "";
    memcpy(name, data + 1, data[0]);
    uint8_t query[DNS_QUERY_MAX];
    enum dns_type type = data[0] & 1 ? DNS_A : DNS_AAAA;
    ssize_t query_len = dns_put_query(name, type, 0, query);
    CHECK(query_len == -EINVAL || (query_len >= 19 && query_len <= DNS_QUERY_MAX));
    if (query_len < 0)
        return 0;
    size_t tail_len = size - 1 - data[0];
    size_t len = (size_t)query_len + tail_len;
    uint8_t *answer = malloc(len); /* of exact size, so that a read behind the end is seen */
    memcpy(answer, query, (size_t)query_len);
    memcpy(answer + query_len, data + 1 + data[0], tail_len);
    answer[2] |= 0x80;
    answer[7] = tail_len > 0 ? answer[query_len + (ssize_t)tail_len - 1] & 7 : 0; /* records */
    struct dns_answer got, again;
    int err = dns_get_answer(answer, len, query, (size_t)query_len, &got);
    CHECK(err == 0 || err == -EPROTO);
    if (err == 0) {
        CHECK(got.count <= DNS_ADDRESSES_MAX && got.count <= answer[7]);
        CHECK(strlen(got.owner) <= DNS_NAME_MAX);
        CHECK(strspn(got.owner, "abcdefghijklmnopqrstuvwxyz0123456789-_.?") == strlen(got.owner));
        answer[0] ^= 1;
        CHECK(dns_get_answer(answer, len, query, (size_t)query_len, &again) == -EPROTO);
    }
    free(answer);
    return 0;
}

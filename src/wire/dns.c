// SPDX-License-Identifier: BSD-3-Clause
#include "wire/dns.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/cursor.h"

#define HEADER_LEN        12
#define LABEL_MAX         63
#define CLASS_IN          1
#define RECURSION_DESIRED 0x0100u
#define IS_RESPONSE       0x8000u
#define OPCODE_MASK       0x7800u
#define CODE_MASK         0x000fu
#define POINTER           0xc0u

/* Records looked at in one answer, and pointers followed in one name. */
#define RECORDS_MAX  64
#define POINTERS_MAX 16

static uint16_t get_u16(struct rd *rd)
{
    unsigned high = rd_u8(rd);
    return (uint16_t)(high << 8 | rd_u8(rd));
}

static void put_u16(struct wr *wr, unsigned value)
{
    wr_u8(wr, (uint8_t)(value >> 8));
    wr_u8(wr, (uint8_t)value);
}

/* Section 4.1.2: labels, each behind its length, and a length of 0. */
static int put_name(struct wr *wr, const char *name)
{
    size_t len = strlen(name);
    if (len > 0 && name[len - 1] == '.')
        len--;
    if (len == 0 || len > DNS_NAME_MAX)
        return -EINVAL;
    for (const char *end = name + len; name <= end;) {
        const char *dot = memchr(name, '.', (size_t)(end - name));
        size_t label = (size_t)((dot ? dot : end) - name);
        if (label == 0 || label > LABEL_MAX)
            return -EINVAL;
        wr_u8(wr, (uint8_t)label);
        wr_bytes(wr, name, label);
        name += label + 1;
    }
    wr_u8(wr, 0);
    return 0;
}

/*  0 id | 2 flags | 4 questions | 6 answers | 8 authorities | 10 additional */
ssize_t dns_put_query(const char *name, enum dns_type type, uint16_t id,
                      uint8_t ret_query[DNS_QUERY_MAX])
{
    struct wr wr = wr_init(ret_query, DNS_QUERY_MAX);
    put_u16(&wr, id);
    put_u16(&wr, RECURSION_DESIRED);
    put_u16(&wr, 1);
    wr_zero(&wr, 6);
    int err = put_name(&wr, name);
    if (err < 0)
        return err;
    put_u16(&wr, type);
    put_u16(&wr, CLASS_IN);
    return wr_done(&wr) < 0 ? -EINVAL : wr_done(&wr);
}

/* Whether the header and the question are those of an answer to this query. */
static bool answers(const uint8_t *bytes, size_t len, const uint8_t *query, size_t query_len)
{
    if (query_len < HEADER_LEN || len < query_len || memcmp(bytes, query, 2) != 0)
        return false;
    for (size_t i = HEADER_LEN; i < query_len; i++) /* lengths are less than any letter */
        if (tolower(bytes[i]) != tolower(query[i]))
            return false;
    return true;
}

/* Adds a label to the text of a name; text that no host has becomes none. */
static void add_label(char *name, size_t *len, const uint8_t *label, size_t label_len)
{
    if (*len + 1 + label_len > DNS_NAME_MAX)
        *len = DNS_NAME_MAX + 1;
    if (*len > DNS_NAME_MAX)
        return;
    if (*len > 0)
        name[(*len)++] = '.';
    for (size_t i = 0; i < label_len; i++) {
        bool plain = isalnum(label[i]) || label[i] == '-' || label[i] == '_';
        name[(*len)++] = (char)(plain ? tolower(label[i]) : '?');
    }
}

/* Section 4.1.4: reads a name, compressed or not. A pointer leads backwards only, so that none can
 * lead in a circle. ret_name is empty for a name that is too long. 0 or -EPROTO. */
static int get_name(struct rd *rd, const uint8_t *bytes, char ret_name[DNS_NAME_MAX + 1])
{
    struct rd at = *rd;
    size_t len = 0;
    for (unsigned pointers = 0;;) {
        const uint8_t *start = at.at;
        unsigned head = rd_u8(&at);
        if (at.bad)
            return -EPROTO;
        if ((head & POINTER) == POINTER) {
            size_t target = (head & ~POINTER) << 8 | rd_u8(&at);
            if (pointers++ == 0)
                *rd = at;
            if (at.bad || pointers > POINTERS_MAX || target >= (size_t)(start - bytes))
                return -EPROTO;
            at = rd_init(bytes + target, (size_t)(start - bytes) - target);
        } else if (head & POINTER) {
            return -EPROTO;
        } else if (head == 0) {
            if (pointers == 0)
                *rd = at;
            break;
        } else {
            const uint8_t *label = rd_take(&at, head);
            if (!label)
                return -EPROTO;
            add_label(ret_name, &len, label, head);
        }
    }
    ret_name[len <= DNS_NAME_MAX ? len : 0] = '\0';
    return 0;
}

/* Section 4.1.3: name | type 2 | class 2 | time to live 4 | length 2 | data. 0 or -EPROTO. */
static int get_record(struct rd *rd, const uint8_t *bytes, unsigned wanted,
                      struct dns_answer *answer)
{
    char owner[DNS_NAME_MAX + 1];
    if (get_name(rd, bytes, owner) < 0)
        return -EPROTO;
    unsigned type = get_u16(rd), class = get_u16(rd);
    rd_skip(rd, 4);
    size_t len = get_u16(rd), expected = wanted == DNS_A ? 4 : 16;
    const uint8_t *data = rd_take(rd, len);
    if (rd->bad)
        return -EPROTO;
    if (type != wanted || class != CLASS_IN || len != expected ||
        answer->count >= DNS_ADDRESSES_MAX)
        return 0;
    memcpy(answer->address[answer->count++], data, len);
    memcpy(answer->owner, owner, sizeof(owner));
    return 0;
}

int dns_get_answer(const void *bytes, size_t len, const uint8_t *query, size_t query_len,
                   struct dns_answer *ret_answer)
{
    if (!answers(bytes, len, query, query_len))
        return -EPROTO;
    struct dns_answer answer = {0};
    struct rd rd = rd_init(bytes, len);
    rd_skip(&rd, 2);
    unsigned flags = get_u16(&rd), questions = get_u16(&rd), records = get_u16(&rd);
    if (!(flags & IS_RESPONSE) || (flags & OPCODE_MASK) || questions != 1 || records > RECORDS_MAX)
        return -EPROTO;
    rd_skip(&rd, query_len - 8);
    unsigned wanted = (unsigned)query[query_len - 4] << 8 | query[query_len - 3];
    for (unsigned i = 0; i < records; i++)
        if (get_record(&rd, bytes, wanted, &answer) < 0)
            return -EPROTO;
    answer.code = flags & CODE_MASK;
    *ret_answer = answer;
    return 0;
}

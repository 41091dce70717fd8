// SPDX-License-Identifier: BSD-3-Clause
#include "wire/dns.h"

#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUESTION  "\3www\7example\0\0\1\0\1"
#define QUERY     "\x12\x34\1\0\0\1\0\0\0\0\0\0" QUESTION
#define HEAD      "\x12\x34\x81\x80\0\1"
#define LEN(text) (sizeof(text) - 1)

/* www is an alias of host.example (at 46), which has two addresses. */
static const char aliased[] =
    HEAD "\0\3\0\0\0\0" QUESTION "\xc0\x0c\0\5\0\1\0\0\0\1\0\7\4host\xc0\x10"
         "\xc0\x29\0\1\0\1\0\0\0\1\0\4\xc0\0\2\1"
         "\xc0\x29\0\1\0\1\0\0\0\1\0\4\xc0\0\2\2";

static int get(const void *bytes, size_t len, struct dns_answer *ret_answer)
{
    uint8_t *copy = malloc(len ? len : 1); /* so that a read behind the end is seen */
    memcpy(copy, bytes, len);
    int err = dns_get_answer(copy, len, (const uint8_t *)QUERY, LEN(QUERY), ret_answer);
    free(copy);
    return err;
}

static void query_of_a_name(void **state)
{
    uint8_t query[DNS_QUERY_MAX];
    assert_int_equal(dns_put_query("www.example", DNS_A, 0x1234, query), LEN(QUERY));
    assert_memory_equal(query, QUERY, LEN(QUERY));
    assert_int_equal(dns_put_query("www.example.", DNS_A, 0x1234, query), LEN(QUERY));
    assert_memory_equal(query, QUERY, LEN(QUERY));
}

static void texts_that_are_no_name(void **state)
{
    uint8_t query[DNS_QUERY_MAX];
    char label[65] = {0}, name[256] = {0};
    memset(label, 'a', 64);
    for (size_t i = 0; i < 255; i++)
        name[i] = i % 2 ? '.' : 'a';
    const char *const texts[] = {"", ".", "..", "a..b", ".a", "a..", label, name};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(dns_put_query(texts[i], DNS_A, 1, query), -EINVAL);
    name[253] = '\0'; /* the longest one */
    assert_int_equal(dns_put_query(name, DNS_AAAA, 1, query), 12 + 255 + 4);
}

static void answer_behind_an_alias(void **state)
{
    struct dns_answer answer;
    assert_int_equal(get(aliased, LEN(aliased), &answer), 0);
    assert_int_equal(answer.code, DNS_NO_ERROR);
    assert_int_equal(answer.count, 2);
    assert_memory_equal(answer.address[0], "\xc0\0\2\1", 4);
    assert_memory_equal(answer.address[1], "\xc0\0\2\2", 4);
    assert_string_equal(answer.owner, "host.example");
}

static void answer_that_is_cut(void **state)
{
    struct dns_answer answer;
    for (size_t len = 0; len < LEN(aliased); len++)
        assert_int_equal(get(aliased, len, &answer), -EPROTO);
}

static void name_that_does_not_exist(void **state)
{
    static const char bytes[] = "\x12\x34\x81\x83\0\1\0\0\0\0\0\0" QUESTION;
    struct dns_answer answer;
    assert_int_equal(get(bytes, LEN(bytes), &answer), 0);
    assert_int_equal(answer.code, DNS_NO_SUCH_NAME);
    assert_int_equal(answer.count, 0);
}

static void answers_to_something_else(void **state)
{
    struct dns_answer answer;
    char bytes[sizeof(aliased)];
    static const struct {
        size_t offset;
        char value;
    } changes[] = {
        {0, 0x13},   /* the id */
        {2, 0x01},   /* a query */
        {2, '\x91'}, /* another operation */
        {5, 2},      /* two questions */
        {13, 'v'},   /* the name that was asked for */
        {26, 28},    /* the type */
        {7, 65},     /* more records than anybody sends */
    };
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        memcpy(bytes, aliased, sizeof(bytes));
        bytes[changes[i].offset] = changes[i].value;
        assert_int_equal(get(bytes, LEN(aliased), &answer), -EPROTO);
    }
    memcpy(bytes, aliased, sizeof(bytes));
    bytes[13] = 'W'; /* servers may change capitals */
    assert_int_equal(get(bytes, LEN(aliased), &answer), 0);
}

static void pointers_that_lead_nowhere(void **state)
{
    struct dns_answer answer;
    static const struct {
        char high, low;
    } pointers[] = {{'\xc0', 0x1d}, {'\xc0', 0x1e}, {'\xff', '\xff'}, {'\x80', 0}, {'\x40', 0}};
    for (size_t i = 0; i < sizeof(pointers) / sizeof(pointers[0]); i++) {
        char bytes[] = HEAD "\0\1\0\0\0\0" QUESTION "??\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1";
        bytes[29] = pointers[i].high;
        bytes[30] = pointers[i].low;
        assert_int_equal(get(bytes, LEN(bytes), &answer), -EPROTO);
    }
}

/* What is no host name can't be mistaken for one. */
static void owner_with_odd_bytes(void **state)
{
    static const char bytes[] =
        HEAD "\0\1\0\0\0\0" QUESTION "\3a.\n\xc0\x10\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1";
    struct dns_answer answer;
    assert_int_equal(get(bytes, LEN(bytes), &answer), 0);
    assert_string_equal(answer.owner, "a??.example");
}

static void more_addresses_than_are_taken(void **state)
{
    static const char record[] = "\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1";
    uint8_t bytes[512];
    size_t len = LEN(HEAD "\0\x14\0\0\0\0" QUESTION);
    struct dns_answer answer;
    memcpy(bytes, HEAD "\0\x14\0\0\0\0" QUESTION, len);
    for (int i = 0; i < 20; i++, len += LEN(record))
        memcpy(bytes + len, record, LEN(record));
    assert_int_equal(get(bytes, len, &answer), 0);
    assert_int_equal(answer.count, DNS_ADDRESSES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(query_of_a_name),
        TEST(texts_that_are_no_name),
        TEST(answer_behind_an_alias),
        TEST(answer_that_is_cut),
        TEST(name_that_does_not_exist),
        TEST(answers_to_something_else),
        TEST(pointers_that_lead_nowhere),
        TEST(owner_with_odd_bytes),
        TEST(more_addresses_than_are_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

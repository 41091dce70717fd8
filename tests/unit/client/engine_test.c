// SPDX-License-Identifier: BSD-3-Clause
/* The client engine over mpqemu, in both dialects: what it asks, and which answers it takes. */
#include "support.h"

#include <errno.h>
#include <string.h>

#include "client/engine.h"
#include "wire/mpqemu.h"

static const struct client_wire *const dialects[] = {&client_mpqemu, &client_mpqemu_v8};

/* Runs the block that follows with `dialect` set to each. */
#define FOR_DIALECTS for (enum mpqemu_dialect dialect = 0; dialect < 2; dialect++)

#define CLIENT __attribute__((cleanup(client_done))) struct client

static void no_close(void *context, int fd)
{
}

static const struct client_host host = {.close = no_close};

static void make(struct client *client, const struct client_wire *wire)
{
    client_done(client);
    assert_int_equal(client_init(client, wire, &host), 0);
}

static const struct client_request config_read = {
    .operation = CLIENT_CONFIG_READ, .offset = 0x2c, .size = 2};

struct answer_bytes {
    uint8_t bytes[MPQEMU_HEADER_LEN + MPQEMU_UNION_LEN];
    size_t len;
};

/* A RET with a value, or with a payload of another length. */
static struct answer_bytes ret(enum mpqemu_dialect dialect, uint64_t value, size_t len)
{
    struct answer_bytes answer = {.len = MPQEMU_HEADER_LEN + len};
    const struct mpqemu_header header = {
        .number = (uint32_t)mpqemu_command_number(dialect, MPQEMU_RET), .size = len};
    mpqemu_header_put(answer.bytes, MPQEMU_HEADER_LEN, &header);
    for (unsigned i = 0; i < 8 && i < len; i++)
        answer.bytes[MPQEMU_HEADER_LEN + i] = (uint8_t)(value >> (8 * i));
    return answer;
}

static struct answer_bytes value(enum mpqemu_dialect dialect, uint64_t value)
{
    return ret(dialect, value, dialect == MPQEMU_V8 ? MPQEMU_UNION_LEN : MPQEMU_RET_LEN);
}

static int receive(struct client *client, const void *bytes, size_t len)
{
    size_t room;
    uint8_t *to = client_receive_space(client, &room);
    assert_true(len <= room);
    memcpy(to, bytes, len);
    return client_received(client, len, NULL, 0);
}

static int receive_answer(struct client *client, struct answer_bytes answer)
{
    return receive(client, answer.bytes, answer.len);
}

/* Makes a request that must be taken and sends it; the call's number. */
static uint64_t ask(struct client *client, const struct client_request *request)
{
    uint64_t serial = UINT64_MAX;
    size_t len;
    const int *fds;
    unsigned num_fds;
    assert_int_equal(client_request(client, request, &serial), 0);
    client_pending(client, &len, &fds, &num_fds);
    client_sent(client, len);
    return serial;
}

/* A client that has made one call. */
static uint64_t start(struct client *client, enum mpqemu_dialect dialect)
{
    make(client, dialects[dialect]);
    return ask(client, &config_read);
}

static void the_first_message_is_a_memory_table(void **state)
{
    FOR_DIALECTS
    {
        CLIENT client = {0};
        uint64_t serial;
        size_t len;
        const int *fds;
        unsigned num_fds;
        struct mpqemu_header header;
        struct mpqemu_config_access access;
        make(&client, dialects[dialect]);
        assert_int_equal(client_request(&client, &config_read, &serial), 0);
        const uint8_t *bytes = client_pending(&client, &len, &fds, &num_fds);
        assert_int_equal(len, 2 * MPQEMU_HEADER_LEN + MPQEMU_UNION_LEN + MPQEMU_CONFIG_LEN);
        assert_int_equal(num_fds, 0);
        mpqemu_header_get(bytes, MPQEMU_HEADER_LEN, &header);
        assert_int_equal(header.number, dialect == MPQEMU_V8 ? 1 : 0);
        bytes += MPQEMU_HEADER_LEN + MPQEMU_UNION_LEN;
        mpqemu_header_get(bytes, MPQEMU_HEADER_LEN, &header);
        assert_int_equal(header.number, dialect == MPQEMU_V8 ? 4 : 3);
        assert_int_equal(header.bytestream, dialect == MPQEMU_V8 ? 1 : 0);
        mpqemu_config_get(bytes + MPQEMU_HEADER_LEN, MPQEMU_CONFIG_LEN, &access);
        assert_int_equal(access.offset, 0x2c);
        assert_int_equal(access.len, 2);
    }
}

static void a_memory_table_carries_its_descriptors(void **state)
{
    const struct ob_client_region regions[] = {{.gpa = 0x1000, .len = 0x2000, .offset = 0, .fd = 7},
                                               {.gpa = 0x8000, .len = 0x1000, .fd = 9}};
    const struct client_request request = {
        .operation = CLIENT_PUBLISH_MEMORY, .regions = regions, .num_regions = 2};
    CLIENT client = {0};
    struct mpqemu_sysmem sysmem;
    uint64_t serial;
    size_t len;
    const int *fds;
    unsigned num_fds;
    make(&client, &client_mpqemu);
    assert_int_equal(client_request(&client, &request, &serial), 0);
    assert_int_equal(serial, 0);
    const uint8_t *bytes = client_pending(&client, &len, &fds, &num_fds);
    assert_int_equal(num_fds, 2);
    assert_int_equal(fds[0], 7);
    assert_int_equal(fds[1], 9);
    mpqemu_sysmem_get(bytes + MPQEMU_HEADER_LEN, len - MPQEMU_HEADER_LEN, &sysmem);
    assert_int_equal(sysmem.gpas[1], 0x8000);
    assert_int_equal(sysmem.sizes[0], 0x2000);
    client_sent(&client, 1);
    client_pending(&client, &len, &fds, &num_fds);
    assert_int_equal(num_fds, 0);
    assert_int_equal(len, MPQEMU_HEADER_LEN + MPQEMU_UNION_LEN - 1);
}

static void bar_accesses_go_where_the_guest_put_the_bar(void **state)
{
    const struct client_request place = {
        .operation = CLIENT_CONFIG_WRITE, .offset = 0x14, .size = 4, .value = 0xfebf0123};
    const struct client_request move = {
        .operation = CLIENT_CONFIG_WRITE, .offset = 0x17, .size = 1, .value = 0xaa};
    const struct client_request read = {
        .operation = CLIENT_BAR_READ, .bar = 1, .offset = 0x20, .size = 4};
    CLIENT client = {0};
    struct mpqemu_bar_access access;
    uint64_t serial;
    size_t len;
    const int *fds;
    unsigned num_fds;
    make(&client, &client_mpqemu);
    client.bars[1] = (struct ob_client_bar){.kind = OB_BAR_MEM32, .size = 0x1000};
    ask(&client, &place);
    ask(&client, &move);
    assert_int_equal(client_request(&client, &read, &serial), 0);
    const uint8_t *bytes = client_pending(&client, &len, &fds, &num_fds);
    mpqemu_bar_get(bytes + MPQEMU_HEADER_LEN, len - MPQEMU_HEADER_LEN, &access);
    assert_int_equal(access.address, 0xaabf0020);
    assert_int_equal(access.memory, 1);
    assert_int_equal(access.size, 4);
}

static void the_shipped_dialect_asks_for_the_ids_as_a_heartbeat(void **state)
{
    const struct client_request ping = {.operation = CLIENT_PING};
    FOR_DIALECTS
    {
        CLIENT client = {0};
        struct client_answer answer;
        make(&client, dialects[dialect]);
        uint64_t serial = ask(&client, &ping);
        assert_true(serial > 0);
        assert_int_equal(receive_answer(&client, value(dialect, 0x10f01af4)), 0);
        assert_true(client_answered(&client, serial, &answer));
    }
}

static void an_answer_may_come_in_any_pieces(void **state)
{
    FOR_DIALECTS
    {
        struct answer_bytes answer = value(dialect, 0x1100);
        for (size_t cut = 0; cut < answer.len; cut++) {
            CLIENT client = {0};
            struct client_answer got = {0};
            uint64_t serial = start(&client, dialect);
            assert_int_equal(receive(&client, answer.bytes, cut), 0);
            assert_false(client_answered(&client, serial, &got));
            assert_int_equal(receive(&client, answer.bytes + cut, answer.len - cut), 0);
            assert_true(client_answered(&client, serial, &got));
            assert_int_equal(got.value, 0x1100);
            assert_int_equal(client.num_calls, 0);
        }
    }
}

static void a_late_answer_is_not_taken_for_another(void **state)
{
    FOR_DIALECTS
    {
        CLIENT client = {0};
        struct client_answer got = {0};
        uint64_t first = start(&client, dialect);
        uint64_t second = ask(&client, &config_read);
        assert_true(second > first);
        assert_int_equal(receive_answer(&client, value(dialect, 1)), 0);
        assert_true(client_answered(&client, first, &got));
        assert_int_equal(got.value, 1);
        assert_false(client_answered(&client, second, &got));
        assert_int_equal(receive_answer(&client, value(dialect, 2)), 0);
        assert_true(client_answered(&client, second, &got));
        assert_int_equal(got.value, 2);
    }
}

static void a_reset_is_answered_by_a_header_alone(void **state)
{
    const struct client_request reset = {.operation = CLIENT_RESET};
    FOR_DIALECTS
    {
        CLIENT client = {0};
        struct client_answer got;
        make(&client, dialects[dialect]);
        uint64_t serial = ask(&client, &reset);
        assert_int_equal(receive_answer(&client, ret(dialect, 0, 0)), 0);
        assert_true(client_answered(&client, serial, &got));
        ask(&client, &reset);
        assert_int_equal(receive_answer(&client, value(dialect, 0)), -EPROTO);
    }
}

/* What follows a breach: nothing is taken or asked any more. */
static void check_over(struct client *client, enum mpqemu_dialect dialect)
{
    uint64_t serial;
    assert_int_not_equal(client->fault.code, 0);
    assert_int_equal(receive_answer(client, value(dialect, 0)), -EPROTO);
    assert_int_equal(client_request(client, &config_read, &serial), -EPROTO);
}

static void answers_of_another_length_end_it(void **state)
{
    FOR_DIALECTS
    {
        size_t right = value(dialect, 0).len - MPQEMU_HEADER_LEN;
        for (size_t len = 0; len <= MPQEMU_UNION_LEN; len++) {
            CLIENT client = {0};
            if (len == right)
                continue;
            start(&client, dialect);
            assert_int_equal(receive_answer(&client, ret(dialect, 5, len)), -EPROTO);
            check_over(&client, dialect);
        }
    }
}

static void an_answer_that_claims_to_be_huge_ends_it(void **state)
{
    FOR_DIALECTS
    {
        CLIENT client = {0};
        struct answer_bytes answer = value(dialect, 5);
        memset(answer.bytes + 8, 0xff, 8);
        start(&client, dialect);
        assert_int_equal(receive(&client, answer.bytes, MPQEMU_HEADER_LEN), -EPROTO);
        check_over(&client, dialect);
    }
}

static void commands_other_than_ret_end_it(void **state)
{
    FOR_DIALECTS
    {
        for (uint32_t number = 0; number < 16; number++) {
            CLIENT client = {0};
            struct answer_bytes answer = value(dialect, 5);
            if (answer.bytes[0] == number)
                continue;
            answer.bytes[0] = (uint8_t)number;
            start(&client, dialect);
            assert_int_equal(receive_answer(&client, answer), -EPROTO);
            assert_non_null(strstr(client.fault.text, "offset 0"));
            check_over(&client, dialect);
        }
    }
}

static void an_answer_to_nothing_ends_it(void **state)
{
    FOR_DIALECTS
    {
        CLIENT client = {0};
        make(&client, dialects[dialect]);
        assert_int_equal(receive_answer(&client, value(dialect, 0)), -EPROTO);
        check_over(&client, dialect);
        start(&client, dialect);
        assert_int_equal(receive_answer(&client, value(dialect, 0)), 0);
        assert_int_equal(receive(&client, "", 1), -EPROTO);
        check_over(&client, dialect);
    }
}

static void bytes_behind_an_answer_end_it(void **state)
{
    FOR_DIALECTS
    {
        CLIENT client = {0};
        uint8_t bytes[sizeof(struct answer_bytes)] = {0};
        struct answer_bytes answer = value(dialect, 5);
        memcpy(bytes, answer.bytes, answer.len);
        start(&client, dialect);
        assert_int_equal(receive(&client, bytes, answer.len + 1), -EPROTO);
        check_over(&client, dialect);
    }
}

static void descriptors_that_nobody_asked_for_end_it(void **state)
{
    CLIENT client = {0};
    start(&client, MPQEMU_SHIPPED);
    assert_int_equal(client_received(&client, 0, (int[]){7}, 1), -EPROTO);
    check_over(&client, MPQEMU_SHIPPED);
}

static void calls_without_an_answer_are_bounded(void **state)
{
    CLIENT client = {0};
    uint64_t serial;
    start(&client, MPQEMU_SHIPPED);
    for (int i = 1; i < LIMIT_CLIENT_CALLS; i++)
        ask(&client, &config_read);
    assert_int_equal(client_request(&client, &config_read, &serial), -EBUSY);
    assert_int_equal(receive_answer(&client, value(MPQEMU_SHIPPED, 0)), 0);
    assert_int_equal(client_request(&client, &config_read, &serial), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_message_is_a_memory_table),
        TEST(a_memory_table_carries_its_descriptors),
        TEST(bar_accesses_go_where_the_guest_put_the_bar),
        TEST(the_shipped_dialect_asks_for_the_ids_as_a_heartbeat),
        TEST(an_answer_may_come_in_any_pieces),
        TEST(a_late_answer_is_not_taken_for_another),
        TEST(a_reset_is_answered_by_a_header_alone),
        TEST(answers_of_another_length_end_it),
        TEST(an_answer_that_claims_to_be_huge_ends_it),
        TEST(commands_other_than_ret_end_it),
        TEST(an_answer_to_nothing_ends_it),
        TEST(bytes_behind_an_answer_end_it),
        TEST(descriptors_that_nobody_asked_for_end_it),
        TEST(calls_without_an_answer_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

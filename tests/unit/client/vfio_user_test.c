// SPDX-License-Identifier: BSD-3-Clause
/* The client engine over vfio-user: what it asks, and which answers it takes. */
#include "support.h"

#include <errno.h>
#include <string.h>

#include "client/vfio_user_fixture.h"
#include "failing_alloc.h"

#define GOLDEN(request, bytes) check_golden(&(request), (bytes), sizeof(bytes) - 1)
#define REQUEST(...)                                                                               \
    (const struct client_request)                                                                  \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static void check_golden(const struct client_request *request, const char *bytes, size_t len)
{
    struct fixture f;
    set_up(&f);
    assert_int_equal(ask(&f, request), 1);
    assert_int_equal(f.sent_len, len);
    assert_memory_equal(f.sent, bytes, len);
    tear_down(&f);
}

static void each_request_is_golden(void **state)
{
    GOLDEN(REQUEST(.operation = CLIENT_CONFIG_READ, .offset = 0x2c, .size = 2),
           "\1\0\x09\0\x20\0\0\0\0\0\0\0\0\0\0\0\x2c\0\0\0\0\0\0\0\x07\0\0\0\x02\0\0\0");
    GOLDEN(REQUEST(.operation = CLIENT_CONFIG_WRITE, .offset = 4, .size = 2, .value = 0x107),
           "\1\0\x0a\0\x22\0\0\0\0\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x07\0\0\0\x02\0\0\0\x07\x01");
    GOLDEN(REQUEST(.operation = CLIENT_BAR_READ, .bar = 5, .offset = 0x100000008, .size = 8),
           "\1\0\x09\0\x20\0\0\0\0\0\0\0\0\0\0\0\x08\0\0\0\x01\0\0\0\x05\0\0\0\x08\0\0\0");
    GOLDEN(REQUEST(.operation = CLIENT_BAR_WRITE, .bar = 1, .offset = 3, .size = 1, .value = 0xfe),
           "\1\0\x0a\0\x21\0\0\0\0\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\xfe");
    GOLDEN(REQUEST(.operation = CLIENT_RESET), "\1\0\x0d\0\x10\0\0\0\0\0\0\0\0\0\0\0");
    GOLDEN(REQUEST(.operation = CLIENT_PING),
           "\1\0\x09\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\x04\0\0\0");
}

static void a_message_carries_its_descriptors_on_its_first_byte(void **state)
{
    const int own[] = {7, 8};
    const struct client_message message = {.command = VFIO_USER_DMA_MAP,
                                           .head = (const uint8_t *)"head",
                                           .head_len = 4,
                                           .data = (const uint8_t *)"data",
                                           .data_len = 4};
    const struct client_request request = {
        .operation = CLIENT_MESSAGE, .message = &message, .fds = own, .num_fds = 2};
    struct fixture f;
    size_t len;
    uint64_t serial;
    const int *fds;
    unsigned num_fds;
    set_up(&f);
    assert_int_equal(client_request(&f.client, &request, &serial), 0);
    client_pending(&f.client, &len, &fds, &num_fds);
    assert_int_equal(num_fds, 2);
    assert_int_equal(fds[1], 8);
    assert_int_equal(client_sent(&f.client, 1), 0);
    client_pending(&f.client, &len, &fds, &num_fds);
    assert_int_equal(num_fds, 0);
    send_all(&f);
    assert_memory_equal(f.sent + HEADER - 1, "headdata", 8);
    tear_down(&f);
}

static void a_posted_message_wants_no_answer(void **state)
{
    const struct client_message message = {.command = VFIO_USER_REGION_WRITE, .posted = true};
    const struct client_request request = {.operation = CLIENT_MESSAGE, .message = &message};
    struct fixture f;
    set_up(&f);
    assert_int_equal(ask(&f, &request), 0);
    assert_memory_equal(f.sent, "\0\0\x0a\0\x10\0\0\0\x10\0\0\0\0\0\0\0", HEADER);
    assert_int_equal(f.client.num_calls, 0);
    tear_down(&f);
}

static void what_can_not_be_said_is_refused(void **state)
{
    const struct client_message long_one = {.command = VFIO_USER_REGION_WRITE,
                                            .data_len = VFIO_USER_FRAME_LEN - HEADER + 1};
    const struct client_message message = {.command = VFIO_USER_DMA_MAP};
    const struct client_request requests[] = {
        {.operation = CLIENT_MESSAGE, .message = &long_one},
        {.operation = CLIENT_MESSAGE, .message = &message, .num_fds = LIMIT_VFIO_USER_FDS + 1},
        {.operation = CLIENT_SET_INTX},
    };
    struct fixture f;
    uint64_t serial;
    set_up(&f);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(client_request(&f.client, &requests[i], &serial), -EINVAL);
    assert_int_equal(f.client.tx_len, 0);
    tear_down(&f);
}

static void an_answer_may_come_in_any_pieces(void **state)
{
    uint8_t bytes[ANSWER_LEN];
    size_t len = value_answer(bytes, 1, 0xcafe);
    for (size_t cut = 0; cut < len; cut++) {
        struct fixture f;
        struct client_answer got = {0};
        set_up(&f);
        uint64_t serial = ask(&f, &bar_read);
        assert_int_equal(receive(&f, bytes, cut), 0);
        assert_false(client_answered(&f.client, serial, &got));
        assert_int_equal(receive(&f, bytes + cut, len - cut), 0);
        assert_true(client_answered(&f.client, serial, &got));
        assert_int_equal(got.value, 0xcafe);
        assert_int_equal(got.error, 0);
        tear_down(&f);
    }
}

static void an_answer_of_another_length_ends_it(void **state)
{
    for (size_t len = 0; len < 40; len++) {
        struct fixture f;
        uint64_t serial;
        uint8_t bytes[ANSWER_LEN + 40] = {0}, payload[40] = {[12] = 4};
        set_up(&f);
        ask(&f, &bar_read);
        size_t total = frame(bytes, 1, VFIO_USER_REGION_READ, VFIO_USER_TYPE_REPLY, payload, len);
        assert_int_equal(receive(&f, bytes, total), len == 20 ? 0 : -EPROTO);
        assert_int_equal(client_request(&f.client, &bar_read, &serial), len == 20 ? 0 : -EPROTO);
        tear_down(&f);
    }
}

/* What becomes of an answer to bar_read with one byte of it changed. */
static int receive_changed(size_t at, uint8_t value)
{
    struct fixture f;
    uint8_t bytes[ANSWER_LEN];
    set_up(&f);
    ask(&f, &bar_read);
    size_t len = value_answer(bytes, 1, 5);
    bytes[at] = value;
    int err = receive(&f, bytes, len);
    assert_int_equal(f.client.fault.code, err);
    tear_down(&f);
    return err;
}

static void an_answer_to_another_question_ends_it(void **state)
{
    assert_int_equal(receive_changed(0, 2), -EPROTO);                      /* id */
    assert_int_equal(receive_changed(2, VFIO_USER_REGION_WRITE), -EPROTO); /* command */
    assert_int_equal(receive_changed(4, HEADER - 1), -EPROTO);             /* size */
    assert_int_equal(receive_changed(7, 0x7f), -EPROTO);                   /* size, huge */
    assert_int_equal(receive_changed(8, 2), -EPROTO);           /* neither of the types */
    assert_int_equal(receive_changed(HEADER + 12, 2), -EPROTO); /* count */
    assert_int_equal(receive_changed(HEADER + 16, 9), 0);       /* the value */
}

static void an_answer_to_nothing_ends_it(void **state)
{
    struct fixture f;
    uint8_t bytes[ANSWER_LEN];
    size_t len = value_answer(bytes, 1, 5);
    set_up(&f);
    ask(&f, &bar_read);
    assert_int_equal(receive(&f, bytes, len), 0);
    assert_int_equal(receive(&f, bytes, len), -EPROTO);
    tear_down(&f);
}

static void a_refusal_is_an_answer(void **state)
{
    static const struct {
        uint32_t said;
        int error;
    } cases[] = {{ENXIO, -ENXIO}, {0, -EIO}, {4095, -4095}, {4096, -EIO}, {UINT32_MAX, -EIO}};
    for (unsigned i = 0; i < 5; i++) {
        struct fixture f;
        struct client_answer got = {0};
        uint8_t bytes[HEADER];
        set_up(&f);
        uint64_t serial = ask(&f, &bar_read);
        frame(bytes, serial, VFIO_USER_REGION_READ, VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR, NULL,
              0);
        memcpy(bytes + 12, &cases[i].said, 4);
        assert_int_equal(receive(&f, bytes, HEADER), 0);
        assert_true(client_answered(&f.client, serial, &got));
        assert_int_equal(got.error, cases[i].error);
        tear_down(&f);
    }
}

static void answers_may_come_in_any_order(void **state)
{
    struct fixture f;
    struct client_answer got = {0};
    uint8_t bytes[ANSWER_LEN];
    set_up(&f);
    uint64_t first = ask(&f, &bar_read), second = ask(&f, &bar_read);
    assert_int_equal(receive(&f, bytes, value_answer(bytes, second, 2)), 0);
    assert_false(client_answered(&f.client, first, &got));
    assert_true(client_answered(&f.client, second, &got));
    assert_int_equal(got.value, 2);
    assert_int_equal(receive(&f, bytes, value_answer(bytes, first, 1)), 0);
    assert_true(client_answered(&f.client, second, &got));
    assert_int_equal(got.value, 2); /* the late one is not taken for it */
    tear_down(&f);
}

/* Asks by a message; the reply takes 2 + 6 bytes and one descriptor. */
static uint64_t ask_message(struct fixture *f, struct client_reply *reply, uint8_t *bytes)
{
    static const struct client_message message = {.command = VFIO_USER_DEVICE_GET_INFO};
    *reply = (struct client_reply){
        .head = bytes, .head_len = 2, .data = bytes + 2, .data_len = 6, .max_fds = 1};
    const struct client_request request = {
        .operation = CLIENT_MESSAGE, .message = &message, .reply = reply};
    return ask(f, &request);
}

static void a_reply_takes_what_there_is_room_for(void **state)
{
    for (size_t len = 0; len <= 10; len++) {
        for (unsigned num_fds = 0; num_fds <= 2; num_fds++) {
            struct fixture f;
            struct client_reply reply;
            uint8_t bytes[64], got[8] = {0};
            set_up(&f);
            uint64_t serial = ask_message(&f, &reply, got);
            size_t total = frame(bytes, serial, VFIO_USER_DEVICE_GET_INFO, VFIO_USER_TYPE_REPLY,
                                 "abcdefghij", len);
            bool fits = len <= 8 && num_fds <= 1;
            assert_int_equal(receive_fds(&f, bytes, total, num_fds), fits ? 0 : -EPROTO);
            assert_int_equal(reply.len, fits ? len : 0);
            assert_memory_equal(got, "abcdefgh", fits ? len : 0);
            assert_int_equal(reply.fds.count, fits ? num_fds : 0);
            client_drop(&f.client, &reply);
            tear_down(&f);
            assert_int_equal(f.closed, num_fds);
        }
    }
}

static void a_late_reply_goes_nowhere(void **state)
{
    struct fixture f;
    struct client_reply reply;
    uint8_t bytes[64], got[8] = {0};
    set_up(&f);
    uint64_t serial = ask_message(&f, &reply, got);
    client_forget(&f.client, serial);
    size_t len = frame(bytes, serial, VFIO_USER_DEVICE_GET_INFO, VFIO_USER_TYPE_REPLY,
                       "longer than was asked for", 25);
    assert_int_equal(receive_fds(&f, bytes, len, 3), 0);
    assert_int_equal(reply.len, 0);
    assert_int_equal(got[0], 0);
    assert_int_equal(f.closed, 3);
    assert_int_equal(f.client.num_calls, 0);
    tear_down(&f);
}

static void descriptors_that_nobody_asked_for_are_closed(void **state)
{
    struct fixture f;
    struct client_answer got;
    uint8_t bytes[ANSWER_LEN];
    set_up(&f);
    uint64_t serial = ask(&f, &bar_read);
    size_t len = value_answer(bytes, serial, 5);
    assert_int_equal(receive_fds(&f, bytes, 3, 2), 0);
    assert_int_equal(receive_fds(&f, bytes + 3, len - 3, 3), 0); /* late */
    assert_true(client_answered(&f.client, serial, &got));
    assert_int_equal(f.closed, 5);
    len = dma(bytes, 9, VFIO_USER_DMA_READ, 0, RAM_AT, 1, NULL, 0);
    assert_int_equal(receive_fds(&f, bytes, len, 16), 0);
    assert_int_equal(f.closed, 21);
    assert_int_equal(receive_fds(&f, bytes, 1, 17), -EPROTO);
    tear_down(&f);
    assert_int_equal(f.closed, 38);
}

static void calls_without_an_answer_are_bounded(void **state)
{
    struct fixture f;
    uint64_t serial;
    uint8_t bytes[ANSWER_LEN];
    set_up(&f);
    for (int i = 0; i < LIMIT_CLIENT_CALLS; i++)
        ask(&f, &bar_read);
    assert_int_equal(client_request(&f.client, &bar_read, &serial), -EBUSY);
    assert_int_equal(receive(&f, bytes, value_answer(bytes, 3, 0)), 0);
    assert_int_equal(client_request(&f.client, &bar_read, &serial), 0);
    tear_down(&f);
}

static void an_engine_that_can_not_be_made_leaves_nothing(void **state)
{
    for (unsigned nth = 1; nth <= 2; nth++) {
        struct client client;
        fail_allocation(nth);
        int err = client_init(&client, &client_vfio_user, NULL);
        assert_true(allocation_failed());
        assert_int_equal(err, -ENOMEM);
        assert_null(client.rx);
        assert_null(client.tx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_request_is_golden),
        TEST(a_message_carries_its_descriptors_on_its_first_byte),
        TEST(a_posted_message_wants_no_answer),
        TEST(what_can_not_be_said_is_refused),
        TEST(an_answer_may_come_in_any_pieces),
        TEST(an_answer_of_another_length_ends_it),
        TEST(an_answer_to_another_question_ends_it),
        TEST(an_answer_to_nothing_ends_it),
        TEST(a_refusal_is_an_answer),
        TEST(answers_may_come_in_any_order),
        TEST(a_reply_takes_what_there_is_room_for),
        TEST(a_late_reply_goes_nowhere),
        TEST(descriptors_that_nobody_asked_for_are_closed),
        TEST(calls_without_an_answer_are_bounded),
        TEST(an_engine_that_can_not_be_made_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

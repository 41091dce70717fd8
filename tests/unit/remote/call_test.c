// SPDX-License-Identifier: BSD-3-Clause
/* Calls to a remote that is slow, floods, goes away or refuses. */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/event.h"
#include "remote/client.h"
#include "remote/fixture.h"

/* Says without end that it wants memory, and reads what it gets, until the client has gone. */
static void *ask_without_end(void *argument)
{
    struct fake_remote *remote = argument;
    uint8_t bytes[4096], access[VFIO_USER_ACCESS_LEN] = {0};
    while (recv(remote->fd, bytes, sizeof(bytes), MSG_DONTWAIT) != 0)
        fake_remote_say(remote, 1, VFIO_USER_DMA_READ, 0, access, sizeof(access));
    return NULL;
}

/* Says without end what needs no answer, faster than it can be taken. */
static void *tell_without_end(void *argument)
{
    static const struct vfio_user_header header = {
        .command = VFIO_USER_DMA_WRITE, .size = 32, .flags = VFIO_USER_NO_REPLY};
    const struct fake_remote *remote = argument;
    uint8_t bytes[65536] = {0};
    for (size_t at = 0; at < sizeof(bytes); at += header.size)
        vfio_user_header_put(bytes + at, VFIO_USER_HEADER_LEN, &header);
    for (size_t at = 0;;) {
        ssize_t sent = send(remote->fd, bytes + at, sizeof(bytes) - at, MSG_NOSIGNAL);
        if (sent <= 0)
            return NULL;
        at = (at + (size_t)sent) % sizeof(bytes);
    }
}

static void a_flood_does_not_make_a_call_longer(void **state)
{
    static const unsigned hour_us = 3600u * 1000000;
    static const struct {
        void *(*flood)(void *argument);
        unsigned poll_us;
    } cases[] = {{ask_without_end, 0},
                 {ask_without_end, hour_us},
                 {tell_without_end, 0},
                 {tell_without_end, hour_us}};
    for (unsigned i = 0; i < 4; i++) {
        const struct ob_client_options options = {
            .size = sizeof(options), .timeout_ms = 200, .poll_us = cases[i].poll_us};
        struct fixture f;
        uint32_t value;
        fixture_start_greeted(&f, &options);
        uint64_t before_ns = clock_now_ns();
        assert_int_equal(pthread_create(&f.remote.thread, NULL, cases[i].flood, &f.remote), 0);
        int err = fixture_read_ids(&f, &value);
        assert_true(err == -ETIMEDOUT || err == -ENOTCONN);
        assert_int_equal(value, UINT32_MAX);
        assert_true(clock_now_ns() - before_ns < UINT64_C(1000000) * PATIENCE_MS);
        ob_client_free(f.client);
        fake_remote_join(&f.remote);
        close(f.remote.fd);
    }
}

static void an_end_is_noticed_while_nothing_can_be_received(void **state)
{
    struct fixture f;
    fixture_start_greeted(&f, &fixture_defaults);
    uint8_t *ram = fixture_lend_memory(&f);
    for (unsigned i = 0; i < 3; i++)
        fixture_ask_for_memory(&f.remote);
    assert_int_equal(shutdown(f.remote.fd, SHUT_WR), 0);
    while (ob_client_state(f.client) != OB_CLIENT_LOST)
        fixture_dispatch(&f);
    assert_int_equal(ob_client_fault(f.client)->code, -ENOTCONN);
    munmap(ram, RAM_LEN);
    fixture_stop(&f);
}

static void a_late_answer_makes_it_alive_again(void **state)
{
    const struct ob_client_options options = {.size = sizeof(options), .timeout_ms = 20};
    struct fixture f;
    struct message message;
    uint32_t value;
    fixture_start_greeted(&f, &options);
    assert_int_equal(fixture_read_ids(&f, &value), -ETIMEDOUT);
    fixture_check_state(&f, OB_CLIENT_HUNG);
    assert_int_equal(fixture_read_ids(&f, &value), -ETIMEDOUT);
    fake_remote_take(&f.remote, &message);
    assert_int_equal(fixture_read_some(&f.remote, 1), 0); /* the second was not said */
    fake_remote_say(&f.remote, message.header.id, message.header.command,
                    VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR, NULL, 0);
    fixture_dispatch(&f);
    fixture_check_state(&f, OB_CLIENT_ALIVE);
    fixture_stop(&f);
}

/* What a client told of its remote, and what is said to a question about it. */
struct told {
    enum ob_client_state states[4];
    unsigned count;
    unsigned asked;
    enum ob_client_policy verdict;
};

static void on_state(void *argument, enum ob_client_state client_state,
                     const struct ob_fault *fault)
{
    struct told *told = argument;
    assert_int_equal(fault->code == 0, client_state == OB_CLIENT_ALIVE);
    told->states[told->count++ % 4] = client_state;
}

static enum ob_client_policy on_hung(void *argument, const struct ob_fault *fault)
{
    struct told *told = argument;
    assert_int_equal(fault->code, -ETIMEDOUT);
    told->asked++;
    return told->verdict;
}

/* A client whose remote does not answer, with a policy. */
static int lose_patience(struct fixture *f, struct told *told, enum ob_client_policy policy,
                         bool asks)
{
    const struct ob_client_options options = {
        .size = sizeof(options),
        .timeout_ms = 20,
        .policy = policy,
        .callbacks = {.state_changed = on_state, .hung = asks ? on_hung : NULL},
        .argument = told};
    uint32_t value;
    fixture_start_greeted(f, &options);
    const int err = fixture_read_ids(f, &value);
    assert_int_equal(value, UINT32_MAX);
    return err;
}

static void the_policy_says_what_a_missing_answer_means(void **state)
{
    static const struct {
        enum ob_client_policy policy;
        bool asks;
        enum ob_client_policy verdict;
        int err;
    } cases[] = {
        {OB_CLIENT_REPORT, false, 0, -ETIMEDOUT},
        {OB_CLIENT_FAIL, false, 0, -ENOTCONN},
        {OB_CLIENT_ASK, true, OB_CLIENT_REPORT, -ETIMEDOUT},
        {OB_CLIENT_ASK, true, OB_CLIENT_FAIL, -ENOTCONN},
        {OB_CLIENT_ASK, false, 0, -ETIMEDOUT},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct told told = {.verdict = cases[i].verdict};
        struct fixture f;
        const bool lost = cases[i].err == -ENOTCONN;
        assert_int_equal(lose_patience(&f, &told, cases[i].policy, cases[i].asks), cases[i].err);
        fixture_check_state(&f, lost ? OB_CLIENT_LOST : OB_CLIENT_HUNG);
        assert_int_equal(told.asked, cases[i].asks);
        assert_int_equal(told.count, 1);
        assert_int_equal(told.states[0], lost ? OB_CLIENT_LOST : OB_CLIENT_HUNG);
        fixture_stop(&f);
    }
}

static void a_remote_that_answers_late_is_told_of_twice(void **state)
{
    struct told told = {0};
    struct fixture f;
    struct message message;
    lose_patience(&f, &told, OB_CLIENT_REPORT, false);
    fake_remote_take(&f.remote, &message);
    fake_remote_say(&f.remote, message.header.id, message.header.command,
                    VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR, NULL, 0);
    fixture_dispatch(&f);
    assert_int_equal(told.count, 2);
    assert_int_equal(told.states[1], OB_CLIENT_ALIVE);
    assert_int_equal(ob_client_fault(f.client)->code, 0);
    fixture_stop(&f);
}

static void a_refusal_ends_nothing(void **state)
{
    struct fixture f;
    uint32_t value;
    fixture_start_greeted(&f, &fixture_defaults);
    assert_int_equal(ob_client_refusal(f.client), 0);
    f.remote.refused[VFIO_USER_REGION_READ] = EACCES;
    assert_int_equal(FIXTURE_SERVED(&f, 1, fixture_read_ids(&f, &value)), -EREMOTEIO);
    assert_int_equal(value, UINT32_MAX);
    assert_int_equal(ob_client_refusal(f.client), -EACCES);
    f.remote.refused[VFIO_USER_REGION_READ] = 0;
    assert_int_equal(FIXTURE_SERVED(&f, 1, fixture_read_ids(&f, &value)), 0);
    fixture_stop(&f);
}

/* The remote is lost: nothing is said any more, and nothing is held. */
static void check_lost(struct fixture *f, int code)
{
    uint32_t value;
    fixture_check_state(f, OB_CLIENT_LOST);
    assert_int_equal(ob_client_fault(f->client)->code, code);
    assert_int_equal(f->client->fd, -1);
    assert_int_equal(fixture_read_ids(f, &value), -ENOTCONN);
    assert_int_equal(value, UINT32_MAX);
    assert_int_equal(ob_client_reset(f->client), -ENOTCONN);
}

static void a_remote_that_has_gone_is_lost_to_the_next_call(void **state)
{
    struct fixture f;
    uint32_t value;
    fixture_start_greeted(&f, &fixture_defaults);
    assert_int_equal(shutdown(f.remote.fd, SHUT_RDWR), 0);
    assert_int_equal(fixture_read_ids(&f, &value), -ENOTCONN);
    check_lost(&f, -ENOTCONN);
    fixture_stop(&f);
}

static void an_answer_to_no_question_ends_it(void **state)
{
    struct fixture f;
    fixture_start_greeted(&f, &fixture_defaults);
    fake_remote_say(&f.remote, 4711, VFIO_USER_REGION_READ, VFIO_USER_TYPE_REPLY, NULL, 0);
    fixture_dispatch(&f);
    check_lost(&f, -EPROTO);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_flood_does_not_make_a_call_longer),
        TEST(an_end_is_noticed_while_nothing_can_be_received),
        TEST(a_late_answer_makes_it_alive_again),
        TEST(the_policy_says_what_a_missing_answer_means),
        TEST(a_remote_that_answers_late_is_told_of_twice),
        TEST(a_refusal_ends_nothing),
        TEST(a_remote_that_has_gone_is_lost_to_the_next_call),
        TEST(an_answer_to_no_question_ends_it),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/dial.h"

#include "support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "os/clock.h"

#define NO_ANSWER 1

struct party {
    struct loop *loop;
    struct timers timers;
    struct children *children;
    struct dialer dialer;
    int listener;
    struct address address; /* of the listener */
};

static void listen_somewhere(struct party *party)
{
    struct sockaddr_storage kernel = {.ss_family = AF_INET};
    struct sockaddr_in *ipv4 = (struct sockaddr_in *)&kernel;
    socklen_t len = sizeof(*ipv4);
    ipv4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    party->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(party->listener >= 0);
    assert_int_equal(bind(party->listener, (struct sockaddr *)ipv4, len), 0);
    assert_int_equal(listen(party->listener, 1), 0);
    assert_int_equal(getsockname(party->listener, (struct sockaddr *)ipv4, &len), 0);
    address_from_kernel(&kernel, &party->address);
}

static void set_up(struct party *party)
{
    *party = (struct party){0};
    timers_init(&party->timers);
    assert_int_equal(loop_new(&party->loop), 0);
    assert_int_equal(children_new(party->loop, &party->children), 0);
    dialer_init(&party->dialer, party->loop, &party->timers, party->children);
    listen_somewhere(party);
}

static void tear_down(struct party *party)
{
    assert_int_equal(party->dialer.count, 0);
    assert_true(list_empty(&party->dialer.dials));
    assert_int_equal(timers_next(&party->timers), TIMER_NEVER);
    close(party->listener);
    children_free(party->children);
    loop_free(party->loop);
}

static void on_answer(void *argument, int fd)
{
    int *result = argument;
    assert_int_equal(*result, NO_ANSWER);
    *result = fd;
}

/* Until there is an answer: each attempt has a time limit, so one comes. */
static void wait_for(struct party *party, const int *result)
{
    while (*result == NO_ANSWER) {
        assert_true(loop_wait(party->loop, 1) >= 0);
        timers_run(&party->timers, clock_now_ns());
    }
}

static void it_connects_from_the_loop(void **state)
{
    struct party party;
    struct dial *dial;
    int result = NO_ANSWER;
    set_up(&party);
    assert_int_equal(dial_start(&party.dialer, &party.address, NULL, on_answer, &result, &dial), 0);
    assert_int_equal(result, NO_ANSWER);
    assert_int_equal(party.dialer.count, 1);
    wait_for(&party, &result);
    assert_true(result > 2);
    close(result);
    tear_down(&party);
}

static void what_the_rules_forbid_is_told_from_the_loop(void **state)
{
    const struct rules none = {0};
    struct party party;
    struct dial *dial;
    int result = NO_ANSWER;
    set_up(&party);
    assert_int_equal(dial_start(&party.dialer, &party.address, &none, on_answer, &result, &dial),
                     0);
    assert_int_equal(result, NO_ANSWER);
    wait_for(&party, &result);
    assert_int_equal(result, -EACCES);
    tear_down(&party);
}

static void a_dial_that_is_cancelled_gives_no_answer(void **state)
{
    struct party party;
    struct dial *dial;
    int result = NO_ANSWER;
    set_up(&party);
    assert_int_equal(dial_start(&party.dialer, &party.address, NULL, on_answer, &result, &dial), 0);
    dial_cancel(dial);
    assert_int_equal(loop_wait(party.loop, 0), 0);
    assert_int_equal(result, NO_ANSWER);
    tear_down(&party);
}

/* The kernel connects before the loop looks: who accepted must not take that for an orderly end. */
static void a_dial_that_is_cancelled_resets_its_connection(void **state)
{
    struct party party;
    struct dial *dial;
    int result = NO_ANSWER;
    char byte;
    set_up(&party);
    assert_int_equal(dial_start(&party.dialer, &party.address, NULL, on_answer, &result, &dial), 0);
    int accepted = accept(party.listener, NULL, NULL);
    assert_true(accepted >= 0);
    dial_cancel(dial);
    assert_int_equal(recv(accepted, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    close(accepted);
    tear_down(&party);
}

static void a_name_that_no_rule_could_allow_is_not_resolved(void **state)
{
    const struct rules none = {0};
    const struct address name = {.kind = ADDRESS_TCP, .name = "name.invalid", .port = 1};
    struct party party;
    struct dial *dial;
    int result = NO_ANSWER;
    set_up(&party);
    assert_int_equal(dial_start(&party.dialer, &name, &none, on_answer, &result, &dial), -EACCES);
    assert_int_equal(result, NO_ANSWER);
    tear_down(&party);
}

/* The answers are taken before the loop has said that anything is connected. Where descriptors run
 * out the last ones fail; the first has its own. */
static void above_the_limit_the_oldest_gives_way(void **state)
{
    static struct dial *dials[LIMIT_DIALS + 1];
    static int results[LIMIT_DIALS + 1];
    struct party party;
    set_up(&party);
    for (int i = 0; i <= LIMIT_DIALS; i++) {
        results[i] = NO_ANSWER;
        assert_int_equal(
            dial_start(&party.dialer, &party.address, NULL, on_answer, &results[i], &dials[i]), 0);
    }
    timers_run(&party.timers, clock_now_ns());
    assert_int_equal(results[0], -ETIMEDOUT);
    assert_int_equal(results[1], NO_ANSWER);
    for (int i = 1; i <= LIMIT_DIALS; i++) {
        if (results[i] == NO_ANSWER)
            dial_cancel(dials[i]);
        else
            assert_int_equal(results[i], -EMFILE);
    }
    tear_down(&party);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_connects_from_the_loop),
        TEST(what_the_rules_forbid_is_told_from_the_loop),
        TEST(a_dial_that_is_cancelled_gives_no_answer),
        TEST(a_dial_that_is_cancelled_resets_its_connection),
        TEST(a_name_that_no_rule_could_allow_is_not_resolved),
        TEST(above_the_limit_the_oldest_gives_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

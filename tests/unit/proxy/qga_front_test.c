// SPDX-License-Identifier: BSD-3-Clause
/* Many clients and one qemu-ga, which is the test: each client gets the answers to its own requests. */
#include "proxy/qga_front.h"

#include "qga_caller.h"
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"

#define FRONT "--stock-qga-socket=@/qga"

static int connect_client(struct caller *caller)
{
    return lab_connect(&caller->lab, "qga");
}

static void begin(struct caller *caller)
{
    caller_start(caller, FRONT);
    caller->answers = true;
}

/* The first thing that a front says: FF and a sync, behind which all earlier answers end. */
static void welcome(struct caller *caller)
{
    long long number;
    qga_expect_request(caller, "\xff\n", &number);
    assert_string_equal(caller->service, QGA_SERVICE);
    qga_say_text(caller, "{\"return\": \"of a client before\"}\n");
    qga_say_sync(caller, number);
}

static void one_client_after_the_other_is_answered(void **state)
{
    struct caller caller;
    long long number;
    begin(&caller);
    int first = connect_client(&caller), second = connect_client(&caller);
    lab_send(first, "{\"n\": 1}{\"n\": 2}", 16);
    welcome(&caller);
    qga_expect_request(&caller, "{\"n\": 1}\n", &number);
    lab_send(second, "{\"n\": 3}", 8);
    qga_say_text(&caller, "{\"return\": 1}\n");
    qga_say_sync(&caller, number);
    lab_expect_text(&caller.lab, first, "{\"return\": 1}\n");
    qga_expect_request(&caller, "{\"n\": 3}\n", &number); /* by turns, though 2 has waited longer */
    qga_say_text(&caller, "{\"return\": 3}\n");
    qga_say_sync(&caller, number);
    lab_expect_text(&caller.lab, second, "{\"return\": 3}\n");
    qga_expect_request(&caller, "{\"n\": 2}\n", &number);
    qga_say_sync(&caller, number); /* no answer at all, as guest-shutdown has */
    close(first);
    close(second);
    caller_stop(&caller);
}

/* The answer to one that has gone is nobody else's. */
static void the_answer_to_one_that_vanished_reaches_nobody(void **state)
{
    struct caller caller;
    long long number;
    begin(&caller);
    int first = connect_client(&caller), second = connect_client(&caller);
    lab_send(first, "{\"n\": 1}", 8);
    welcome(&caller);
    qga_expect_request(&caller, "{\"n\": 1}\n", &number);
    close(first);
    lab_send(second, "{\"n\": 2}", 8);
    qga_say_text(&caller, "{\"return\": \"a secret of the first\"}\n");
    qga_say_sync(&caller, number);
    qga_expect_request(&caller, "{\"n\": 2}\n", &number);
    qga_say_text(&caller, "{\"return\": 2}\n");
    qga_say_sync(&caller, number);
    lab_expect_text(&caller.lab, second, "{\"return\": 2}\n");
    close(second);
    caller_stop(&caller);
}

/* Every cut of an answer with marks of the client's own sync, of liars and of chance in it. */
static void an_answer_is_whole_in_whichever_pieces_it_comes(void **state)
{
    static const char answer[] = "{\"return\": 1}\n"
                                 "\xff{\"return\": 7}\n"      /* the client's own sync */
                                 "\xff\xff{\"return\": -1}\n" /* not ours either */
                                 "\xff{\"error\": {}}\n"
                                 "\xff"
                                 "\n"
                                 "\xff{\"return\": \"text\"}\n";
    struct caller caller;
    long long number;
    begin(&caller);
    int client = connect_client(&caller);
    lab_send(client, "{\"n\": 0}", 8);
    welcome(&caller);
    for (size_t cut = 0; cut < sizeof(answer); cut++) {
        qga_expect_request(&caller, "{\"n\": 0}\n", &number);
        caller_say(&caller, answer, cut);
        caller_until(&caller, caller_was_read, &caller);
        caller_say(&caller, answer + cut, sizeof(answer) - 1 - cut);
        qga_say_sync(&caller, number);
        lab_expect(&caller.lab, client, answer, sizeof(answer) - 1);
        lab_send(client, "{\"n\": 0}", 8);
    }
    close(client);
    caller_stop(&caller);
}

/* No end of line for longer than any sync: it is passed on, and kept nowhere. */
static void a_line_without_an_end_is_passed_on(void **state)
{
    static char line[2000] = "\xff";
    struct caller caller;
    long long number;
    memset(line + 1, 'x', sizeof(line) - 1);
    begin(&caller);
    int client = connect_client(&caller);
    lab_send(client, "{\"n\": 1}", 8);
    welcome(&caller);
    qga_expect_request(&caller, "{\"n\": 1}\n", &number);
    caller_say(&caller, line, sizeof(line));
    qga_say_sync(&caller, number);
    lab_expect(&caller.lab, client, line, sizeof(line));
    lab_send(client, "{\"n\": 2}", 8);
    qga_expect_request(&caller, "{\"n\": 2}\n", &number);
    close(client);
    caller_stop(&caller);
}

/* Numbers are random: a guest can't end a request of the next client by an old answer. */
static void an_old_sync_ends_no_later_answer(void **state)
{
    struct caller caller;
    long long first, second;
    char old[64];
    begin(&caller);
    int client = connect_client(&caller);
    lab_send(client, "{\"n\": 1}", 8);
    welcome(&caller);
    qga_expect_request(&caller, "{\"n\": 1}\n", &first);
    qga_say_sync(&caller, first);
    lab_send(client, "{\"n\": 2}", 8);
    qga_expect_request(&caller, "{\"n\": 2}\n", &second);
    assert_true(first != second);
    snprintf(old, sizeof(old), "\xff{\"return\": %lld}\n", first);
    qga_say_text(&caller, old);
    qga_say_sync(&caller, second);
    lab_expect_text(&caller.lab, client, old); /* part of the answer */
    close(client);
    caller_stop(&caller);
}

static void expect_error(struct caller *caller, int client, const char *part)
{
    char line[300];
    lab_read_line(&caller->lab, client, line, sizeof(line));
    assert_non_null(strstr(line, "\"class\": \"GenericError\""));
    assert_non_null(strstr(line, "the guest's agent can't be reached: "));
    if (!strstr(line, part))
        fail_msg("got '%s', expected '%s' in it", line, part);
}

static void without_a_session_each_request_is_an_error(void **state)
{
    struct caller caller;
    begin(&caller);
    ob_session_end(caller.lab.ends[LAB_OURS].proxy.session, OB_REASON_SHUTDOWN, 0);
    int client = connect_client(&caller);
    lab_send(client, "{\"n\": 1}{\"n\": 2}{\"n\": 3}", 24);
    for (int i = 0; i < 3; i++)
        expect_error(&caller, client, "no session");
    close(client);
    caller_stop(&caller);
}

static void a_guest_without_qemu_ga_is_an_error_for_each(void **state)
{
    struct caller caller;
    int clients[2];
    begin(&caller);
    caller.answers = false;
    for (int i = 0; i < 2; i++) {
        clients[i] = connect_client(&caller);
        lab_send(clients[i], "{\"n\": 1}", 8);
    }
    caller_take_none(&caller, OB_REASON_NO_SERVICE);
    for (int i = 0; i < 2; i++) {
        expect_error(&caller, clients[i], "service");
        close(clients[i]);
    }
    caller_stop(&caller);
}

/* Half an answer is no answer: its client sees the end alone, the others an error, and the next request
 * connects again. */
static void qemu_ga_that_ends_within_an_answer_ends_its_client(void **state)
{
    struct caller caller;
    long long number;
    begin(&caller);
    int first = connect_client(&caller), second = connect_client(&caller);
    lab_send(first, "{\"n\": 1}", 8);
    welcome(&caller);
    qga_expect_request(&caller, "{\"n\": 1}\n", &number);
    lab_send(second, "{\"n\": 2}", 8);
    qga_say_text(&caller, "{\"ret");
    ob_stream_reset(caller_keep(&caller), OB_REASON_FAILED);
    lab_expect_end(&caller.lab, first);
    expect_error(&caller, second, "");
    lab_send(second, "{\"n\": 3}", 8);
    welcome(&caller);
    qga_expect_request(&caller, "{\"n\": 3}\n", &number);
    qga_say_text(&caller, "{\"return\": 3}\n");
    qga_say_sync(&caller, number);
    lab_expect_text(&caller.lab, second, "{\"return\": 3}\n");
    close(first);
    close(second);
    caller_stop(&caller);
}

static void an_orderly_end_of_qemu_ga_is_no_answer(void **state)
{
    struct caller caller;
    long long number;
    begin(&caller);
    int client = connect_client(&caller);
    lab_send(client, "{\"n\": 1}", 8);
    welcome(&caller);
    qga_expect_request(&caller, "{\"n\": 1}\n", &number);
    assert_int_equal(ob_stream_shutdown(caller.stream), 0);
    lab_expect_end(&caller.lab, client);
    close(client);
    caller_stop(&caller);
}

/* A guest that says more than was asked is read, and nobody hears it. */
static void bytes_that_nobody_asked_for_are_dropped(void **state)
{
    struct caller caller;
    long long number;
    begin(&caller);
    int client = connect_client(&caller);
    lab_send(client, "{\"n\": 1}", 8);
    welcome(&caller);
    qga_expect_request(&caller, "{\"n\": 1}\n", &number);
    qga_say_sync(&caller, number);
    qga_say_text(&caller, "{\"return\": \"unasked\"}\n\xff{\"return\": 1}\n");
    lab_send(client, "{\"n\": 2}", 8);
    qga_expect_request(&caller, "{\"n\": 2}\n", &number);
    qga_say_text(&caller, "{\"return\": 2}\n");
    qga_say_sync(&caller, number);
    char line[100];
    do /* what came before the request was read may be dropped, or be part of the answer */
        lab_read_line(&caller.lab, client, line, sizeof(line));
    while (strcmp(line, "{\"return\": 2}") != 0);
    close(client);
    caller_stop(&caller);
}

struct arrivals {
    struct caller *caller;
    int fd;
};

static bool has_ended(void *argument)
{
    char byte;
    return recv(((struct arrivals *)argument)->fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void clients_beyond_the_limit_are_turned_away(void **state)
{
    static int clients[LIMIT_AGENT_CLIENTS + 1];
    struct caller caller;
    begin(&caller);
    for (unsigned i = 0; i <= LIMIT_AGENT_CLIENTS; i++) {
        clients[i] = connect_client(&caller);
        lab_send(clients[i], "[", 1);
        struct arrivals arrivals = {&caller, clients[i]};
        if (i == LIMIT_AGENT_CLIENTS)
            caller_until(&caller, has_ended, &arrivals);
        else if (i % 4 == 3) /* the kernel's queue of connections is short */
            proxy_turn(&caller.lab.ends[LAB_OURS].proxy, false);
    }
    close(clients[0]);
    close(clients[LIMIT_AGENT_CLIENTS]);
    int next = connect_client(&caller); /* there is room again */
    lab_send(next, "{\"n\": 1}", 8);
    welcome(&caller);
    for (unsigned i = 1; i < LIMIT_AGENT_CLIENTS; i++)
        close(clients[i]);
    close(next);
    caller_stop(&caller);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_client_after_the_other_is_answered),
        TEST(the_answer_to_one_that_vanished_reaches_nobody),
        TEST(an_answer_is_whole_in_whichever_pieces_it_comes),
        TEST(a_line_without_an_end_is_passed_on),
        TEST(an_old_sync_ends_no_later_answer),
        TEST(without_a_session_each_request_is_an_error),
        TEST(a_guest_without_qemu_ga_is_an_error_for_each),
        TEST(qemu_ga_that_ends_within_an_answer_ends_its_client),
        TEST(an_orderly_end_of_qemu_ga_is_no_answer),
        TEST(bytes_that_nobody_asked_for_are_dropped),
        TEST(clients_beyond_the_limit_are_turned_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

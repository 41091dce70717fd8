// SPDX-License-Identifier: BSD-3-Clause
/* A client of the front of a qemu-ga: what of its bytes becomes a request, and what it is told. */
#include "endpoint/qga_client.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "failing_alloc.h"
#include "os/closer.h"

#define TEXT_LEN 4096

/* The owner of one client, which answers nothing by itself. */
struct owner {
    struct loop *loop;
    struct qga_client *client; /* NULL: it has gone */
    int fd;                    /* the client's program has it; -1: closed */
    unsigned requests;
    char request[TEXT_LEN]; /* the last one */
    char heard[TEXT_LEN];
    size_t heard_len;
};

static void on_client(void *argument, struct qga_client *client, bool gone)
{
    struct owner *owner = argument;
    assert_ptr_equal(client, owner->client);
    if (gone) {
        qga_client_free(client);
        owner->client = NULL;
        return;
    }
    assert_true(client->has_request);
    owner->requests++;
    snprintf(owner->request, sizeof(owner->request), "%.*s", (int)client->frame.len,
             client->frame.bytes);
}

static void begin(struct owner *owner)
{
    int ends[2];
    *owner = (struct owner){.fd = -1};
    assert_int_equal(closer_start(), 0);
    assert_int_equal(loop_new(&owner->loop), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    owner->fd = ends[0];
    assert_int_equal(qga_client_new(owner->loop, ends[1], on_client, owner, &owner->client), 0);
}

static void end(struct owner *owner)
{
    if (owner->client)
        qga_client_free(owner->client);
    if (owner->fd >= 0)
        close(owner->fd);
    loop_free(owner->loop);
    closer_stop(0);
}

/* Until nothing is to be done, and all that it was told is heard. */
static void turn(struct owner *owner)
{
    ssize_t got;
    while (loop_wait(owner->loop, 0) > 0)
        ;
    while (owner->fd >= 0 && (got = recv(owner->fd, owner->heard + owner->heard_len,
                                         sizeof(owner->heard) - 1 - owner->heard_len, 0)) > 0)
        owner->heard_len += (size_t)got;
    owner->heard[owner->heard_len] = '\0';
}

static void say(struct owner *owner, const char *bytes, size_t len)
{
    assert_int_equal(send(owner->fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
    turn(owner);
}

static void say_text(struct owner *owner, const char *text)
{
    say(owner, text, strlen(text));
}

static void answer(struct owner *owner, const char *text)
{
    qga_client_put(owner->client, text, strlen(text));
    qga_client_answered(owner->client);
    turn(owner);
}

static void expect_heard(struct owner *owner, const char *text)
{
    assert_string_equal(owner->heard, text);
    owner->heard_len = 0;
    owner->heard[0] = '\0';
}

/* An error of ours, the only thing heard. */
static void expect_error(struct owner *owner, const char *part)
{
    static const char start[] = "{\"error\": {\"class\": \"GenericError\", \"desc\": \"";
    assert_memory_equal(owner->heard, start, sizeof(start) - 1);
    if (!strstr(owner->heard, part))
        fail_msg("got '%s', expected '%s' in it", owner->heard, part);
    assert_int_equal(owner->heard[owner->heard_len - 1], '\n');
    assert_ptr_equal(strchr(owner->heard, '\n'), owner->heard + owner->heard_len - 1);
    owner->heard_len = 0;
}

static void requests_come_one_by_one(void **state)
{
    struct owner owner;
    begin(&owner);
    say_text(&owner, "{\"execute\": \"a\"}\n{\"execute\": \"b\"}{\"execute\": \"c\"}");
    assert_int_equal(owner.requests, 1);
    assert_string_equal(owner.request, "{\"execute\": \"a\"}");
    turn(&owner);
    assert_int_equal(owner.requests, 1); /* until it is answered */
    answer(&owner, "{\"return\": 1}\n");
    expect_heard(&owner, "{\"return\": 1}\n");
    assert_int_equal(owner.requests, 2);
    assert_string_equal(owner.request, "{\"execute\": \"b\"}");
    answer(&owner, "{\"return\": 2}\n");
    assert_string_equal(owner.request, "{\"execute\": \"c\"}");
    answer(&owner, "");
    expect_heard(&owner, "{\"return\": 2}\n");
    assert_int_equal(owner.requests, 3);
    end(&owner);
}

static void a_request_may_come_in_any_two_pieces(void **state)
{
    static const char text[] = "\xff {\"execute\": \"a}\\\"\", \"arguments\": {\"x\": [1, {}]}} \n";
    for (size_t cut = 0; cut < sizeof(text); cut++) {
        struct owner owner;
        begin(&owner);
        say(&owner, text, cut);
        say(&owner, text + cut, sizeof(text) - 1 - cut);
        assert_int_equal(owner.requests, 1);
        assert_string_equal(owner.request,
                            "{\"execute\": \"a}\\\"\", \"arguments\": {\"x\": [1, {}]}}");
        expect_heard(&owner, "");
        end(&owner);
    }
}

/* What is no JSON never reaches qemu-ga's parser; the byte is named, and the next request counts. */
static void what_is_no_json_is_an_error_and_the_next_request_counts(void **state)
{
    static const struct {
        const char *text, *error;
    } rows[] = {
        {"{\"execute\": }\n", "JSON parse error at byte "},
        {"{\"execute\" \"a\"}\n", "JSON parse error at byte "},
        {"[1, 2,]\n", "JSON parse error at byte "},
        {"noise\n", "JSON parse error at byte 0: '{' was expected"},
        {"{\"a\": \"\x01\"}\n", "JSON parse error at byte 7: "},
        {"{\"a\": \"\\ud800\"}\n", "JSON parse error at byte "},
        {"{\"a\": \"\xc0\xaf\"}\n", "JSON parse error at byte "},
        {"{]\n", "JSON parse error at byte "},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct owner owner;
        begin(&owner);
        say_text(&owner, rows[i].text);
        assert_int_equal(owner.requests, 0);
        char *behind_first = strchr(owner.heard, '\n');
        assert_non_null(behind_first); /* one fault may be told in several lines */
        if (!strstr(owner.heard, rows[i].error))
            fail_msg("'%s': got '%s', expected '%s'", rows[i].text, owner.heard, rows[i].error);
        owner.heard_len = 0;
        say_text(&owner, "\xff{\"execute\": \"next\"}");
        assert_int_equal(owner.requests, 1);
        assert_string_equal(owner.request, "{\"execute\": \"next\"}");
        end(&owner);
    }
}

static void the_byte_of_a_fault_counts_from_the_first_of_the_connection(void **state)
{
    struct owner owner;
    begin(&owner);
    say_text(&owner, "{\"execute\": \"a\"}");
    answer(&owner, "");
    say_text(&owner, "     noise\n");
    expect_error(&owner, "JSON parse error at byte 21: ");
    end(&owner);
}

static void a_mark_drops_half_a_request(void **state)
{
    struct owner owner;
    begin(&owner);
    say_text(&owner, "{\"execute\": \"half");
    say_text(&owner, "\xff{\"execute\": \"whole\"}");
    assert_int_equal(owner.requests, 1);
    assert_string_equal(owner.request, "{\"execute\": \"whole\"}");
    end(&owner);
}

static void nesting_without_an_end_is_an_error(void **state)
{
    struct owner owner;
    char deep[LIMIT_JSON_DEPTH + 10];
    memset(deep, '[', sizeof(deep));
    begin(&owner);
    say(&owner, deep, sizeof(deep));
    assert_int_equal(owner.requests, 0);
    expect_error(&owner, "too many nested values");
    end(&owner);
}

/* It asks and ends its direction at once, as socat does: the answer still comes. */
static void an_end_behind_a_request_waits_for_the_answer(void **state)
{
    struct owner owner;
    begin(&owner);
    assert_int_equal(send(owner.fd, "{\"execute\": \"a\"}", 16, 0), 16);
    assert_int_equal(shutdown(owner.fd, SHUT_WR), 0);
    turn(&owner);
    assert_int_equal(owner.requests, 1);
    assert_non_null(owner.client);
    answer(&owner, "{\"return\": 1}\n");
    expect_heard(&owner, "{\"return\": 1}\n");
    assert_null(owner.client);
    end(&owner);
}

static void one_that_closes_goes_with_its_request(void **state)
{
    struct owner owner;
    begin(&owner);
    say_text(&owner, "{\"execute\": \"a\"}");
    close(owner.fd);
    owner.fd = -1;
    turn(&owner);
    assert_null(owner.client);
    end(&owner);
}

static void half_a_request_and_the_end_is_no_request(void **state)
{
    struct owner owner;
    begin(&owner);
    say_text(&owner, "{\"execute\": ");
    close(owner.fd);
    owner.fd = -1;
    turn(&owner);
    assert_null(owner.client);
    assert_int_equal(owner.requests, 0);
    end(&owner);
}

/* Many requests and no reading: memory stays bounded, since nothing is taken before the answer is.
 */
static void one_that_does_not_read_is_not_read(void **state)
{
    static char big[1u << 20];
    struct owner owner;
    memset(big, 'x', sizeof(big));
    begin(&owner);
    assert_int_equal(send(owner.fd, "{\"n\": 1}{\"n\": 2}", 16, 0), 16);
    while (loop_wait(owner.loop, 0) > 0)
        ;
    assert_int_equal(owner.requests, 1);
    qga_client_put(owner.client, big, sizeof(big));
    qga_client_answered(owner.client);
    while (loop_wait(owner.loop, 0) > 0)
        ;
    assert_int_equal(owner.requests, 1);
    size_t heard = 0;
    for (ssize_t got; owner.requests < 2;) {
        while ((got = recv(owner.fd, big, sizeof(big), 0)) > 0)
            heard += (size_t)got;
        while (loop_wait(owner.loop, 0) > 0)
            ;
    }
    assert_string_equal(owner.request, "{\"n\": 2}");
    for (ssize_t got; (got = recv(owner.fd, big, sizeof(big), 0)) > 0;)
        heard += (size_t)got;
    assert_int_equal(heard, sizeof(big));
    end(&owner);
}

static void an_answer_beyond_the_limit_ends_the_connection(void **state)
{
    static char big[1u << 20];
    struct owner owner;
    memset(big, 'x', sizeof(big));
    begin(&owner);
    say_text(&owner, "{\"execute\": \"a\"}");
    for (size_t i = 0; i <= LIMIT_AGENT_ANSWER / sizeof(big); i++)
        qga_client_put(owner.client, big, sizeof(big));
    assert_true(owner.client->dead);
    qga_client_answered(owner.client);
    assert_null(owner.client);
    end(&owner);
}

static void an_error_of_ours_is_one_line_of_json(void **state)
{
    struct owner owner;
    begin(&owner);
    say_text(&owner, "{\"execute\": \"a\"}");
    qga_client_put_error(owner.client, "no \"agent\"\nhere");
    qga_client_put_error(owner.client, "again");
    qga_client_answered(owner.client);
    turn(&owner);
    expect_heard(&owner, "{\"error\": {\"class\": \"GenericError\", \"desc\": "
                         "\"no \\\"agent\\\"\\nhere\"}}\n"
                         "{\"error\": {\"class\": \"GenericError\", \"desc\": \"again\"}}\n");
    end(&owner);
}

static void allocations_that_fail_close_the_connection(void **state)
{
    struct owner owner;
    begin(&owner);
    for (unsigned nth = 1;; nth++) {
        struct qga_client *client = NULL;
        int ends[2];
        char byte;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends),
                         0);
        fail_allocation(nth);
        int err = qga_client_new(owner.loop, ends[1], on_client, &owner, &client);
        bool failed = allocation_failed();
        if (!failed)
            qga_client_free(client);
        assert_int_equal(err, failed ? -ENOMEM : 0);
        assert_int_equal(recv(ends[0], &byte, 1, 0), 0); /* closed in both cases */
        close(ends[0]);
        if (!failed)
            break;
    }
    end(&owner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_come_one_by_one),
        TEST(a_request_may_come_in_any_two_pieces),
        TEST(what_is_no_json_is_an_error_and_the_next_request_counts),
        TEST(the_byte_of_a_fault_counts_from_the_first_of_the_connection),
        TEST(a_mark_drops_half_a_request),
        TEST(nesting_without_an_end_is_an_error),
        TEST(an_end_behind_a_request_waits_for_the_answer),
        TEST(one_that_closes_goes_with_its_request),
        TEST(half_a_request_and_the_end_is_no_request),
        TEST(one_that_does_not_read_is_not_read),
        TEST(an_answer_beyond_the_limit_ends_the_connection),
        TEST(an_error_of_ours_is_one_line_of_json),
        TEST(allocations_that_fail_close_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

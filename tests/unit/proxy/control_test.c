// SPDX-License-Identifier: BSD-3-Clause
/* Clients of the control socket: lines whole, in pieces, many at once, and none that is understood.
 */
#include "proxy/control.h"

#include "lab.h"
#include "support.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"

#define CONTROL "--control=@/control"
#define LINE    512

static void say(int fd, const char *line)
{
    lab_send(fd, line, strlen(line));
}

static void expect_line(struct lab *lab, int fd, const char *beginning)
{
    char line[LINE];
    lab_read_line(lab, fd, line, sizeof(line));
    if (strncmp(line, beginning, strlen(beginning)) != 0)
        fail_msg("got '%s', expected '%s'", line, beginning);
}

static void ping_and_wait_are_answered_in_order(void **state)
{
    struct lab lab;
    lab_start(&lab, CONTROL, "");
    int client = lab_connect(&lab, "control");
    say(client, "WAIT\n");
    expect_line(&lab, client, "UP ");
    say(client, "PING\nPING\n");
    expect_line(&lab, client, "PONG ");
    expect_line(&lab, client, "PONG ");
    close(client);
    lab_stop(&lab);
}

struct ticks {
    unsigned left;
};

static bool have_passed(void *argument)
{
    return ((struct ticks *)argument)->left-- == 0;
}

static void a_line_may_come_byte_by_byte(void **state)
{
    struct lab lab;
    lab_start(&lab, CONTROL, "");
    lab_until_up(&lab);
    int client = lab_connect(&lab, "control");
    for (const char *at = "PING\n"; *at; at++) {
        struct ticks ticks = {.left = 2};
        lab_send(client, at, 1);
        lab_until(&lab, have_passed, &ticks);
    }
    expect_line(&lab, client, "PONG ");
    close(client);
    lab_stop(&lab);
}

static void status_tells_of_the_session_and_its_streams(void **state)
{
    struct lab lab;
    lab_start(&lab, CONTROL, "-s cat=exec:cat");
    lab_until_up(&lab);
    int stream = lab_connect(&lab, "control");
    say(stream, "OPEN cat\n");
    expect_line(&lab, stream, "OK");
    int client = lab_connect(&lab, "control");
    say(client, "STATUS\n");
    expect_line(&lab, client, "up: session ");
    close(client);
    client = lab_connect(&lab, "control");
    say(client, "STATUS json\n");
    char json[4096];
    lab_read_line(&lab, client, json, sizeof(json));
    assert_non_null(strstr(json, "\"up\": true"));
    assert_non_null(strstr(json, "\"service\": \"cat\", \"opened_by\": \"us\""));
    lab_expect_end(&lab, client);
    close(client);
    close(stream);
    lab_stop(&lab);
}

static void an_open_becomes_its_stream(void **state)
{
    struct lab lab;
    lab_start(&lab, CONTROL, "-s cat=exec:cat");
    lab_until_up(&lab);
    int client = lab_connect(&lab, "control");
    say(client, "OPEN cat\nahead");
    expect_line(&lab, client, "OK");
    lab_expect_text(&lab, client, "ahead");
    shutdown(client, SHUT_WR);
    lab_expect_end(&lab, client);
    close(client);
    lab_stop(&lab);
}

static void what_is_refused_is_told_why(void **state)
{
    static const char *const cases[][2] = {
        {"OPEN nope\n", "REFUSED "}, {"RUN @run\n", "REFUSED "},
        {"NONSENSE\n", "ERROR "},    {"STATUS as a poem\n", "ERROR "},
        {"OPEN \n", "ERROR "},       {"\n", "ERROR "},
        {"ping\n", "ERROR "},        {"PING twice\n", "ERROR "},
    };
    struct lab lab;
    lab_start(&lab, CONTROL, "-s cat=exec:cat");
    lab_until_up(&lab);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int client = lab_connect(&lab, "control");
        say(client, cases[i][0]);
        expect_line(&lab, client, cases[i][1]);
        lab_expect_end(&lab, client);
        close(client);
    }
    lab_stop(&lab);
}

static void a_line_without_an_end_is_an_error(void **state)
{
    struct lab lab;
    char line[4096];
    memset(line, 'x', sizeof(line));
    lab_start(&lab, CONTROL, "");
    lab_until_up(&lab);
    int client = lab_connect(&lab, "control");
    lab_send(client, line, sizeof(line));
    expect_line(&lab, client, "ERROR ");
    lab_expect_end(&lab, client);
    close(client);
    lab_stop(&lab);
}

static void one_client_too_many_is_told_its_number(void **state)
{
    struct lab lab;
    char text[100];
    int clients[LIMIT_CONTROL_CLIENTS];
    lab_start(&lab, CONTROL, "");
    lab_until_up(&lab);
    for (size_t i = 0; i < LIMIT_CONTROL_CLIENTS; i++) {
        clients[i] = lab_connect(&lab, "control");
        say(clients[i], "PING\n");
        expect_line(&lab, clients[i], "PONG ");
    }
    int late = lab_connect(&lab, "control");
    lab_read_line(&lab, late, text, sizeof(text));
    assert_memory_equal(text, "ERROR ", 6);
    char number[16];
    snprintf(number, sizeof(number), "%d", LIMIT_CONTROL_CLIENTS);
    assert_non_null(strstr(text, number));
    lab_expect_end(&lab, late);
    close(late);
    say(clients[0], "PING\n"); /* those that are there go on */
    expect_line(&lab, clients[0], "PONG ");
    for (size_t i = 0; i < LIMIT_CONTROL_CLIENTS; i++)
        close(clients[i]);
    lab_stop(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ping_and_wait_are_answered_in_order),
        TEST(a_line_may_come_byte_by_byte),
        TEST(status_tells_of_the_session_and_its_streams),
        TEST(an_open_becomes_its_stream),
        TEST(what_is_refused_is_told_why),
        TEST(a_line_without_an_end_is_an_error),
        TEST(one_client_too_many_is_told_its_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

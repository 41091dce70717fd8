// SPDX-License-Identifier: BSD-3-Clause
/* Clients of an agent, at an end with rules of its own for their requests. */
#include "proxy/agent_gate.h"

#include "qga_caller.h"
#include "support.h"

#include <string.h>
#include <unistd.h>

#define GATED "--qga-socket=@/qga --request-block=guest-shutdown"

static void begin(struct caller *caller, const char *words)
{
    caller_start(caller, words);
    caller->answers = true;
}

static void expect_refusal(struct caller *caller, int client)
{
    char line[300];
    lab_read_line(&caller->lab, client, line, sizeof(line));
    assert_non_null(strstr(line, "\"error\""));
}

static void a_forbidden_request_is_answered_here(void **state)
{
    struct caller caller;
    long long number;
    begin(&caller, GATED);
    int client = lab_connect(&caller.lab, "qga");
    static const char forbidden[] = "{\"execute\": \"guest-shutdown\"}";
    static const char permitted[] = "{\"execute\": \"guest-ping\"}";
    lab_send(client, forbidden, strlen(forbidden));
    expect_refusal(&caller, client);
    assert_int_equal(caller.heard_len, 0);
    lab_send(client, permitted, strlen(permitted));
    qga_expect_request(&caller, "{\"execute\": \"guest-ping\"}\n", &number);
    qga_say_text(&caller, "{\"return\": {}}\n");
    qga_say_sync(&caller, number);
    lab_expect_text(&caller.lab, client, "{\"return\": {}}\n");
    close(client);
    caller_stop(&caller);
}

/* The spelling with an escape is the same command. */
static void a_spelling_does_not_pass(void **state)
{
    struct caller caller;
    begin(&caller, GATED);
    int client = lab_connect(&caller.lab, "qga");
    static const char escaped[] = "{\"execute\": \"guest-shut\\u0064own\"}";
    lab_send(client, escaped, strlen(escaped));
    expect_refusal(&caller, client);
    assert_int_equal(caller.heard_len, 0);
    close(client);
    caller_stop(&caller);
}

static void an_agent_that_goes_ends_its_client(void **state)
{
    struct caller caller;
    long long number;
    begin(&caller, GATED);
    int client = lab_connect(&caller.lab, "qga");
    lab_send(client, "{\"execute\": \"guest-ping\"}", 25);
    qga_expect_request(&caller, "{\"execute\": \"guest-ping\"}\n", &number);
    ob_stream_reset(caller_keep(&caller), OB_REASON_FAILED);
    lab_expect_end(&caller.lab, client);
    close(client);
    caller_stop(&caller);
}

static void clients_end_with_the_gates(void **state)
{
    struct caller caller;
    long long number;
    begin(&caller, GATED);
    int client = lab_connect(&caller.lab, "qga");
    lab_send(client, "{\"execute\": \"guest-ping\"}", 25);
    qga_expect_request(&caller, "{\"execute\": \"guest-ping\"}\n", &number);
    agent_gate_end_all(&caller.lab.ends[LAB_OURS].proxy);
    lab_expect_end(&caller.lab, client);
    close(client);
    caller_stop(&caller);
}

static bool has_heard(void *argument)
{
    return ((const struct caller *)argument)->heard_len >= 8;
}

/* Without rules it is a plain stream, on which no sync follows a request. */
static void without_rules_bytes_pass_as_they_are(void **state)
{
    struct caller caller;
    begin(&caller, "--qga-socket=@/qga");
    int client = lab_connect(&caller.lab, "qga");
    lab_send(client, "anything", 8);
    caller_until(&caller, has_heard, &caller);
    assert_int_equal(caller.heard_len, 8);
    assert_memory_equal(caller.heard, "anything", 8);
    close(client);
    caller_stop(&caller);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_forbidden_request_is_answered_here), TEST(a_spelling_does_not_pass),
        TEST(an_agent_that_goes_ends_its_client),   TEST(clients_end_with_the_gates),
        TEST(without_rules_bytes_pass_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

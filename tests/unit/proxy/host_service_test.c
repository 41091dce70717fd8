// SPDX-License-Identifier: BSD-3-Clause
/* Requests of the other end's agent, and the lines that readers of events get for them. */
#include "proxy/host_service.h"

#include "caller.h"
#include "support.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"

#define EVENTS  "--events=@/events"
#define ANSWER  1024
#define SUCCESS "{\"return\": {}}"

struct scene {
    struct caller caller;
    int reader; /* of events */
};

static bool has_line(void *argument)
{
    const struct caller *caller = argument;
    return memchr(caller->heard, '\n', caller->heard_len) != NULL;
}

/* Sends a request and hears its answer, a line without its newline. */
static void ask(struct caller *caller, const char *request, char ret_answer[ANSWER])
{
    caller->heard_len = 0;
    caller_say(caller, request, strlen(request));
    caller_until(caller, has_line, caller);
    assert_int_equal(caller->heard[caller->heard_len - 1], '\n');
    assert_true(caller->heard_len < ANSWER);
    memcpy(ret_answer, caller->heard, caller->heard_len);
    ret_answer[caller->heard_len - 1] = '\0';
}

static void expect(struct scene *scene, const char *request, const char *part)
{
    char answer[ANSWER];
    ask(&scene->caller, request, answer);
    if (!strstr(answer, part))
        fail_msg("%s: got %s, expected %s", request, answer, part);
}

static void expect_event(struct scene *scene, const char *part)
{
    char line[LIMIT_EVENT_LINE];
    lab_read_line(&scene->caller.lab, scene->reader, line, sizeof(line));
    if (!strstr(line, part))
        fail_msg("got %s, expected %s", line, part);
}

static void begin(struct scene *scene)
{
    caller_start(&scene->caller, EVENTS);
    scene->reader = lab_connect(&scene->caller.lab, "events");
    assert_int_equal(caller_open(&scene->caller, HOST_SERVICE, ""), CALL_ACCEPTED);
}

static void end(struct scene *scene)
{
    close(scene->reader);
    caller_stop(&scene->caller);
}

static void without_readers_there_is_no_such_service(void **state)
{
    struct caller caller;
    caller_start(&caller, "");
    assert_int_equal(caller_open(&caller, HOST_SERVICE, ""), CALL_REFUSED);
    assert_int_equal(caller.reason, OB_REASON_NO_SERVICE);
    caller_stop(&caller);
}

static void an_event_is_a_line_for_its_reader(void **state)
{
    struct scene scene;
    begin(&scene);
    expect(&scene,
           "{\"execute\": \"host-event\", \"arguments\": {\"event\": \"job.1\", \"data\": "
           "{\"n\": [1, \"\xc3\xa4\\n\"]}}}",
           SUCCESS);
    expect_event(&scene, "\"event\": \"job.1\"");
    expect(&scene, "{\"execute\": \"host-event\", \"arguments\": {\"event\": \"two\"}}", SUCCESS);
    expect_event(&scene, "{\"event\": \"two\", \"time-ms\": ");
    end(&scene);
}

/* Text of the peer can't end its line or hide what it is: it is written again, in ASCII. */
static void data_of_the_peer_stays_in_its_line(void **state)
{
    char line[LIMIT_EVENT_LINE];
    struct scene scene;
    begin(&scene);
    expect(&scene,
           "{\"execute\": \"host-event\", \"arguments\": {\"event\": \"e\", \"data\": "
           "{\"k\": \"a\\n{\\\"event\\\": \\\"lost\\\"}\\u001b[2J\xe2\x80\xae\"}}}",
           SUCCESS);
    lab_read_line(&scene.caller.lab, scene.reader, line, sizeof(line));
    for (const char *at = line; *at; at++)
        assert_true(*at >= ' ' && *at <= '~');
    assert_non_null(strstr(line, "a\\n{\\\"event\\\": \\\"lost\\\"}\\u001b[2J\\u202e"));
    end(&scene);
}

static void a_hello_gives_its_boot_id_to_later_events_of_the_session(void **state)
{
    struct scene scene;
    begin(&scene);
    expect(&scene,
           "{\"execute\": \"host-hello\", \"arguments\": {\"boot-id\": \"b-1\", \"version\": "
           "\"1.2~rc+3\", \"capabilities\": [\"x\"]}, \"id\": 7}",
           "\"capabilities\": [\"host-hello\", \"host-ping\", \"host-event\"]");
    expect_event(&scene, "\"event\": \"hello\"");
    expect(&scene, "{\"execute\": \"host-event\", \"arguments\": {\"event\": \"e\"}}", SUCCESS);
    expect_event(&scene, "\"boot-id\": \"b-1\"");
    host_service_forget_peer(scene.caller.lab.ends[LAB_OURS].proxy.agent.host);
    expect(&scene, "{\"execute\": \"host-event\", \"arguments\": {\"event\": \"e\"}}", SUCCESS);
    char line[LIMIT_EVENT_LINE];
    lab_read_line(&scene.caller.lab, scene.reader, line, sizeof(line));
    assert_null(strstr(line, "boot-id"));
    end(&scene);
}

static void what_breaks_the_rules_is_an_error_and_no_event(void **state)
{
    static const struct {
        const char *request, *error;
    } rows[] = {
        {"{\"execute\": \"host-event\", \"arguments\": {\"event\": \"hello\"}}", "event: expected"},
        {"{\"execute\": \"host-event\", \"arguments\": {\"event\": \"lost\"}}", "event: expected"},
        {"{\"execute\": \"host-event\", \"arguments\": {\"event\": \"\"}}", "event: expected"},
        {"{\"execute\": \"host-event\", \"arguments\": {\"event\": \"a b\"}}", "event: expected"},
        {"{\"execute\": \"host-event\", \"arguments\": {\"event\": \"a\\u0000\"}}",
         "event: expected"},
        {"{\"execute\": \"host-event\", \"arguments\": {\"event\": 1}}", "event: expected"},
        {"{\"execute\": \"host-event\"}", "event: expected"},
        {"{\"execute\": \"host-event\", \"arguments\": {\"event\": \"a\", \"data\": []}}",
         "data: expected an object"},
        {"{\"execute\": \"host-ping\", \"arguments\": {\"x\": 1}}", "host-ping: got arguments"},
        {"{\"execute\": \"host-hello\"}", "host-hello: expected"},
        {"{\"execute\": \"host-hello\", \"arguments\": {\"boot-id\": \"\\u001b\", \"version\": "
         "\"1\", \"capabilities\": []}}",
         "host-hello: expected"},
        {"{\"execute\": \"guest-ping\"}", "The command guest-ping has not been found"},
        {"{\"execute\": }\n", "error"},
        {"[1]", "error"},
    };
    struct scene scene;
    begin(&scene);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect(&scene, rows[i].request, rows[i].error);
    expect(&scene, "{\"execute\": \"host-event\", \"arguments\": {\"event\": \"last\"}}", SUCCESS);
    expect_event(&scene, "\"event\": \"last\""); /* the first line that its reader gets */
    end(&scene);
}

static void a_name_has_a_longest_length(void **state)
{
    char name[LIMIT_EVENT_NAME + 2], request[LIMIT_EVENT_NAME + 100];
    struct scene scene;
    begin(&scene);
    for (int over = 0; over < 2; over++) {
        memset(name, 'n', sizeof(name));
        name[LIMIT_EVENT_NAME + over] = '\0';
        snprintf(request, sizeof(request),
                 "{\"execute\": \"host-event\", \"arguments\": {\"event\": \"%s\"}}", name);
        expect(&scene, request, over ? "event: expected" : SUCCESS);
    }
    end(&scene);
}

static void a_request_may_come_in_any_two_pieces(void **state)
{
    static const char request[] = "{\"execute\": \"host-ping\", \"id\": \"}\"}";
    struct scene scene;
    char answer[ANSWER];
    begin(&scene);
    for (size_t cut = 1; cut < sizeof(request) - 1; cut++) {
        caller_say(&scene.caller, request, cut);
        ask(&scene.caller, request + cut, answer);
        assert_non_null(strstr(answer, "\"return\": {}"));
        assert_non_null(strstr(answer, "\"id\": \"}\""));
    }
    end(&scene);
}

/* A peer that tells events without end is held to a rate, and its other requests are answered. */
static void too_many_events_at_once_are_refused(void **state)
{
    static const char event[] = "{\"execute\": \"host-event\", \"arguments\": {\"event\": \"e\"}}";
    struct scene scene;
    char answer[ANSWER];
    unsigned told = 0, refused = 0;
    begin(&scene);
    while (refused == 0) {
        ask(&scene.caller, event, answer);
        if (strcmp(answer, SUCCESS) == 0)
            told++;
        else if (strstr(answer, "too many events: "))
            refused++;
        else
            fail_msg("got %s", answer);
    }
    assert_true(told >= LIMIT_EVENT_BURST); /* more, if the clock has gone on */
    expect(&scene, "{\"execute\": \"host-ping\"}", SUCCESS);
    end(&scene);
}

static bool has_room(void *argument)
{
    const struct list *flows = &((struct caller *)argument)->lab.ends[LAB_OURS].proxy.flows;
    unsigned count = 0;
    for (const struct list *link = flows->next; link != flows; link = link->next)
        count++;
    return count < LIMIT_HOST_CALLERS;
}

static void its_callers_are_limited(void **state)
{
    struct caller caller;
    struct ob_stream *streams[LIMIT_HOST_CALLERS];
    caller_start(&caller, EVENTS);
    for (size_t i = 0; i < LIMIT_HOST_CALLERS; i++) {
        assert_int_equal(caller_open(&caller, HOST_SERVICE, ""), CALL_ACCEPTED);
        streams[i] = caller_keep(&caller);
    }
    assert_int_equal(caller_open(&caller, HOST_SERVICE, ""), CALL_REFUSED);
    assert_int_equal(caller.reason, OB_REASON_BUSY);
    ob_stream_reset(streams[0], OB_REASON_CANCELLED);
    caller_until(&caller, has_room, &caller);
    assert_int_equal(caller_open(&caller, HOST_SERVICE, ""), CALL_ACCEPTED);
    caller_stop(&caller);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_readers_there_is_no_such_service),
        TEST(an_event_is_a_line_for_its_reader),
        TEST(data_of_the_peer_stays_in_its_line),
        TEST(a_hello_gives_its_boot_id_to_later_events_of_the_session),
        TEST(what_breaks_the_rules_is_an_error_and_no_event),
        TEST(a_name_has_a_longest_length),
        TEST(a_request_may_come_in_any_two_pieces),
        TEST(too_many_events_at_once_are_refused),
        TEST(its_callers_are_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

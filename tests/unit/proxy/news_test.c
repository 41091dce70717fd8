// SPDX-License-Identifier: BSD-3-Clause
/* News of an end with an agent; the test is the host, which answers or does not. */
#include "proxy/news.h"

#include "caller.h"
#include "support.h"

#include <string.h>

#include "proxy/host_service.h"

struct scene {
    struct caller caller;
    struct news *news;
};

static struct proxy *proxy_of(struct scene *scene)
{
    return &scene->caller.lab.ends[LAB_OURS].proxy;
}

static int connect_agent(void *argument, const char *caller)
{
    return -1;
}

static void begin(struct scene *scene, bool host_answers)
{
    caller_start(&scene->caller, "");
    scene->caller.answers = host_answers;
    proxy_of(scene)->agent.connect = connect_agent;
    assert_int_equal(news_new(proxy_of(scene), &scene->news), 0);
}

static void end(struct scene *scene)
{
    news_free(scene->news);
    caller_stop(&scene->caller);
}

static unsigned count_lines(const struct caller *caller)
{
    unsigned lines = 0;
    for (size_t i = 0; i < caller->heard_len; i++)
        lines += caller->heard[i] == '\n';
    return lines;
}

static bool has_one_line(void *argument)
{
    return count_lines(argument) >= 1;
}

static bool has_two_lines(void *argument)
{
    return count_lines(argument) >= 2;
}

static bool has_stopped(void *argument)
{
    return proxy_of(argument)->stop;
}

static void hear(struct scene *scene, bool (*holds)(void *argument))
{
    caller_until(&scene->caller, holds, &scene->caller);
    scene->caller.heard[scene->caller.heard_len] = '\0';
}

static void expect_part(const struct scene *scene, const char *part)
{
    const char *heard = (const char *)scene->caller.heard;
    if (!strstr(heard, part))
        fail_msg("got %s, expected %s", heard, part);
}

static void a_session_begins_with_a_hello_and_ready(void **state)
{
    struct scene scene;
    begin(&scene, true);
    news_on_up(scene.news);
    hear(&scene, has_two_lines);
    assert_string_equal(scene.caller.service, HOST_SERVICE);
    expect_part(&scene, "{\"execute\": \"host-hello\", \"arguments\": {\"boot-id\": ");
    expect_part(&scene, "\"capabilities\": []}}\n");
    expect_part(&scene, "{\"execute\": \"host-event\", \"arguments\": {\"event\": \"ready\"}}\n");
    end(&scene);
}

static void an_end_without_an_agent_has_no_news(void **state)
{
    struct scene scene;
    begin(&scene, true);
    proxy_of(&scene)->agent.connect = NULL;
    news_on_up(scene.news);
    assert_true(list_empty(&proxy_of(&scene)->flows));
    assert_false(news_say_farewell(scene.news));
    news_on_up(NULL);
    assert_false(news_say_farewell(NULL));
    end(&scene);
}

static bool has_no_flow(void *argument)
{
    return list_empty(&proxy_of(argument)->flows);
}

/* A host that wants no news, or does not know the service: nothing else depends on it. */
static void a_host_that_refuses_is_left_alone(void **state)
{
    struct scene scene;
    begin(&scene, false);
    news_on_up(scene.news);
    caller_take_none(&scene.caller, OB_REASON_NO_SERVICE);
    caller_until(&scene.caller, has_no_flow, &scene);
    assert_false(proxy_of(&scene)->stop);
    assert_false(news_say_farewell(scene.news));
    end(&scene);
}

static void a_farewell_waits_for_its_answer(void **state)
{
    struct scene scene;
    begin(&scene, true);
    news_on_up(scene.news);
    hear(&scene, has_two_lines);
    caller_say(&scene.caller, "{\"return\": {}}\n{\"return\": {}}\n", 30);
    scene.caller.heard_len = 0;
    assert_true(news_say_farewell(scene.news));
    assert_false(news_say_farewell(scene.news)); /* once */
    hear(&scene, has_one_line);
    expect_part(&scene, "\"event\": \"shutting-down\"");
    assert_false(proxy_of(&scene)->stop);
    caller_say(&scene.caller, "{\"return\": {}}\n", 15);
    caller_until(&scene.caller, has_stopped, &scene);
    end(&scene);
}

/* More lines than were asked for are no answers to later requests. */
static void a_host_that_answers_too_much_is_no_trouble(void **state)
{
    struct scene scene;
    begin(&scene, true);
    news_on_up(scene.news);
    hear(&scene, has_two_lines);
    caller_say(&scene.caller, "\n\n\n\n\n\n\n\n", 8);
    scene.caller.heard_len = 0;
    caller_until(&scene.caller, caller_was_read, &scene.caller);
    assert_false(proxy_of(&scene)->stop);
    assert_true(news_say_farewell(scene.news));
    hear(&scene, has_one_line);
    end(&scene);
}

static void a_host_that_ends_lets_the_farewell_end(void **state)
{
    struct scene scene;
    begin(&scene, true);
    news_on_up(scene.news);
    hear(&scene, has_two_lines);
    assert_true(news_say_farewell(scene.news));
    ob_stream_reset(caller_keep(&scene.caller), OB_REASON_FAILED);
    caller_until(&scene.caller, has_stopped, &scene);
    end(&scene);
}

/* A host that reads and says nothing holds the end up for LIMIT_FAREWELL_MS at most. */
static void a_host_that_is_silent_does_not_hold_the_end_up(void **state)
{
    struct scene scene;
    begin(&scene, true);
    news_on_up(scene.news);
    hear(&scene, has_two_lines);
    assert_true(news_say_farewell(scene.news));
    caller_until(&scene.caller, has_stopped, &scene);
    end(&scene);
}

static void another_session_begins_anew(void **state)
{
    struct scene scene;
    begin(&scene, true);
    news_on_up(scene.news);
    hear(&scene, has_two_lines);
    scene.caller.heard_len = 0;
    news_on_up(scene.news);
    hear(&scene, has_two_lines);
    expect_part(&scene, "host-hello");
    expect_part(&scene, "\"event\": \"ready\"");
    assert_int_equal(count_lines(&scene.caller), 2);
    end(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_session_begins_with_a_hello_and_ready),
        TEST(an_end_without_an_agent_has_no_news),
        TEST(a_host_that_refuses_is_left_alone),
        TEST(a_farewell_waits_for_its_answer),
        TEST(a_host_that_answers_too_much_is_no_trouble),
        TEST(a_host_that_ends_lets_the_farewell_end),
        TEST(a_host_that_is_silent_does_not_hold_the_end_up),
        TEST(another_session_begins_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

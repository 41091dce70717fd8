// SPDX-License-Identifier: BSD-3-Clause
/* A stream to an agent, whose answers the test gives. */
#include "proxy/qga_line.h"

#include "qga_caller.h"
#include "support.h"

#include <string.h>

struct owner {
    struct qga_line line;
    char got[256];
    size_t len;
    size_t room; /* is_full() beyond that */
    unsigned opened, answered, lost;
    uint32_t reason;
};

static struct owner *owner_of(struct qga_line *line)
{
    return (struct owner *)line;
}

static void on_opened(struct qga_line *line)
{
    owner_of(line)->opened++;
}

static void on_delivery(struct qga_line *line, const char *bytes, size_t len)
{
    struct owner *owner = owner_of(line);
    assert_true(owner->len + len < sizeof(owner->got));
    memcpy(owner->got + owner->len, bytes, len);
    owner->len += len;
}

static void on_answered(struct qga_line *line)
{
    owner_of(line)->answered++;
}

static void on_lost(struct qga_line *line, uint32_t reason)
{
    owner_of(line)->lost++;
    owner_of(line)->reason = reason;
}

static bool is_full(struct qga_line *line)
{
    return owner_of(line)->len >= owner_of(line)->room;
}

static const struct qga_line_ops ops = {.opened = on_opened,
                                        .deliver = on_delivery,
                                        .answered = on_answered,
                                        .lost = on_lost,
                                        .is_full = is_full};

static bool has_opened(void *argument)
{
    return ((struct owner *)argument)->opened > 0;
}

static bool has_answer(void *argument)
{
    return ((struct owner *)argument)->answered > 0;
}

static bool has_lost(void *argument)
{
    return ((struct owner *)argument)->lost > 0;
}

/* Whether the answer waits in the stream. */
static bool has_unread(void *argument)
{
    const void *bytes;
    return ob_stream_peek(((struct owner *)argument)->line.flow.stream, &bytes) > 0;
}

static void begin(struct caller *caller, struct owner *owner)
{
    caller_start(caller, "");
    caller->answers = true;
    *owner = (struct owner){.room = sizeof(owner->got)};
    qga_line_init(&owner->line, &ops);
    assert_int_equal(qga_line_open(&owner->line, &caller->lab.ends[LAB_OURS].proxy, "agent", "me"),
                     0);
}

static void the_end_of_an_answer_is_known(void **state)
{
    struct caller caller;
    struct owner owner;
    long long number;
    begin(&caller, &owner);
    caller_until(&caller, has_opened, &owner);
    assert_string_equal(caller.service, "agent");
    assert_string_equal(caller.metadata, "me");
    assert_int_equal(qga_line_ask(&owner.line, "{\"n\": 1}", 8), 0);
    assert_true(owner.line.busy);
    qga_expect_request(&caller, "{\"n\": 1}\n", &number);
    qga_say_text(&caller, "{\"return\": 1}\n");
    qga_say_sync(&caller, number);
    caller_until(&caller, has_answer, &owner);
    assert_false(owner.line.busy);
    assert_int_equal(owner.len, strlen("{\"return\": 1}\n"));
    assert_memory_equal(owner.got, "{\"return\": 1}\n", owner.len);
    qga_line_close(&owner.line, OB_REASON_NONE);
    caller_stop(&caller);
    assert_int_equal(owner.lost, 0);
}

static void nothing_is_delivered_to_who_is_full(void **state)
{
    struct caller caller;
    struct owner owner;
    long long number;
    begin(&caller, &owner);
    caller_until(&caller, has_opened, &owner);
    owner.room = 0;
    assert_int_equal(qga_line_ask(&owner.line, "{}", 2), 0);
    qga_expect_request(&caller, "{}\n", &number);
    qga_say_text(&caller, "{\"return\": 2}\n");
    qga_say_sync(&caller, number);
    caller_until(&caller, has_unread, &owner);
    assert_int_equal(owner.len, 0);
    owner.room = sizeof(owner.got);
    qga_line_resume(&owner.line);
    caller_until(&caller, has_answer, &owner);
    assert_memory_equal(owner.got, "{\"return\": 2}\n", owner.len);
    qga_line_close(&owner.line, OB_REASON_NONE);
    caller_stop(&caller);
}

static void an_agent_that_goes_is_told(void **state)
{
    struct caller caller;
    struct owner owner;
    long long number;
    begin(&caller, &owner);
    caller_until(&caller, has_opened, &owner);
    assert_int_equal(qga_line_ask(&owner.line, "{}", 2), 0);
    qga_expect_request(&caller, "{}\n", &number);
    ob_stream_reset(caller_keep(&caller), OB_REASON_FAILED);
    caller_until(&caller, has_lost, &owner);
    assert_int_equal(owner.reason, OB_REASON_FAILED);
    assert_null(owner.line.flow.stream);
    assert_false(owner.line.busy);
    qga_line_close(&owner.line, OB_REASON_NONE); /* is fine */
    caller_stop(&caller);
}

static void one_that_is_refused_is_lost(void **state)
{
    struct caller caller;
    struct owner owner;
    begin(&caller, &owner);
    caller.answers = false;
    caller_take_none(&caller, OB_REASON_NO_SERVICE);
    caller_until(&caller, has_lost, &owner);
    assert_int_equal(owner.reason, OB_REASON_NO_SERVICE);
    assert_int_equal(owner.opened, 0);
    caller_stop(&caller);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_end_of_an_answer_is_known),
        TEST(nothing_is_delivered_to_who_is_full),
        TEST(an_agent_that_goes_is_told),
        TEST(one_that_is_refused_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

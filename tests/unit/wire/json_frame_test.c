// SPDX-License-Identifier: BSD-3-Clause
#include "wire/json_frame.h"

#include "base/limits.h"
#include "support.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The events of a stream that comes in pieces of so many bytes, as text: values, and ! for a fault
 * with its offset. */
static void events_of(const char *bytes, size_t len, size_t piece, char *ret_text, size_t size)
{
    struct json_frame frame;
    json_frame_init(&frame);
    ret_text[0] = '\0';
    for (size_t at = 0; at < len;) {
        enum json_frame_event event;
        size_t count = piece < len - at ? piece : len - at;
        at += json_frame_take(&frame, bytes + at, count, &event);
        size_t used = strlen(ret_text);
        if (event == JSON_FRAME_VALUE)
            snprintf(ret_text + used, size - used, "%.*s;", (int)frame.len, frame.bytes);
        else if (event == JSON_FRAME_FAULT)
            snprintf(ret_text + used, size - used, "!%d;", (int)frame.fault_at);
    }
    json_frame_done(&frame);
}

static void check(const char *bytes, const char *expected)
{
    char text[512];
    for (size_t piece = 1; piece <= strlen(bytes); piece++) {
        events_of(bytes, strlen(bytes), piece, text, sizeof(text));
        assert_string_equal(text, expected);
    }
}

static void values_in_any_pieces(void **state)
{
    check("{\"a\": 1}\n", "{\"a\": 1};");
    check("{}{}\r\n [] ", "{};{};[];");
    check("{'}': \"]\\\"}\", \"x\": [{}]} {\n}", "{'}': \"]\\\"}\", \"x\": [{}]};{\n};");
}

static void noise_is_told_once(void **state)
{
    check("noise, noise\n{}", "!0;{};");
    check("noise{}", "!0;{};");
    check("\xff\xff{}", "{};"); /* the reset itself is no fault */
}

static void a_reset_drops_what_was_begun(void **state)
{
    check("{\"exec\xff{}", "!6;{};");
    check("{\"exec\n{}", "!6;{};"); /* a string has no newline */
    check("{ \xff{}", "!2;{};");
    check("{ \x01{}", "!2;{};");
}

/* Behind a value that went wrong, all is dropped up to the next line. */
static void what_follows_a_fault_is_no_request(void **state)
{
    static char bytes[LIMIT_JSON_DEPTH + 64];
    char text[64];
    memset(bytes, '[', LIMIT_JSON_DEPTH + 1);
    strcpy(bytes + LIMIT_JSON_DEPTH + 1, "{}{}\n{\"b\": 1}");
    events_of(bytes, strlen(bytes), 100, text, sizeof(text));
    assert_string_equal(text, "!1024;{\"b\": 1};");
}

static void a_request_has_a_limit(void **state)
{
    struct json_frame frame;
    enum json_frame_event event = JSON_FRAME_MORE;
    char spaces[65536];
    json_frame_init(&frame);
    memset(spaces, ' ', sizeof(spaces));
    json_frame_take(&frame, "{", 1, &event);
    size_t taken = 1;
    while (event == JSON_FRAME_MORE)
        taken += json_frame_take(&frame, spaces, sizeof(spaces), &event);
    assert_int_equal(event, JSON_FRAME_FAULT);
    assert_int_equal(taken, LIMIT_JSON_TEXT + 1);
    json_frame_take(&frame, "\n{}", 3, &event);
    assert_int_equal(event, JSON_FRAME_VALUE);
    assert_true(frame.size <= 65536); /* the memory of the long one is given back */
    json_frame_done(&frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(values_in_any_pieces),         TEST(noise_is_told_once),
        TEST(a_reset_drops_what_was_begun), TEST(what_follows_a_fault_is_no_request),
        TEST(a_request_has_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

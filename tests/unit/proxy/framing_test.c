// SPDX-License-Identifier: BSD-3-Clause
/* What is said when one end reads a line and the other sends a stream. */
#include "proxy/framing.h"

#include "caller.h"
#include "support.h"

#include <errno.h>
#include <string.h>

static const char greeting[] = "\x10\x00\x00\x00\0OUTBOARD and more";
#define GREETING_LEN (sizeof(greeting) - 1)
#define MAGIC_END    13 /* in it */

/* A proxy whose session has not begun, with a channel of this framing. */
struct scene {
    struct proxy proxy;
    struct proxy_options options;
};

static int draw(void *user, void *bytes, size_t len)
{
    memset(bytes, 1, len);
    return 0;
}

static void begin(struct scene *scene, enum ob_channel framing)
{
    const struct ob_session_config config = {
        .size = sizeof(config), .channel = framing, .random = draw};
    *scene = (struct scene){
        .options.channel = {.framing = framing, .text = "unix:/there"},
    };
    scene->proxy.options = &scene->options;
    assert_int_equal(ob_session_new(&config, &scene->proxy.session), 0);
}

static void end(struct scene *scene)
{
    ob_session_free(scene->proxy.session);
}

static void a_greeting_of_a_stream_is_told_from_a_line(void **state)
{
    struct scene scene;
    begin(&scene, OB_CHANNEL_LINE);
    assert_true(framing_sees_stream(&scene.proxy, (const uint8_t *)greeting, GREETING_LEN));
    assert_non_null(
        strstr(scene.proxy.trouble.text, "the other end of unix:/there sends a stream"));
    assert_non_null(strstr(scene.proxy.trouble.text, "append ,line"));
    end(&scene);
}

/* Each beginning of it, and each end: only the whole magic word with the zero before it tells. */
static void parts_of_a_greeting_tell_nothing(void **state)
{
    struct scene scene;
    begin(&scene, OB_CHANNEL_LINE);
    for (size_t len = 0; len < MAGIC_END; len++)
        assert_false(framing_sees_stream(&scene.proxy, (const uint8_t *)greeting, len));
    for (size_t from = 5; from < GREETING_LEN; from++)
        assert_false(framing_sees_stream(&scene.proxy, (const uint8_t *)greeting + from,
                                         GREETING_LEN - from));
    assert_string_equal(scene.proxy.trouble.text, "");
    assert_true(framing_sees_stream(&scene.proxy, (const uint8_t *)greeting, MAGIC_END));
    end(&scene);
}

/* On a line no frame has a zero in it, so the word alone may be a byte of an application. */
static void the_word_in_a_line_is_no_greeting(void **state)
{
    static const char text[] = "OUTBOARD \nOUTBOARD";
    struct scene scene;
    begin(&scene, OB_CHANNEL_LINE);
    assert_false(framing_sees_stream(&scene.proxy, (const uint8_t *)text, sizeof(text) - 1));
    end(&scene);
}

static void an_end_that_reads_a_stream_expects_it(void **state)
{
    struct scene scene;
    begin(&scene, OB_CHANNEL_STREAM);
    assert_false(framing_sees_stream(&scene.proxy, (const uint8_t *)greeting, GREETING_LEN));
    assert_string_equal(scene.proxy.trouble.text, "");
    end(&scene);
}

/* Bytes of a stream inside a session are those of its applications: they may look like a greeting.
 */
static void while_a_session_stands_nothing_is_suspected(void **state)
{
    struct caller caller;
    caller_start(&caller, "");
    struct lab_end *ours = &caller.lab.ends[LAB_OURS];
    ours->options.channel.framing = OB_CHANNEL_LINE;
    assert_false(framing_sees_stream(&ours->proxy, (const uint8_t *)greeting, GREETING_LEN));
    ours->options.channel.framing = OB_CHANNEL_STREAM;
    assert_string_equal(framing_hint(&ours->proxy, -EPROTO), ""); /* one has stood */
    caller_stop(&caller);
}

static void the_hint_is_for_bytes_that_broke_the_rules_of_a_first_stream(void **state)
{
    struct scene scene;
    begin(&scene, OB_CHANNEL_STREAM);
    assert_non_null(strstr(framing_hint(&scene.proxy, -EPROTO), "append ,line at both ends"));
    assert_string_equal(framing_hint(&scene.proxy, -EACCES), "");
    assert_string_equal(framing_hint(&scene.proxy, -EPROTONOSUPPORT), "");
    assert_string_equal(framing_hint(&scene.proxy, 0), "");
    scene.proxy.history.sessions = 1;
    assert_string_equal(framing_hint(&scene.proxy, -EPROTO), "");
    end(&scene);
    begin(&scene, OB_CHANNEL_LINE);
    assert_string_equal(framing_hint(&scene.proxy, -EPROTO), "");
    end(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_greeting_of_a_stream_is_told_from_a_line),
        TEST(parts_of_a_greeting_tell_nothing),
        TEST(the_word_in_a_line_is_no_greeting),
        TEST(an_end_that_reads_a_stream_expects_it),
        TEST(while_a_session_stands_nothing_is_suspected),
        TEST(the_hint_is_for_bytes_that_broke_the_rules_of_a_first_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

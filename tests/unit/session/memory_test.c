// SPDX-License-Identifier: BSD-3-Clause
/*
 * Memory that runs out: allocation n fails, for every n, in a conversation that uses all kinds of
 * memory. Whatever fails, both ends go on in agreement, and nothing leaks.
 */
#include "session/pair.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

/* Allocations until one fails; < 0: none will. */
static long countdown = -1;

/* Memory in use, with what the allocator puts around each piece. */
static size_t in_use;

#define ALLOCATOR_OVERHEAD 8

static int fails(void)
{
    return countdown >= 0 && countdown-- == 0;
}

/* The names that the linker's --wrap gives, as in failing_alloc.c. */
// NOLINTBEGIN(bugprone-reserved-identifier)
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void __real_free(void *ptr);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void __wrap_free(void *ptr);
// NOLINTEND(bugprone-reserved-identifier)

static void *counted(void *ptr)
{
    in_use += ptr ? malloc_usable_size(ptr) + ALLOCATOR_OVERHEAD : 0;
    return ptr;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : counted(__real_calloc(count, size));
}

void __wrap_free(void *ptr)
{
    in_use -= ptr ? malloc_usable_size(ptr) + ALLOCATOR_OVERHEAD : 0;
    __real_free(ptr);
}

static int no_random(void *user, void *bytes, size_t len)
{
    memset(bytes, 7, len);
    return 0;
}

static void making_an_engine_fails_cleanly(void **state)
{
    for (int channel = OB_CHANNEL_STREAM; channel <= OB_CHANNEL_LINE; channel++) {
        struct ob_session_config config = {
            .size = sizeof(config), .channel = (enum ob_channel)channel, .random = no_random};
        int failed = 0, result;
        do {
            struct ob_session *session = NULL;
            countdown = failed;
            result = ob_session_new(&config, &session);
            countdown = -1;
            assert_int_equal(session != NULL, result == 0);
            assert_true(result == 0 || result == -ENOMEM);
            ob_session_free(session);
            failed++;
        } while (result < 0);
        assert_in_range(failed, 5, 6);
    }
}

/* Opens, writes more than is read, reads, closes. */
static void converse(struct pair *pair)
{
    uint8_t bytes[5000] = {0};
    struct ob_stream *streams[80];
    int count = 0;
    for (int i = 0; i < 80; i++) {
        int result = ob_stream_open(pair->ends[i % 2].session, "x", 1, "meta", 4, &streams[count]);
        assert_true(result == 0 || result == -ENOMEM);
        count += result == 0;
        pair_run(pair);
    }
    for (int i = 0; i < count; i++) {
        ssize_t some = ob_stream_write(streams[i], bytes, sizeof(bytes));
        assert_true(some == sizeof(bytes) || some == -ENOMEM || some == -ECONNRESET);
        pair_run(pair);
    }
    for (int i = 0; i < count; i++)
        ob_stream_free(streams[i]);
    pair_run(pair);
}

static long converse_failing_at(int channel, bool asks, long n)
{
    struct pair pair;
    size_t before = in_use;
    const struct ob_session_config config = {.size = sizeof(config),
                                             .channel = (enum ob_channel)channel};
    if (asks)
        pair_up_asking(&pair, config);
    else
        pair_up(&pair, config);
    countdown = n;
    converse(&pair);
    long left = countdown;
    countdown = -1;
    assert_true(pair_stands(&pair));
    assert_int_equal(pair.ends[0].ends + pair.ends[1].ends, 0);
    pair_free(&pair);
    assert_int_equal(in_use, before);
    return left;
}

static void a_conversation_survives_each_failure(void **state)
{
    for (int i = 0; i < 4; i++) {
        long n = 0;
        while (converse_failing_at(i % 2 ? OB_CHANNEL_LINE : OB_CHANNEL_STREAM, i / 2, n) < 0)
            n++;
        assert_in_range(n, 200, 1000);
    }
}

static void an_idle_stream_is_small(void **state)
{
    enum {
        STREAMS = 10000
    };
    static struct ob_stream *here[STREAMS], *there[STREAMS];
    struct pair pair;
    pair_up(&pair, (struct ob_session_config){.max_streams = STREAMS});
    size_t before = in_use;
    for (int i = 0; i < STREAMS; i++) {
        pair_open(&pair, 0, &here[i], &there[i]);
        assert_int_equal(ob_stream_write(here[i], "hello", 5), 5);
        pair_run(&pair);
        char bytes[8];
        assert_int_equal(ob_stream_read(there[i], bytes, sizeof(bytes)), 5);
    }
    pair_run(&pair);
    size_t each = (in_use - before) / STREAMS / 2;
    assert_in_range(each, 100, 512);
    pair_free(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(making_an_engine_fails_cleanly),
        TEST(a_conversation_survives_each_failure),
        TEST(an_idle_stream_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

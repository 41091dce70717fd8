// SPDX-License-Identifier: BSD-3-Clause
/* A flow owns its stream, and gets the events of that stream alone. */
#include "proxy/flow.h"

#include "caller.h"
#include "support.h"

#include <errno.h>
#include <string.h>

#include "failing_alloc.h"

/* A flow that counts its events. */
struct counted {
    struct flow flow;
    unsigned opened, refused, finished, reset;
    uint32_t reason;
    char bytes[64];
    size_t len;
};

static struct counted *counted_of(struct flow *flow)
{
    return list_entry(flow, struct counted, flow);
}

static void on_opened(struct flow *flow)
{
    counted_of(flow)->opened++;
}

static void on_refused(struct flow *flow, uint32_t reason)
{
    counted_of(flow)->refused++;
    counted_of(flow)->reason = reason;
    flow_end(flow, 0);
}

static void on_readable(struct flow *flow)
{
    struct counted *counted = counted_of(flow);
    ssize_t len;
    while ((len = ob_stream_read(flow->stream, counted->bytes + counted->len,
                                 sizeof(counted->bytes) - counted->len)) > 0)
        counted->len += (size_t)len;
}

static void on_finished(struct flow *flow)
{
    counted_of(flow)->finished++;
}

static void on_reset(struct flow *flow, uint32_t reason)
{
    counted_of(flow)->reset++;
    counted_of(flow)->reason = reason;
    flow_end(flow, 0);
}

static const struct flow_ops ops = {
    .opened = on_opened,
    .refused = on_refused,
    .readable = on_readable,
    .finished = on_finished,
    .reset = on_reset,
};

/* One that cares for nothing but what it must. */
static const struct flow_ops deaf_ops = {.refused = on_refused, .reset = on_reset};

static struct proxy *proxy_of(struct caller *caller)
{
    return &caller->lab.ends[LAB_OURS].proxy;
}

static bool was_opened(void *argument)
{
    return ((struct counted *)argument)->opened > 0;
}

static bool was_refused(void *argument)
{
    return ((struct counted *)argument)->refused > 0;
}

static bool was_reset(void *argument)
{
    return ((struct counted *)argument)->reset > 0;
}

static bool has_finished(void *argument)
{
    return ((struct counted *)argument)->finished > 0;
}

static bool has_five_bytes(void *argument)
{
    return ((struct counted *)argument)->len >= 5;
}

static void open_flow(struct caller *caller, struct counted *counted)
{
    *counted = (struct counted){0};
    caller->asked = NULL; /* that of an earlier flow */
    assert_int_equal(flow_open(&counted->flow, proxy_of(caller), &ops, "web", "for you"), 0);
    caller_take(caller);
    assert_string_equal(caller->service, "web");
    assert_string_equal(caller->metadata, "for you");
    caller_until(caller, was_opened, counted);
}

static void events_of_its_stream_reach_it(void **state)
{
    struct caller caller;
    struct counted counted;
    caller_start(&caller, "");
    open_flow(&caller, &counted);
    assert_string_equal(counted.flow.service, "web");
    assert_false(counted.flow.is_incoming);
    assert_int_equal(ob_stream_write(caller.asked, "hello", 5), 5);
    caller_until(&caller, has_five_bytes, &counted);
    assert_memory_equal(counted.bytes, "hello", 5);
    ob_stream_shutdown(counted.flow.stream);
    caller_until(&caller, has_finished, &counted);
    ob_stream_reset(caller.asked, OB_REASON_FAILED);
    caller_until(&caller, was_reset, &counted);
    assert_int_equal(counted.reason, OB_REASON_FAILED);
    assert_int_equal(counted.opened, 1);
    assert_int_equal(counted.refused, 0);
    assert_true(list_empty(&proxy_of(&caller)->flows));
    caller_stop(&caller);
}

static void a_refusal_reaches_it_with_its_reason(void **state)
{
    struct caller caller;
    struct counted counted = {0};
    caller_start(&caller, "");
    assert_int_equal(flow_open(&counted.flow, proxy_of(&caller), &ops, "web", NULL), 0);
    caller_take_none(&caller, OB_REASON_FORBIDDEN);
    caller_until(&caller, was_refused, &counted);
    assert_int_equal(counted.reason, OB_REASON_FORBIDDEN);
    assert_int_equal(counted.opened, 0);
    assert_string_equal(caller.metadata, "");
    assert_null(counted.flow.stream);
    caller_stop(&caller);
}

/* One stream after the other, in the same turn: none reads what is another's. */
static void each_reads_its_own_bytes(void **state)
{
    struct caller caller;
    struct counted first, second;
    caller_start(&caller, "");
    open_flow(&caller, &first);
    struct ob_stream *theirs = caller.asked;
    open_flow(&caller, &second);
    assert_int_equal(ob_stream_write(caller.asked, "secnd", 5), 5);
    assert_int_equal(ob_stream_write(theirs, "first", 5), 5);
    caller_until(&caller, has_five_bytes, &first);
    caller_until(&caller, has_five_bytes, &second);
    assert_int_equal(first.len, 5);
    assert_memory_equal(first.bytes, "first", 5);
    assert_memory_equal(second.bytes, "secnd", 5);
    ob_stream_reset(theirs, OB_REASON_FAILED);
    caller_until(&caller, was_reset, &first);
    assert_int_equal(second.reset, 0);
    flow_end(&second.flow, OB_REASON_CANCELLED);
    caller_stop(&caller);
}

static void bytes_that_nobody_reads_do_no_harm(void **state)
{
    struct caller caller;
    struct counted counted, other;
    caller_start(&caller, "");
    open_flow(&caller, &counted);
    counted.flow.ops = &deaf_ops;
    struct ob_stream *theirs = caller.asked;
    assert_int_equal(ob_stream_write(theirs, "hello", 5), 5);
    open_flow(&caller, &other); /* they have come when this one is there */
    assert_int_equal(counted.len, 0);
    ob_stream_reset(theirs, OB_REASON_FAILED);
    caller_until(&caller, was_reset, &counted);
    flow_end(&other.flow, OB_REASON_CANCELLED);
    caller_stop(&caller);
}

static bool is_over_there(void *argument)
{
    return !((struct caller *)argument)->asked;
}

static void its_end_resets_the_stream_and_may_come_twice(void **state)
{
    struct caller caller;
    struct counted counted;
    caller_start(&caller, "");
    open_flow(&caller, &counted);
    flow_end(&counted.flow, OB_REASON_BUSY);
    assert_true(list_empty(&proxy_of(&caller)->flows));
    assert_null(counted.flow.stream);
    assert_null(counted.flow.service);
    flow_end(&counted.flow, OB_REASON_BUSY);
    caller_until(&caller, is_over_there, &caller);
    assert_int_equal(counted.reset, 0); /* who ends it is not told */
    caller_stop(&caller);
}

static void a_stream_moves_with_its_events(void **state)
{
    struct caller caller;
    struct counted from, to = {0};
    caller_start(&caller, "");
    open_flow(&caller, &from);
    flow_move(&from.flow, &to.flow, &ops);
    assert_null(from.flow.stream);
    assert_null(from.flow.service);
    assert_string_equal(to.flow.service, "web");
    flow_end(&from.flow, OB_REASON_FAILED); /* empty: nothing happens to the stream */
    assert_int_equal(ob_stream_write(caller.asked, "hello", 5), 5);
    caller_until(&caller, has_five_bytes, &to);
    assert_int_equal(from.len, 0);
    ob_stream_reset(caller.asked, OB_REASON_FAILED);
    caller_until(&caller, was_reset, &to);
    assert_int_equal(from.reset, 0);
    assert_true(list_empty(&proxy_of(&caller)->flows));
    caller_stop(&caller);
}

static void a_failure_to_open_leaves_no_flow(void **state)
{
    static char too_long[OB_SESSION_SERVICE_MAX + 2];
    struct caller caller;
    struct counted counted = {0};
    memset(too_long, 'n', sizeof(too_long) - 1);
    caller_start(&caller, "");
    struct proxy *proxy = proxy_of(&caller);
    assert_int_equal(flow_open(&counted.flow, proxy, &ops, too_long, NULL), -EINVAL);
    assert_true(list_empty(&proxy->flows));
    assert_int_equal(flow_open(&counted.flow, proxy, &ops, "", NULL), -EINVAL);
    assert_true(list_empty(&proxy->flows));
    for (unsigned nth = 1;; nth++) {
        fail_allocation(nth);
        int err = flow_open(&counted.flow, proxy, &ops, "web", "metadata");
        if (!allocation_failed()) {
            assert_int_equal(err, 0);
            break;
        }
        assert_int_equal(err, -ENOMEM);
        assert_true(list_empty(&proxy->flows));
    }
    flow_end(&counted.flow, OB_REASON_CANCELLED);
    ob_session_end(proxy->session, OB_REASON_SHUTDOWN, 0);
    assert_int_equal(flow_open(&counted.flow, proxy, &ops, "web", NULL), -ENOTCONN);
    assert_true(list_empty(&proxy->flows));
    caller_stop(&caller);
}

/* Of a stream that the peer opened, while there is no memory for the flow: it is the caller's. */
static void a_stream_that_is_not_taken_stays_the_callers(void **state)
{
    struct caller caller;
    struct counted counted = {0};
    struct ob_stream *stream;
    caller_start(&caller, "");
    struct proxy *proxy = proxy_of(&caller);
    assert_int_equal(ob_stream_open(proxy->session, "web", 3, NULL, 0, &stream), 0);
    fail_allocation(1);
    assert_int_equal(flow_take(&counted.flow, proxy, &ops, stream, "web"), -ENOMEM);
    assert_true(allocation_failed());
    assert_true(list_empty(&proxy->flows));
    assert_null(ob_stream_user(stream));
    assert_int_equal(flow_take(&counted.flow, proxy, &ops, stream, "web"), 0);
    assert_true(counted.flow.is_incoming);
    assert_ptr_equal(ob_stream_user(stream), &counted.flow);
    flow_end(&counted.flow, OB_REASON_CANCELLED);
    caller_stop(&caller);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(events_of_its_stream_reach_it),
        TEST(a_refusal_reaches_it_with_its_reason),
        TEST(each_reads_its_own_bytes),
        TEST(bytes_that_nobody_reads_do_no_harm),
        TEST(its_end_resets_the_stream_and_may_come_twice),
        TEST(a_stream_moves_with_its_events),
        TEST(a_failure_to_open_leaves_no_flow),
        TEST(a_stream_that_is_not_taken_stays_the_callers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

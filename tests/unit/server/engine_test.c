// SPDX-License-Identifier: BSD-3-Clause
/* The half of every engine that knows no wire, under a toy wire of its own. */
#include "server/engine.h"

#include "failing_alloc.h"
#include "fake/server_host.h"
#include "support.h"

#include <errno.h>
#include <string.h>

/*
 * The toy wire: a frame is its length in one byte (2 to 250, header included), what to do in the
 * next, and padding. Its reply is the length of the frame, repeated TOY_REPLY times.
 */
#define TOY_REPLY 1000

enum toy {
    TOY_NOTE,     /* count it */
    TOY_ASK,      /* and reply */
    TOY_TAKE_FDS, /* and close the descriptors by oneself */
    TOY_REFUSE,   /* end the connection */
    TOY_WAIT,     /* wait for toy_engine.ready */
};

struct toy_engine {
    struct engine engine;
    bool ready;
    unsigned headers; /* that were read */
    unsigned frames;
    unsigned fds_of_frame[256];
};

static int toy_frame_len(struct engine *engine, const uint8_t *header)
{
    ((struct toy_engine *)engine)->headers++;
    if (header[0] < 2 || header[0] > 250)
        return ob_fault_set(&engine->fault, -EPROTO, "toy: a frame of %u bytes", header[0]);
    return header[0];
}

static int toy_handle(struct engine *engine, const uint8_t *frame, size_t len, struct fd_list *fds)
{
    struct toy_engine *toy = (struct toy_engine *)engine;
    assert_int_equal(frame[0], len);
    if (frame[1] == TOY_WAIT && !toy->ready)
        return ENGINE_LATER;
    toy->fds_of_frame[toy->frames++] = fds->count;
    if (frame[1] == TOY_ASK) {
        memset(engine_reply_room(engine), (int)len, TOY_REPLY);
        engine_reply(engine, TOY_REPLY, NULL, 0);
    }
    for (unsigned i = 0; frame[1] == TOY_TAKE_FDS && i < fds->count; i++) {
        device_host(engine->device)->close(device_host(engine->device)->context, fds->fd[i]);
        fds->fd[i] = -1;
    }
    return frame[1] == TOY_REFUSE ? ob_fault_set(&engine->fault, -EPROTO, "toy: refused") : 0;
}

static int toy_fit(struct ob_device *device, struct ob_fault *fault)
{
    return 0;
}

static int toy_misfit(struct ob_device *device, struct ob_fault *fault)
{
    return ob_fault_set(fault, -ENOTSUP, "toy: no");
}

static const struct engine_ops toy_ops = {
    .wire = "toy",
    .instance_len = sizeof(struct toy_engine),
    .header_len = 1,
    .rx_len = LIMIT_REQUEST_BYTES,
    .tx_len = LIMIT_REPLY_BYTES,
    .reply_limit = TOY_REPLY,
    .frame_len = toy_frame_len,
    .handle = toy_handle,
    .fit_device = toy_fit,
};

struct fixture {
    struct fake_host fake;
    struct ob_device *device;
    struct engine *engine;
    struct toy_engine *toy;
};

static void set_up(struct fixture *f)
{
    static const struct ob_device_desc desc = {.name = "test"};
    static const struct ob_device_ops ops;
    *f = (struct fixture){0};
    fake_host_init(&f->fake);
    assert_int_equal(device_new(&desc, &ops, NULL, &f->fake.host, &f->device, NULL), 0);
    assert_int_equal(engine_new(&toy_ops, f->device, &f->engine, NULL), 0);
    f->toy = (struct toy_engine *)f->engine;
}

static void tear_down(struct fixture *f)
{
    engine_free(f->engine);
    device_free(f->device);
    assert_true(fake_is_empty(&f->fake));
}

/* Lets the engine receive bytes with so many new descriptors on them. */
static int receive(struct fixture *f, const void *bytes, size_t len, unsigned num_fds)
{
    int fds[LIMIT_FDS_PER_RECEIVE];
    for (unsigned i = 0; i < num_fds; i++)
        fds[i] = fake_event(&f->fake);
    size_t room;
    uint8_t *to = engine_receive_space(f->engine, &room);
    assert_true(len <= room);
    memcpy(to, bytes, len);
    return engine_received(f->engine, len, fds, num_fds);
}

static size_t pending(const struct fixture *f)
{
    struct engine_output output = engine_pending(f->engine);
    assert_int_equal(output.num_fds, 0);
    return output.len;
}

static void frames_arrive_in_any_pieces(void **state)
{
    static const uint8_t stream[] = {2, TOY_NOTE, 5, TOY_NOTE, 0, 0, 0, 3, TOY_NOTE, 0};
    for (size_t piece = 1; piece <= sizeof(stream); piece++) {
        struct fixture f;
        set_up(&f);
        for (size_t at = 0; at < sizeof(stream); at += piece) {
            size_t left = sizeof(stream) - at;
            assert_int_equal(receive(&f, stream + at, left < piece ? left : piece, 0), 0);
        }
        assert_int_equal(f.toy->frames, 3);
        assert_int_equal(f.engine->rx_len, 0);
        tear_down(&f);
    }
}

static void a_header_is_read_once(void **state)
{
    static const uint8_t stream[] = {9, TOY_NOTE, 0, 0, 0, 0, 0, 0, 0, 2, TOY_WAIT, 3, TOY_NOTE, 0};
    struct fixture f;
    set_up(&f);
    for (size_t at = 0; at < 10; at++)
        assert_int_equal(receive(&f, stream + at, 1, 0), 0);
    assert_int_equal(receive(&f, stream + 10, 4, 0), 0);
    assert_int_equal(f.toy->headers, 2); /* of the one that waits, too */
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(engine_poke(f.engine), 0);
    assert_int_equal(f.toy->headers, 2);
    assert_int_equal(f.toy->frames, 1);
    f.toy->ready = true;
    assert_int_equal(engine_poke(f.engine), 0);
    assert_int_equal(f.toy->headers, 3);
    assert_int_equal(f.toy->frames, 3);
    tear_down(&f);
}

static void descriptors_go_with_the_last_frame_begun(void **state)
{
    struct fixture f;
    set_up(&f);
    assert_int_equal(receive(&f, "\2\0\2\0", 4, 3), 0); /* two whole frames */
    assert_int_equal(f.toy->fds_of_frame[0], 0);
    assert_int_equal(f.toy->fds_of_frame[1], 3);
    assert_int_equal(receive(&f, "\2\0\4\0", 4, 2), 0); /* one, and the start of another */
    assert_int_equal(f.toy->fds_of_frame[2], 0);
    assert_int_equal(receive(&f, "\0", 1, 1), 0);     /* its middle */
    assert_int_equal(receive(&f, "\0\2\0", 3, 4), 0); /* its end, and one more */
    assert_int_equal(f.toy->frames, 5);
    assert_int_equal(f.toy->fds_of_frame[3], 3);
    assert_int_equal(f.toy->fds_of_frame[4], 4);
    assert_int_equal(receive(&f, "\2\0", 2, 0), 0);
    assert_int_equal(f.toy->fds_of_frame[5], 0);
    assert_int_equal(fake_open_count(&f.fake), 0); /* nobody took them */
    tear_down(&f);
}

static void taken_descriptors_are_not_closed_again(void **state)
{
    struct fixture f;
    set_up(&f);
    assert_int_equal(receive(&f, "\2\2", 2, 3), 0);
    assert_int_equal(fake_open_count(&f.fake), 0);
    tear_down(&f);
}

static void descriptors_of_an_unfinished_frame_are_bounded(void **state)
{
    struct fixture f;
    set_up(&f);
    assert_int_equal(receive(&f, "\372\0", 2, 20), 0);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(receive(&f, "\0", 1, 20), 0);
    assert_true(fake_open_count(&f.fake) <= LIMIT_FDS_PER_RECEIVE + 20);
    tear_down(&f); /* and go with the engine */
}

static void unread_replies_hold_requests_back(void **state)
{
    static const uint8_t ask[] = {7, TOY_ASK, 0, 0, 0, 0, 0};
    struct fixture f;
    set_up(&f);
    uint8_t many[10 * sizeof(ask)];
    for (unsigned i = 0; i < 10; i++)
        memcpy(many + i * sizeof(ask), ask, sizeof(ask));
    assert_int_equal(receive(&f, many, sizeof(many), 2), 0);
    assert_int_equal(f.toy->frames, LIMIT_REPLY_BYTES / TOY_REPLY);
    size_t room;
    engine_receive_space(f.engine, &room);
    assert_int_equal(room, 0);

    /* Part of the replies gone: not yet; all of them: it goes on. */
    assert_int_equal(engine_sent(f.engine, TOY_REPLY), 0);
    assert_int_equal(f.toy->frames, 4);
    engine_receive_space(f.engine, &room);
    assert_int_equal(room, 0);
    size_t sent = TOY_REPLY;
    while (pending(&f) > 0) {
        assert_int_equal(*engine_pending(f.engine).bytes, 7);
        assert_int_equal(engine_sent(f.engine, 1), 0);
        sent++;
    }
    assert_int_equal(sent, 10 * TOY_REPLY);
    assert_int_equal(f.toy->frames, 10);
    assert_int_equal(f.toy->fds_of_frame[9], 2);
    assert_int_equal(fake_open_count(&f.fake), 0);
    engine_receive_space(f.engine, &room);
    assert_int_equal(room, LIMIT_REQUEST_BYTES);
    tear_down(&f);
}

/* What comes behind a refused frame is never carried out, what came before it never again, however
 * often the owner sends what is pending. */
static void check_refusal(const uint8_t *stream, size_t len, unsigned frames)
{
    struct fixture f;
    set_up(&f);
    assert_int_equal(receive(&f, stream, len, 1), -EPROTO);
    assert_int_equal(f.toy->frames, frames);
    assert_int_equal(pending(&f), TOY_REPLY);
    assert_int_equal(engine_sent(f.engine, TOY_REPLY), -EPROTO);
    assert_int_equal(f.toy->frames, frames);
    assert_int_equal(pending(&f), 0);
    assert_int_equal(receive(&f, "\2\0", 2, 1), -EPROTO);
    assert_int_equal(f.toy->frames, frames);
    assert_int_equal(f.engine->fault.code, -EPROTO);
    tear_down(&f);
}

static void a_refusal_is_final(void **state)
{
    static const uint8_t refused_frame[] = {2, TOY_ASK, 2, TOY_REFUSE, 2, TOY_NOTE, 2};
    static const uint8_t refused_header[] = {2, TOY_ASK, 1, TOY_NOTE, 2, TOY_NOTE};
    static const uint8_t refused_last[] = {2, TOY_ASK, 2, TOY_REFUSE};
    check_refusal(refused_frame, sizeof(refused_frame), 2);
    check_refusal(refused_header, sizeof(refused_header), 1);
    check_refusal(refused_last, sizeof(refused_last), 2);
}

static void a_wire_may_refuse_the_device(void **state)
{
    struct fixture f;
    struct engine_ops ops = toy_ops;
    struct engine *engine = NULL;
    struct ob_fault fault = {0};
    set_up(&f);
    ops.fit_device = toy_misfit;
    assert_int_equal(engine_new(&ops, f.device, &engine, &fault), -ENOTSUP);
    assert_string_equal(fault.text, "toy: no");
    assert_null(engine);
    engine_free(engine);
    tear_down(&f);
}

static void no_memory_is_an_error(void **state)
{
    struct fixture f;
    struct engine *engine = NULL;
    struct ob_fault fault = {0};
    set_up(&f);
    fail_allocation(1);
    assert_int_equal(engine_new(&toy_ops, f.device, &engine, &fault), -ENOMEM);
    assert_true(allocation_failed());
    assert_null(engine);
    assert_int_equal(fault.code, -ENOMEM);
    tear_down(&f);
}

static void serving_allocates_nothing(void **state)
{
    struct fixture f;
    set_up(&f);
    fail_allocation(1);
    assert_int_equal(receive(&f, "\2\1\2\0", 4, 0), 0);
    assert_int_equal(engine_sent(f.engine, TOY_REPLY), 0);
    assert_false(allocation_failed());
    tear_down(&f);
}

/* The wire has no other way to memory, and would map what must not be. */
static void memory_by_messages_needs_a_wire_that_has_them(void **state)
{
    static const struct ob_device_desc desc = {.name = "test"};
    static const struct ob_device_ops ops;
    struct fake_host fake;
    struct ob_device *device = NULL;
    struct engine *engine = NULL;
    struct ob_fault fault = {0};
    fake_host_init(&fake);
    assert_int_equal(device_new(&desc, &ops, NULL, &fake.host, &device, NULL), 0);
    memory_never_map(device_memory(device));
    assert_int_equal(engine_new(&mpqemu_engine, device, &engine, &fault), -ENOTSUP);
    assert_non_null(strstr(fault.text, "expected vfio-user"));
    assert_int_equal(engine_new(&vfio_user_engine, device, &engine, NULL), 0);
    engine_free(engine);
    device_free(device);
    assert_true(fake_is_empty(&fake));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(memory_by_messages_needs_a_wire_that_has_them),
        TEST(frames_arrive_in_any_pieces),
        TEST(a_header_is_read_once),
        TEST(descriptors_go_with_the_last_frame_begun),
        TEST(taken_descriptors_are_not_closed_again),
        TEST(descriptors_of_an_unfinished_frame_are_bounded),
        TEST(unread_replies_hold_requests_back),
        TEST(a_refusal_is_final),
        TEST(a_wire_may_refuse_the_device),
        TEST(no_memory_is_an_error),
        TEST(serving_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

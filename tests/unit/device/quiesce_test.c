// SPDX-License-Identifier: BSD-3-Clause
/* A device lets go of the guest's memory in its own time; nobody waits in a call. */
#include "device/device.h"

#include "device/pci.h"
#include "fake/server_host.h"
#include "server/engine.h"
#include "support.h"

#include <errno.h>
#include <linux/pci_regs.h>

struct seen {
    unsigned begun, asked, polls, resets, disconnects;
    int answer; /* of quiesced() */
    bool late;  /* disconnected() came while it was at it */
};

static void on_quiesce(void *state)
{
    ((struct seen *)state)->begun++;
}

static int on_quiesced(void *state)
{
    struct seen *seen = state;
    seen->asked++;
    return seen->answer;
}

static bool on_poll(void *state)
{
    ((struct seen *)state)->polls++;
    return false;
}

static void on_reset(void *state)
{
    ((struct seen *)state)->resets++;
}

static void on_disconnected(void *state)
{
    struct seen *seen = state;
    seen->disconnects++;
    seen->late = seen->answer == 0;
}

static const struct ob_device_desc desc = {.name = "test", .intx = true};
static const struct ob_device_ops all_ops = {.quiesce = on_quiesce,
                                             .quiesced = on_quiesced,
                                             .poll = on_poll,
                                             .reset = on_reset,
                                             .disconnected = on_disconnected};

struct fixture {
    struct fake_host fake;
    struct ob_device *device;
    struct seen seen;
};

static void set_up(struct fixture *f, const struct ob_device_ops *ops)
{
    *f = (struct fixture){0};
    fake_host_init(&f->fake);
    assert_int_equal(device_new(&desc, ops, &f->seen, &f->fake.host, &f->device, NULL), 0);
}

static void tear_down(struct fixture *f)
{
    device_free(f->device);
    assert_true(fake_is_empty(&f->fake));
}

static void it_is_asked_until_it_has_let_go(void **state)
{
    static const int answers[] = {1, -ETIMEDOUT}; /* it has, or never will */
    for (size_t i = 0; i < 2; i++) {
        struct fixture f;
        set_up(&f, &all_ops);
        assert_true(device_is_quiet(f.device)); /* nobody has asked it to be */
        assert_int_equal(f.seen.asked, 0);
        device_quiesce(f.device);
        device_quiesce(f.device); /* it is at it */
        assert_int_equal(f.seen.begun, 1);
        assert_false(device_is_quiet(f.device));
        assert_false(device_is_quiet(f.device));
        f.seen.answer = answers[i];
        assert_true(device_is_quiet(f.device));
        assert_int_equal(f.seen.asked, 3);
        assert_true(device_is_quiet(f.device));
        assert_int_equal(f.seen.asked, 3); /* it may be busy again */
        device_quiesce(f.device);
        assert_int_equal(f.seen.begun, 2);
        tear_down(&f);
    }
}

static void without_quiesced_it_is_done_at_once(void **state)
{
    static const struct ob_device_ops plain = {.quiesce = on_quiesce, .reset = on_reset};
    static const struct ob_device_ops none = {.reset = on_reset};
    struct fixture f;
    set_up(&f, &plain);
    device_quiesce(f.device);
    assert_true(device_is_quiet(f.device));
    assert_true(device_reset_when_quiet(f.device));
    assert_int_equal(f.seen.begun, 2);
    tear_down(&f);
    set_up(&f, &none);
    assert_true(device_reset_when_quiet(f.device));
    assert_true(device_leave(f.device));
    assert_int_equal(f.seen.resets, 1);
    tear_down(&f);
}

/* What it finishes meanwhile reaches neither memory nor interrupt, as after the reset. */
static void a_reset_comes_when_it_is_quiet(void **state)
{
    struct fixture f;
    uint32_t command = 0;
    set_up(&f, &all_ops);
    assert_int_equal(device_config_write(f.device, PCI_COMMAND, 2, PCI_COMMAND_MASTER), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_false(device_reset_when_quiet(f.device));
        assert_int_equal(f.seen.begun, 1);
        assert_int_equal(f.seen.resets, 0);
        assert_int_equal(device_config_read(f.device, PCI_COMMAND, 2, &command), 0);
        assert_int_equal(command, 0);
    }
    f.seen.answer = 1;
    assert_true(device_reset_when_quiet(f.device));
    assert_int_equal(f.seen.resets, 1);
    f.seen.answer = 0;
    assert_false(device_reset_when_quiet(f.device)); /* another one */
    assert_int_equal(f.seen.begun, 2);
    tear_down(&f);
}

static void it_is_polled_until_it_has_let_go(void **state)
{
    struct fixture f;
    set_up(&f, &all_ops);
    device_disconnect(f.device);
    assert_false(device_poll(f.device)); /* dormant */
    assert_int_equal(f.seen.polls, 0);
    assert_false(device_reset_when_quiet(f.device)); /* by the next peer */
    device_poll(f.device);
    assert_int_equal(f.seen.polls, 1);
    f.seen.answer = 1;
    assert_true(device_reset_when_quiet(f.device));
    tear_down(&f);
}

static void an_engine_leaves_when_the_device_has_let_go(void **state)
{
    const struct engine_ops *const wires[] = {&mpqemu_engine, &vfio_user_engine};
    for (size_t i = 0; i < 2; i++) {
        struct fixture f;
        struct engine *engine = NULL;
        set_up(&f, &all_ops);
        assert_int_equal(engine_new(wires[i], f.device, &engine, NULL), 0);
        assert_false(engine_leave(engine));
        assert_false(engine_leave(engine));
        assert_int_equal(f.seen.begun, 1);
        assert_int_equal(f.seen.disconnects, 0);
        f.seen.answer = 1;
        assert_true(engine_leave(engine));
        engine_free(engine);
        assert_int_equal(f.seen.begun, 1); /* not once more */
        assert_int_equal(f.seen.disconnects, 1);
        assert_false(f.seen.late);
        tear_down(&f);
    }
}

/* An owner that can't wait frees the engine all the same, and the device is told. */
static void an_engine_may_go_before_that(void **state)
{
    struct fixture f;
    struct engine *engine = NULL;
    set_up(&f, &all_ops);
    assert_int_equal(engine_new(&mpqemu_engine, f.device, &engine, NULL), 0);
    assert_false(engine_leave(engine));
    engine_free(engine);
    assert_int_equal(f.seen.disconnects, 1);
    assert_true(f.seen.late);
    assert_int_equal(engine_new(&mpqemu_engine, f.device, &engine, NULL), 0);
    engine_free(engine); /* without a word before */
    assert_int_equal(f.seen.begun, 2);
    assert_int_equal(f.seen.disconnects, 2);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_is_asked_until_it_has_let_go),
        TEST(without_quiesced_it_is_done_at_once),
        TEST(a_reset_comes_when_it_is_quiet),
        TEST(it_is_polled_until_it_has_let_go),
        TEST(an_engine_leaves_when_the_device_has_let_go),
        TEST(an_engine_may_go_before_that),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

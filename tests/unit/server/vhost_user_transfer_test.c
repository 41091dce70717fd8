// SPDX-License-Identifier: BSD-3-Clause
/* The device's own state goes through a pipe of the front end's: SET_DEVICE_STATE_FD, CHECK_DEVICE_STATE. */
#include "server/vhost_user_fixture.h"

#include <errno.h>
#include <string.h>

#include "base/cursor.h"
#include "server/vhost_user/vhost_user.h"
#include "support.h"

#define REFUSED (VHOST_USER_STATE_NO_FD | 1)

static void begin(struct fixture *f)
{
    fixture_start(f);
    fixture_negotiate(f, MODERN);
    for (unsigned i = 0; i < OWN_LEN; i++)
        f->own[i] = (uint8_t)(i * 7);
}

/* The answer to a transfer in that direction, over a descriptor of that kind. */
static uint64_t transfer(struct fixture *f, uint32_t direction, uint32_t phase, enum fake_kind kind)
{
    uint8_t payload[VHOST_USER_TRANSFER_LEN];
    const struct vhost_user_transfer wanted = {.direction = direction, .phase = phase};
    vhost_user_transfer_put(payload, sizeof(payload), &wanted);
    assert_int_equal(fixture_send(f, VHOST_USER_SET_DEVICE_STATE_FD, VHOST_USER_VERSION, payload,
                                  sizeof(payload),
                                  kind == FAKE_CLOSED ? -1 : fake_open(&f->fake, kind, 0)),
                     0);
    return fixture_answer(f);
}

static uint64_t check(struct fixture *f)
{
    fixture_send(f, VHOST_USER_CHECK_DEVICE_STATE, VHOST_USER_VERSION, NULL, 0, -1);
    return fixture_answer(f);
}

/* The state of a device, read from its pipe by so many bytes. */
static size_t saved(struct fixture *f, size_t room, uint8_t *to)
{
    size_t len = 0;
    f->fake.pipe = (struct fake_pipe){.room = room};
    assert_int_equal(transfer(f, VHOST_USER_TRANSFER_SAVE, 0, FAKE_PIPE), VHOST_USER_STATE_NO_FD);
    while (fake_pipe_ready(&f->fake)) {
        memcpy(to + len, f->fake.pipe.bytes, f->fake.pipe.len);
        len += f->fake.pipe.len;
        f->fake.pipe.len = 0;
    }
    assert_int_equal(check(f), 0);
    return len;
}

/* Whether a device takes the state. */
static bool takes(const uint8_t *state, size_t len, size_t piece)
{
    struct fixture f;
    fixture_start(&f);
    fixture_negotiate(&f, MODERN);
    f.fake.pipe = (struct fake_pipe){0};
    assert_int_equal(transfer(&f, VHOST_USER_TRANSFER_LOAD, 0, FAKE_PIPE), VHOST_USER_STATE_NO_FD);
    for (size_t at = 0; at < len; at += piece) {
        f.fake.pipe.len = len - at < piece ? len - at : piece;
        memcpy(f.fake.pipe.bytes, state + at, f.fake.pipe.len);
        if (!fake_pipe_ready(&f.fake))
            break;
    }
    fixture_send(&f, VHOST_USER_CHECK_DEVICE_STATE, VHOST_USER_VERSION, NULL, 0, -1);
    if (f.said_len == 0) { /* it waits for the end */
        f.fake.pipe.ended = true;
        assert_true(fake_pipe_ready(&f.fake));
        fixture_poll(&f);
    }
    const bool good = fixture_answer(&f) == 0;
    assert_int_equal(f.loads, good);
    for (unsigned i = 0; good && i < OWN_LEN; i++)
        assert_int_equal(f.own[i], (uint8_t)(i * 7));
    fixture_stop(&f);
    return good;
}

static void a_state_goes_from_one_device_to_another(void **state)
{
    static const size_t pieces[] = {1, 7, 4096};
    uint8_t bytes[FAKE_PIPE_LEN];
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct fixture f;
        begin(&f);
        const size_t len = saved(&f, pieces[i], bytes);
        assert_true(len > OWN_LEN);
        assert_int_equal(saved(&f, 4096, bytes), len); /* as often as one likes */
        fixture_stop(&f);
        for (size_t k = 0; k < sizeof(pieces) / sizeof(pieces[0]); k++)
            assert_true(takes(bytes, len, pieces[k]));
        for (size_t cut = 0; cut < len; cut++)
            assert_false(takes(bytes, cut, 4096));
        assert_false(takes(bytes, len + 1, 4096));
        assert_false(takes(bytes, sizeof(bytes), 4096));
    }
}

static void a_state_of_another_device_is_refused(void **state)
{
    uint8_t bytes[FAKE_PIPE_LEN];
    struct fixture f;
    begin(&f);
    const size_t len = saved(&f, 4096, bytes);
    for (size_t at = 0; at < len - OWN_LEN; at++) {
        bytes[at] ^= 0x80;
        assert_false(takes(bytes, len, 4096));
        bytes[at] ^= 0x80;
    }
    fixture_stop(&f);
}

static void a_transfer_that_can_not_be_is_refused(void **state)
{
    struct fixture f;
    begin(&f);
    assert_int_equal(check(&f), 1); /* there was none */
    assert_int_equal(transfer(&f, 2, 0, FAKE_PIPE), REFUSED);
    assert_int_equal(transfer(&f, 0, 1, FAKE_PIPE), REFUSED);
    assert_int_equal(transfer(&f, 0, 0, FAKE_CLOSED), REFUSED);
    assert_int_equal(transfer(&f, 0, 0, FAKE_OTHER), REFUSED);
    assert_int_equal(transfer(&f, 1, 0, FAKE_FILE), REFUSED);
    fixture_start_ring(&f, 0);
    assert_int_equal(transfer(&f, 0, 0, FAKE_PIPE), REFUSED);
    fixture_send_state(&f, VHOST_USER_GET_VRING_BASE, 0, 0);
    assert_int_equal(transfer(&f, 0, 0, FAKE_PIPE), VHOST_USER_STATE_NO_FD);
    fixture_stop(&f); /* in the midst of it */
}

static void a_front_end_that_vanishes_ends_the_transfer(void **state)
{
    struct fixture f;
    begin(&f);
    f.fake.pipe = (struct fake_pipe){.ended = true};
    assert_int_equal(transfer(&f, VHOST_USER_TRANSFER_SAVE, 0, FAKE_PIPE), VHOST_USER_STATE_NO_FD);
    fake_pipe_ready(&f.fake);
    assert_int_equal(check(&f), 1);
    /* Another one takes the place of one that nobody reads. */
    f.fake.pipe = (struct fake_pipe){.room = 0};
    transfer(&f, VHOST_USER_TRANSFER_SAVE, 0, FAKE_PIPE);
    assert_true(fake_pipe_ready(&f.fake));
    const unsigned before = fake_open_count(&f.fake);
    transfer(&f, VHOST_USER_TRANSFER_SAVE, 0, FAKE_PIPE);
    assert_int_equal(fake_open_count(&f.fake), before);
    f.fake.refuses_watch = true;
    assert_int_equal(transfer(&f, VHOST_USER_TRANSFER_SAVE, 0, FAKE_PIPE), REFUSED);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_goes_from_one_device_to_another),
        cmocka_unit_test(a_state_of_another_device_is_refused),
        cmocka_unit_test(a_transfer_that_can_not_be_is_refused),
        cmocka_unit_test(a_front_end_that_vanishes_ends_the_transfer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

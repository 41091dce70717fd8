// SPDX-License-Identifier: BSD-3-Clause
/* DEVICE_FEATURE of a vfio-user remote: what is asked, and which answers count. */
#include "support.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

#include "os/event.h"
#include "remote/fixture.h"
#include "remote/vfio_user.h"

static size_t answer_len; /* of the payload */

static size_t say(struct fake_remote *remote, struct message *message)
{
    memset(message->payload + VFIO_USER_FEATURE_LEN, 0xab, 16);
    return answer_len;
}

static int get(struct fixture *f, size_t len, uint8_t *ret_data)
{
    answer_len = len;
    f->remote.answer = say;
    return FIXTURE_SERVED(
        f, 1, vfio_user_get_feature(f->client, 2, (const uint8_t *)"abc", 3, ret_data, 8));
}

static void a_feature_is_asked_for_with_room_for_its_answer(void **state)
{
    struct fixture f;
    uint8_t data[8];
    fixture_start_probed(&f, NULL);
    assert_int_equal(get(&f, 16, data), 0);
    assert_memory_equal(data, "\xab\xab\xab\xab\xab\xab\xab\xab", 8);
    /* argsz: head and the longer of question and answer; flags: GET of number 2. */
    assert_int_equal(f.remote.last.len, 11);
    assert_memory_equal(f.remote.last.payload, "\x10\0\0\0\2\0\1\0abc", 11);
    fixture_stop(&f);
}

static void an_answer_of_another_length_ends_it(void **state)
{
    static const size_t lens[] = {0, 7, 8, 15};
    for (unsigned i = 0; i < 4; i++) {
        struct fixture f;
        uint8_t data[8];
        fixture_start_probed(&f, NULL);
        assert_int_equal(get(&f, lens[i], data), -EPROTO);
        fixture_check_state(&f, OB_CLIENT_LOST);
        fixture_stop(&f);
    }
}

static void a_feature_that_is_refused_ends_nothing(void **state)
{
    struct fixture f;
    uint8_t data[8];
    fixture_start_probed(&f, NULL);
    f.remote.refused[VFIO_USER_DEVICE_FEATURE] = ENOTTY;
    assert_int_equal(get(&f, 16, data), -EREMOTEIO);
    assert_int_equal(ob_client_refusal(f.client), -ENOTTY);
    fixture_check_state(&f, OB_CLIENT_ALIVE);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_feature_is_asked_for_with_room_for_its_answer),
        TEST(an_answer_of_another_length_ends_it),
        TEST(a_feature_that_is_refused_ends_nothing),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}

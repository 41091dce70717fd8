// SPDX-License-Identifier: BSD-3-Clause
/* A queue behind the vhost-user engine: kicks, and what its end waits for. */
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "server/vhost_user_fixture.h"
#include "support.h"

/* The first of two that were taken is given back unused, and the second is completed: no index of the
 * ring tells that the first is missing. */
static void the_base_waits_for_what_was_given_back_before_others(void **state)
{
    struct fixture f;
    fixture_start(&f);
    f.holds = true;
    fixture_negotiate(&f, MODERN);
    fixture_start_ring(&f, 0);
    fixture_offer(&f, 0, DATA, 16);
    fixture_offer(&f, 1, DATA + 64, 16);
    fixture_kick(&f);
    assert_int_equal(f.num_chains, 2);
    fixture_send_state(&f, VHOST_USER_GET_VRING_BASE, 0, 0);
    fixture_offer(&f, 2, DATA + 128, 16); /* is not taken any more */
    ob_virtio_complete(f.chains[1], 0);
    ob_virtio_return(f.chains[0]);
    f.num_chains = 0;
    fixture_poll(&f); /* the engine asks again whether the queue has stopped */
    assert_int_equal(f.said_len, 0);
    fixture_poll(&f);
    assert_int_equal(f.said_len, 0);
    assert_int_equal(f.num_chains, 1);
    assert_ptr_equal(f.chains[0]->writable->address, fixture_at(&f, DATA));
    ob_virtio_complete(f.chains[--f.num_chains], 0);
    fixture_poll(&f);
    assert_int_equal(fixture_answer_num(&f), 2);
    assert_int_equal(fixture_get16(&f, USED + 2), 2);
    fixture_stop(&f);
}

static uint16_t wanted_kick(struct fixture *f)
{
    return fixture_get16(f, USED + 4 + RING_SIZE * 8);
}

/* While the server polls, the ring is looked at; before it sleeps, the driver is asked to notify. */
static void a_kick_is_wanted_only_before_the_server_sleeps(void **state)
{
    struct fixture f;
    fixture_start(&f);
    fixture_negotiate(&f, MODERN | BIT(VIRTIO_RING_F_EVENT_IDX));
    fixture_start_ring(&f, 0);
    fixture_put16(&f, USED + 4 + RING_SIZE * 8, 0x7777);
    while (device_poll(f.device))
        ;
    fixture_offer(&f, 0, DATA, 16); /* no kick */
    while (device_poll(f.device))
        ;
    assert_int_equal(fixture_get16(&f, USED + 2), 1);
    assert_int_equal(wanted_kick(&f), 0x7777);
    assert_false(device_before_sleep(f.device));
    assert_int_equal(wanted_kick(&f), 1);
    fixture_offer(&f, 1, DATA + 64, 16);
    assert_false(device_poll(f.device)); /* it comes with a kick */
    fixture_kick(&f);
    assert_int_equal(fixture_get16(&f, USED + 2), 2);
    assert_int_equal(wanted_kick(&f), 2);
    fixture_stop(&f);
}

/* A chain that comes between the last look and the wish. */
static void a_chain_that_comes_before_the_server_sleeps_is_seen(void **state)
{
    struct fixture f;
    fixture_start(&f);
    fixture_negotiate(&f, MODERN | BIT(VIRTIO_RING_F_EVENT_IDX));
    fixture_start_ring(&f, 0);
    while (device_poll(f.device))
        ;
    fixture_offer(&f, 0, DATA, 16);
    assert_true(device_before_sleep(f.device));
    fixture_poll(&f);
    assert_int_equal(fixture_get16(&f, USED + 2), 1);
    fixture_stop(&f);
}

/* A front end that has gone without a word leaves a queue that runs, and a device that is dormant. */
static void another_front_end_is_served_after_one_that_has_gone(void **state)
{
    struct fixture f;
    fixture_start(&f);
    for (unsigned round = 0; round < 3; round++) {
        fixture_negotiate(&f, round == 1 ? MODERN | BIT(VIRTIO_RING_F_EVENT_IDX) : MODERN);
        fixture_start_ring(&f, 0);
        fixture_offer(&f, 0, DATA, 16);
        fixture_kick(&f);
        assert_int_equal(fixture_get16(&f, USED + 2), 1);
        while (!engine_leave(f.engine))
            device_poll(f.device);
        engine_free(f.engine);
        assert_int_equal(engine_new(&vhost_user_engine, f.device, &f.engine, NULL), 0);
    }
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_base_waits_for_what_was_given_back_before_others),
        TEST(a_kick_is_wanted_only_before_the_server_sleeps),
        TEST(a_chain_that_comes_before_the_server_sleeps_is_seen),
        TEST(another_front_end_is_served_after_one_that_has_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

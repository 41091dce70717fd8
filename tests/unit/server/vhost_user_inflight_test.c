// SPDX-License-Identifier: BSD-3-Clause
/* A back end that dies, and its successor, with the inflight buffer that the front end kept. */
#include "server/vhost_user_fixture.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "base/cursor.h"
#include "server/vhost_user/vhost_user.h"
#include "support.h"

#define PACKED      (MODERN | BIT(VIRTIO_F_RING_PACKED))
#define FRESH_BASE  0x80008000u /* of a packed ring: both counters of wraps begin with 1 */
#define INODE       11u
#define BUFFER_LEN  1024u
#define HEADER_LEN  32u
#define FREE_HEAD   12u
#define USED_AT     16u
#define OLD_USED_AT 18u
#define WRAP_AT     20u
#define OLD_WRAP_AT 21u
#define AVAILABLE   0x80u
#define IS_USED     0x8000u

/* What a front end has when its back end dies. */
struct rest {
    uint8_t memory[FAKE_FILE_LEN];
    uint8_t buffer[BUFFER_LEN];
};

static uint8_t *buffer_of(struct fixture *f)
{
    return ((struct vhost_user_server *)f->engine)->inflight.buffer.bytes;
}

static int set_inflight(struct fixture *f, uint64_t len, unsigned entries)
{
    uint8_t payload[VHOST_USER_INFLIGHT_LEN];
    const struct vhost_user_inflight inflight = {
        .mmap_size = len, .num_queues = 1, .queue_size = (uint16_t)entries};
    vhost_user_inflight_put(payload, sizeof(payload), &inflight);
    return fixture_send(f, VHOST_USER_SET_INFLIGHT_FD, NEED_REPLY, payload, sizeof(payload),
                        fake_file(&f->fake, INODE));
}

static void begin(struct fixture *f, uint64_t features, const struct rest *rest)
{
    fixture_start(f);
    f->holds = true;
    fixture_negotiate(f, features);
    assert_int_equal(set_inflight(f, BUFFER_LEN, RING_SIZE), 0);
    assert_int_equal(fixture_answer(f), 0);
    const size_t len = ((struct vhost_user_server *)f->engine)->inflight.buffer.len;
    assert_true(len <= BUFFER_LEN);
    memset(buffer_of(f), 0, len);
    if (!rest)
        return;
    memcpy(buffer_of(f), rest->buffer, len);
    memcpy(fixture_at(f, 0), rest->memory, FAKE_FILE_LEN);
}

static void keep(struct fixture *f, struct rest *ret_rest)
{
    const size_t len = ((struct vhost_user_server *)f->engine)->inflight.buffer.len;
    memset(ret_rest, 0, sizeof(*ret_rest));
    memcpy(ret_rest->buffer, buffer_of(f), len);
    memcpy(ret_rest->memory, fixture_at(f, 0), FAKE_FILE_LEN);
}

static uint64_t address_of(unsigned number)
{
    return DATA + number * 64;
}

/* The driver makes a descriptor available in the first lap of the ring, or in the second. */
static void offer_packed(struct fixture *f, unsigned at, unsigned number, bool first_lap)
{
    struct wr wr = wr_init(fixture_at(f, DESC + at * 16u), 16);
    wr_u64(&wr, address_of(number));
    wr_u32(&wr, 16);
    wr_u16(&wr, (uint16_t)(100 + number));
    wr_u16(&wr, (uint16_t)(VRING_DESC_F_WRITE | (first_lap ? AVAILABLE : IS_USED)));
}

/* The id of the used element there, or -1. */
static int used_packed(struct fixture *f, unsigned at, bool first_lap)
{
    const uint16_t flags = fixture_get16(f, DESC + at * 16u + 14);
    const unsigned expected = first_lap ? AVAILABLE | IS_USED : 0;
    return (flags & (AVAILABLE | IS_USED)) == expected ? fixture_get16(f, DESC + at * 16u + 12)
                                                       : -1;
}

static void complete(struct fixture *f, unsigned which)
{
    ob_virtio_write(f->chains[which], 0, "done", 4);
    ob_virtio_complete(f->chains[which], 4);
    f->num_chains--;
    memmove(f->chains + which, f->chains + which + 1,
            (f->num_chains - which) * sizeof(f->chains[0]));
}

static bool is_chain(struct fixture *f, unsigned which, unsigned number)
{
    return f->chains[which]->writable->address == fixture_at(f, address_of(number));
}

static void chains_of_a_split_ring_are_taken_again(void **state)
{
    struct fixture first, second;
    static struct rest rest;
    begin(&first, MODERN, NULL);
    fixture_start_ring(&first, 0);
    for (uint16_t head = 0; head < 4; head++)
        fixture_offer(&first, head, address_of(head), 16);
    fixture_kick(&first);
    assert_int_equal(first.num_chains, 4);
    complete(&first, 1);
    keep(&first, &rest);
    begin(&second, MODERN, &rest);
    fixture_start_ring(&second, 1); /* QEMU: the index of the used ring */
    fixture_poll(&second);
    assert_int_equal(second.num_chains, 3);
    assert_true(is_chain(&second, 0, 0) && is_chain(&second, 1, 2) && is_chain(&second, 2, 3));
    fixture_offer(&second, 1, address_of(4), 16);
    fixture_kick(&second);
    assert_int_equal(second.num_chains, 4);
    while (second.num_chains > 0)
        complete(&second, 0);
    assert_int_equal(fixture_get16(&second, USED + 2), 5);
    fixture_stop(&first);
    fixture_stop(&second);
}

/* The first eight are taken, the second and the fourth have ended, and two come in their places. */
static void live_packed(struct fixture *f)
{
    begin(f, PACKED, NULL);
    fixture_start_ring(f, FRESH_BASE);
    for (unsigned number = 0; number < 8; number++)
        offer_packed(f, number, number, true);
    fixture_kick(f);
    assert_int_equal(f->num_chains, 8);
    complete(f, 1);
    complete(f, 2);
    assert_int_equal(used_packed(f, 0, true), 101);
    assert_int_equal(used_packed(f, 1, true), 103);
    offer_packed(f, 0, 8, false);
    offer_packed(f, 1, 9, false);
    fixture_kick(f);
    assert_int_equal(f->num_chains, 8);
}

/* QEMU knows the place of no packed ring whose back end has died: the base is an old one. */
static void chains_of_a_packed_ring_are_taken_again(void **state)
{
    static const unsigned expected[] = {0, 2, 4, 5, 6, 7, 8, 9};
    struct fixture first, second, third;
    static struct rest rest;
    live_packed(&first);
    keep(&first, &rest);
    begin(&second, PACKED, &rest);
    fixture_start_ring(&second, FRESH_BASE);
    fixture_poll(&second);
    assert_int_equal(second.num_chains, 8);
    for (unsigned i = 0; i < 8; i++)
        assert_true(is_chain(&second, i, expected[i]));
    complete(&second, 7);
    complete(&second, 0);
    assert_int_equal(used_packed(&second, 2, true), 109);
    assert_int_equal(used_packed(&second, 3, true), 100);
    keep(&second, &rest); /* it dies too */
    begin(&third, PACKED, &rest);
    fixture_start_ring(&third, FRESH_BASE);
    offer_packed(&third, 2, 10, false);
    fixture_poll(&third);
    assert_int_equal(third.num_chains, 7);
    assert_true(is_chain(&third, 0, 2) && is_chain(&third, 5, 8) && is_chain(&third, 6, 10));
    while (third.num_chains > 0)
        complete(&third, 0);
    assert_int_equal(used_packed(&third, 7, true), 106);
    assert_int_equal(used_packed(&third, 2, false), 110);
    fixture_stop(&first);
    fixture_stop(&second);
    fixture_stop(&third);
}

/* Dies between a completion's intent, the ring and the end of the mark. Returns whether the chain was
 * taken again. */
static bool is_taken_again(bool ring_is_written, bool mark_is_gone)
{
    struct fixture first, second;
    static struct rest before, after, torn;
    begin(&first, PACKED, NULL);
    fixture_start_ring(&first, FRESH_BASE);
    offer_packed(&first, 0, 0, true);
    fixture_kick(&first);
    keep(&first, &before);
    complete(&first, 0);
    keep(&first, &after);
    torn = ring_is_written ? after : before;
    memcpy(torn.buffer, mark_is_gone ? after.buffer : before.buffer, BUFFER_LEN);
    torn.buffer[OLD_USED_AT] = before.buffer[OLD_USED_AT];
    torn.buffer[OLD_WRAP_AT] = before.buffer[OLD_WRAP_AT];
    torn.buffer[USED_AT] = after.buffer[USED_AT];
    memcpy(torn.buffer + FREE_HEAD, after.buffer + FREE_HEAD, 2);
    begin(&second, PACKED, &torn);
    fixture_start_ring(&second, FRESH_BASE);
    fixture_poll(&second);
    const bool again = second.num_chains == 1;
    offer_packed(&second, 1, 1, true);
    fixture_kick(&second);
    assert_int_equal(second.num_chains, again ? 2 : 1);
    while (second.num_chains > 0)
        complete(&second, 0);
    assert_int_equal(used_packed(&second, 1, true), 101);
    fixture_stop(&first);
    fixture_stop(&second);
    return again;
}

static void a_completion_is_carried_out_once_wherever_the_process_dies(void **state)
{
    assert_true(is_taken_again(false, false));
    assert_false(is_taken_again(true, false));
    assert_false(is_taken_again(true, true));
}

/* The front end learns the place, and a driver that begins again has another one. */
static void an_orderly_end_leaves_the_place_to_the_front_end(void **state)
{
    struct fixture f;
    begin(&f, PACKED, NULL);
    fixture_start_ring(&f, FRESH_BASE);
    offer_packed(&f, 0, 0, true);
    fixture_kick(&f);
    complete(&f, 0);
    fixture_send_state(&f, VHOST_USER_GET_VRING_BASE, 0, 0);
    assert_int_equal(fixture_answer_num(&f), 0x80018001u);
    assert_int_equal(buffer_of(&f)[8], 0);
    offer_packed(&f, 0, 1, true);
    fixture_start_ring(&f, FRESH_BASE);
    fixture_poll(&f);
    assert_int_equal(f.num_chains, 1);
    assert_true(is_chain(&f, 0, 1));
    fixture_stop(&f);
}

/* Lists that overlap, lead outside or go in circles are refused; the ring does not start. */
static void every_byte_of_the_buffer_may_be_a_lie(void **state)
{
    static const uint8_t flips[] = {0x01, 0x80, 0xff};
    struct fixture first;
    static struct rest rest, lie;
    unsigned refused = 0;
    live_packed(&first);
    keep(&first, &rest);
    for (unsigned at = 0; at < HEADER_LEN + 8 * 32; at++)
        for (unsigned i = 0; i < sizeof(flips); i++) {
            struct fixture second;
            lie = rest;
            lie.buffer[at] ^= flips[i];
            begin(&second, PACKED, &lie);
            fixture_describe_ring(&second, USER + DESC, USER + AVAIL, USER + USED, FRESH_BASE);
            second.holds = false;
            if (fixture_send_state(&second, VHOST_USER_SET_VRING_ENABLE, 0, 1) == 0)
                fixture_poll(&second);
            else
                refused++;
            fixture_stop(&second);
        }
    assert_true(refused > 20);
    fixture_stop(&first);
}

/* A packed ring needs twice the room, which a buffer for split rings does not have. */
static void a_buffer_has_room_for_the_kind_of_ring(void **state)
{
    struct fixture f;
    fixture_start(&f);
    fixture_negotiate(&f, PACKED);
    assert_int_equal(set_inflight(&f, virtio_inflight_len(1, RING_SIZE, false), RING_SIZE), 0);
    assert_int_equal(fixture_answer(&f), 1);
    assert_int_equal(set_inflight(&f, virtio_inflight_len(1, RING_SIZE, true), RING_SIZE), 0);
    assert_int_equal(fixture_answer(&f), 0);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains_of_a_split_ring_are_taken_again),
        cmocka_unit_test(chains_of_a_packed_ring_are_taken_again),
        cmocka_unit_test(a_completion_is_carried_out_once_wherever_the_process_dies),
        cmocka_unit_test(an_orderly_end_leaves_the_place_to_the_front_end),
        cmocka_unit_test(every_byte_of_the_buffer_may_be_a_lie),
        cmocka_unit_test(a_buffer_has_room_for_the_kind_of_ring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
/* Front ends that break the rules of memory, rings, logs and translations: each is refused with a reason,
 * nothing of it stays, and the ring that ran before works on. */
#include "server/vhost_user_fixture.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>

#include "base/limits.h"
#include "support.h"

#define PAGE  UINT64_C(4096)
#define ABOVE FAKE_FILE_LEN /* guest addresses behind the memory that is there */

static void begin(struct fixture *f)
{
    fixture_start(f);
    fixture_negotiate(f, MODERN);
    fixture_start_ring(f, 0);
    fixture_poll(f);
}

/* The driver has a buffer filled, of which number `round` is the first that it ever made available. */
static void assert_works(struct fixture *f, uint16_t round)
{
    memset(fixture_at(f, DATA), 0, 4);
    fixture_offer(f, 0, DATA, 16);
    fixture_kick(f);
    assert_int_equal(fixture_get16(f, USED + 2), round + 1);
    assert_memory_equal(fixture_at(f, DATA), "done", 4);
}

static void send_region(struct fixture *f, const struct vhost_user_region *region, int fd)
{
    uint8_t payload[VHOST_USER_MEM_REG_LEN] = {0};
    vhost_user_region_put(payload + 8, VHOST_USER_REGION_LEN, region);
    assert_int_equal(
        fixture_send(f, VHOST_USER_ADD_MEM_REG, NEED_REPLY, payload, sizeof(payload), fd), 0);
}

static void regions_that_can_not_be_are_refused(void **state)
{
    static const struct {
        struct vhost_user_region region;
        enum fake_kind kind;
    } wrong[] = {
        {{.gpa = ABOVE, .size = 0, .user_address = USER + ABOVE}, FAKE_FILE},
        {{.gpa = UINT64_MAX - PAGE + 1, .size = 2 * PAGE, .user_address = USER}, FAKE_FILE},
        {{.gpa = ABOVE, .size = UINT64_MAX, .user_address = USER}, FAKE_FILE},
        {{.gpa = ABOVE, .size = FAKE_FILE_LEN + PAGE, .user_address = USER + ABOVE}, FAKE_FILE},
        {{.gpa = ABOVE, .size = PAGE, .user_address = USER, .mmap_offset = FAKE_FILE_LEN},
         FAKE_FILE},
        {{.gpa = ABOVE, .size = PAGE, .user_address = USER, .mmap_offset = UINT64_MAX - PAGE + 1},
         FAKE_FILE},
        {{.gpa = ABOVE - PAGE, .size = 2 * PAGE, .user_address = USER + ABOVE}, FAKE_FILE},
        {{.gpa = 0, .size = PAGE, .user_address = USER + ABOVE}, FAKE_FILE},
        {{.gpa = ABOVE, .size = PAGE, .user_address = USER + ABOVE}, FAKE_EVENT},
        {{.gpa = ABOVE, .size = PAGE, .user_address = USER + ABOVE}, FAKE_PIPE},
        {{.gpa = ABOVE, .size = PAGE, .user_address = USER + ABOVE}, FAKE_OTHER},
        {{.gpa = ABOVE, .size = PAGE, .user_address = USER + ABOVE}, FAKE_CLOSED},
    };
    struct fixture f;
    begin(&f);
    const unsigned open = fake_open_count(&f.fake), mapped = f.fake.mappings;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const enum fake_kind kind = wrong[i].kind;
        send_region(&f, &wrong[i].region, kind == FAKE_CLOSED ? -1 : fake_open(&f.fake, kind, 9));
        assert_int_equal(fixture_answer(&f), 1);
        assert_int_equal(f.fake.warnings, i + 1);
        assert_int_equal(fake_open_count(&f.fake), open);
        assert_int_equal(f.fake.mappings, mapped);
    }
    assert_works(&f, 0);
    fixture_stop(&f);
}

static void no_more_slots_are_taken_than_were_promised(void **state)
{
    struct fixture f;
    begin(&f);
    fixture_send(&f, VHOST_USER_GET_MAX_MEM_SLOTS, VHOST_USER_VERSION, NULL, 0, -1);
    assert_int_equal(fixture_answer(&f), LIMIT_VHOST_USER_SLOTS);
    for (uint64_t i = 1; i <= LIMIT_VHOST_USER_SLOTS; i++) {
        const struct vhost_user_region region = {
            .gpa = i * FAKE_FILE_LEN, .size = PAGE, .user_address = USER + i * FAKE_FILE_LEN};
        send_region(&f, &region, fake_file(&f.fake, 9));
        assert_int_equal(fixture_answer(&f), i == LIMIT_VHOST_USER_SLOTS); /* one was there */
    }
    assert_works(&f, 0);
    fixture_stop(&f);
}

/* Count, regions that follow, descriptors. */
static void tables_that_can_not_be_are_refused(void **state)
{
    static const uint32_t wrong[][3] = {{1, 0, 0}, {0, 1, 0},          {2, 1, 1}, {1, 1, 0},
                                        {0, 0, 1}, {UINT32_MAX, 1, 1}, {9, 8, 1}};
    struct fixture f;
    begin(&f);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        uint8_t payload[VHOST_USER_TABLE_LEN + 8 * VHOST_USER_REGION_LEN] = {0};
        memcpy(payload, &wrong[i][0], sizeof(wrong[i][0]));
        for (uint32_t k = 0; k < wrong[i][1]; k++) {
            const struct vhost_user_region region = {
                .gpa = k * PAGE, .size = PAGE, .user_address = USER + k * PAGE};
            vhost_user_region_put(payload + VHOST_USER_TABLE_LEN + k * VHOST_USER_REGION_LEN,
                                  VHOST_USER_REGION_LEN, &region);
        }
        const int fd = wrong[i][2] > 0 ? fake_file(&f.fake, 9) : -1;
        const size_t len = VHOST_USER_TABLE_LEN + wrong[i][1] * VHOST_USER_REGION_LEN;
        assert_int_equal(fixture_send(&f, VHOST_USER_SET_MEM_TABLE, NEED_REPLY, payload, len, fd),
                         0);
        assert_int_equal(fixture_answer(&f), 1);
        assert_works(&f, (uint16_t)i);
    }
    fixture_stop(&f);
}

static void logs_that_can_not_be_are_refused(void **state)
{
    static const struct {
        struct vhost_user_log log;
        enum fake_kind kind;
    } wrong[] = {
        {{.size = 0}, FAKE_FILE},
        {{.size = PAGE, .offset = 1}, FAKE_FILE},
        {{.size = UINT64_MAX, .offset = PAGE}, FAKE_FILE},
        {{.size = FAKE_FILE_LEN + 1}, FAKE_FILE},
        {{.size = PAGE, .offset = FAKE_FILE_LEN}, FAKE_FILE},
        {{.size = PAGE}, FAKE_EVENT},
        {{.size = PAGE}, FAKE_PIPE},
        {{.size = PAGE}, FAKE_OTHER},
        {{.size = PAGE}, FAKE_CLOSED},
    };
    struct fixture f;
    begin(&f);
    const unsigned open = fake_open_count(&f.fake);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        uint8_t payload[VHOST_USER_LOG_LEN];
        const enum fake_kind kind = wrong[i].kind;
        vhost_user_log_put(payload, sizeof(payload), &wrong[i].log);
        fixture_send(&f, VHOST_USER_SET_LOG_BASE, VHOST_USER_VERSION, payload, sizeof(payload),
                     kind == FAKE_CLOSED ? -1 : fake_open(&f.fake, kind, 9));
        assert_int_equal(fixture_answer(&f), 1);
        assert_int_equal(fake_open_count(&f.fake), open);
    }
    assert_works(&f, 0);
    fixture_stop(&f);
}

/* A log of one byte, and memory of 16 pages: what is written behind the eighth is in no log. */
static void a_log_that_is_too_short_is_not_left(void **state)
{
    struct fixture f;
    uint8_t payload[VHOST_USER_LOG_LEN];
    begin(&f);
    vhost_user_log_put(payload, sizeof(payload), &(struct vhost_user_log){.size = 1});
    fixture_send(&f, VHOST_USER_SET_LOG_BASE, VHOST_USER_VERSION, payload, sizeof(payload),
                 fake_file(&f.fake, 9));
    assert_int_equal(fixture_answer(&f), 0);
    fixture_send_u64(&f, VHOST_USER_SET_FEATURES, NEED_REPLY, MODERN | BIT(VHOST_USER_F_LOG_ALL),
                     -1);
    assert_int_equal(fixture_answer(&f), 0);
    fixture_offer(&f, 1, 15 * PAGE, 16); /* a sanitizer sees a byte behind the log */
    fixture_kick(&f);
    assert_int_equal(fixture_get16(&f, USED + 2), 1);
    assert_works(&f, 1);
    fixture_stop(&f);
}

static int send_addr(struct fixture *f, uint32_t index, uint64_t desc, uint64_t avail,
                     uint64_t used)
{
    uint8_t payload[VHOST_USER_VRING_ADDR_LEN];
    const struct vhost_user_vring_addr addr = {
        .index = index, .desc = desc, .avail = avail, .used = used};
    vhost_user_vring_addr_put(payload, sizeof(payload), &addr);
    assert_int_equal(
        fixture_send(f, VHOST_USER_SET_VRING_ADDR, NEED_REPLY, payload, sizeof(payload), -1), 0);
    return (int)fixture_answer(f);
}

static void rings_that_can_not_be_do_not_start(void **state)
{
    static const struct {
        uint64_t desc, avail, used;
    } wrong[] = {
        {USER + FAKE_FILE_LEN, USER + AVAIL, USER + USED}, /* in no region */
        {USER + DESC, USER - 1, USER + USED},
        {USER + DESC, USER + AVAIL, 0},
        {USER + DESC, USER + AVAIL, UINT64_MAX},
        {USER + DESC + 8, USER + AVAIL, USER + USED}, /* not aligned */
        {USER + DESC, USER + AVAIL + 1, USER + USED},
        {USER + DESC, USER + AVAIL, USER + USED + 2},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct fixture f;
        fixture_start(&f);
        fixture_negotiate(&f, MODERN);
        fixture_start_ring(&f, 0);
        fixture_send_state(&f, VHOST_USER_GET_VRING_BASE, 0, 0);
        const int kick = fake_event(&f.fake);
        f.kick = kick;
        assert_int_equal(fixture_send_u64(&f, VHOST_USER_SET_VRING_KICK, NEED_REPLY, 0, kick), 0);
        assert_int_equal(fixture_answer(&f), 0); /* it runs again at the old addresses */
        assert_int_equal(send_addr(&f, 0, wrong[i].desc, wrong[i].avail, wrong[i].used), 1);
        assert_works(&f, 0); /* which were kept */
        fixture_send_state(&f, VHOST_USER_GET_VRING_BASE, 0, 0);
        assert_int_equal(fixture_answer_num(&f), 1);
        assert_int_equal(send_addr(&f, 0, wrong[i].desc, wrong[i].avail, wrong[i].used), 0);
        f.kick = fake_event(&f.fake);
        assert_int_equal(fixture_send_u64(&f, VHOST_USER_SET_VRING_KICK, NEED_REPLY, 0, f.kick), 0);
        assert_int_equal(fixture_answer(&f), 1); /* it would start now */
        assert_int_equal(send_addr(&f, 0, USER + DESC, USER + AVAIL, USER + USED), 0);
        assert_works(&f, 1);
        fixture_stop(&f);
    }
}

/* A part that begins in a region and ends outside of it: seen when the ring is used. */
static void a_ring_that_ends_outside_stops_the_device(void **state)
{
    struct fixture f;
    fixture_start(&f);
    fixture_negotiate(&f, MODERN);
    fixture_set_up_ring(&f, USER + FAKE_FILE_LEN - 16, USER + AVAIL, USER + USED, 0);
    fixture_poll(&f);
    fixture_send(&f, VHOST_USER_GET_STATUS, VHOST_USER_VERSION, NULL, 0, -1);
    assert_true(fixture_answer(&f) & VIRTIO_CONFIG_S_NEEDS_RESET);
    fixture_send_state(&f, VHOST_USER_GET_VRING_BASE, 0, 0);
    assert_int_equal(fixture_answer_num(&f), 0);
    fixture_stop(&f);
}

/* used.idx in the ring, and base. */
static void a_base_that_can_not_be_is_refused(void **state)
{
    static const uint16_t wrong[][2] = {{1, 0}, {0, RING_SIZE + 1}, {0x8000, 0}, {9, 8}};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct fixture f;
        fixture_start(&f);
        fixture_negotiate(&f, MODERN);
        fixture_put16(&f, USED + 2, wrong[i][0]);
        fixture_describe_ring(&f, USER + DESC, USER + AVAIL, USER + USED, wrong[i][1]);
        assert_int_equal(
            fixture_send_u64(&f, VHOST_USER_SET_VRING_ENABLE, NEED_REPLY, UINT64_C(1) << 32, -1),
            0);
        assert_int_equal(fixture_answer(&f), 1);
        fixture_stop(&f);
    }
}

static void a_ring_that_runs_is_not_changed(void **state)
{
    struct fixture f;
    begin(&f);
    const uint32_t requests[] = {VHOST_USER_SET_VRING_NUM, VHOST_USER_SET_VRING_BASE};
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(fixture_send_u64(&f, requests[i], NEED_REPLY, UINT64_C(4) << 32, -1), 0);
        assert_int_equal(fixture_answer(&f), 1);
    }
    assert_int_equal(send_addr(&f, 0, USER + DESC, USER + AVAIL, USER + DATA), 1);
    assert_int_equal(send_addr(&f, 0, USER + DESC, USER + AVAIL, USER + USED), 0);
    assert_int_equal(send_addr(&f, 2, USER + DESC, USER + AVAIL, USER + USED), 1);
    fixture_send_u64(&f, VHOST_USER_SET_FEATURES, NEED_REPLY, MODERN | BIT(VIRTIO_F_RING_PACKED),
                     -1);
    assert_int_equal(fixture_answer(&f), 1);
    assert_works(&f, 0);
    fixture_stop(&f);
}

static void translations_that_can_not_be_are_refused(void **state)
{
    static const struct vhost_user_iotlb wrong[] = {
        {.iova = PAGE, .size = 0, .user_address = USER, .perm = 3, .type = 2},
        {.iova = PAGE, .size = FAKE_FILE_LEN + PAGE, .user_address = USER, .perm = 3, .type = 2},
        {.iova = PAGE, .size = UINT64_MAX, .user_address = USER, .perm = 3, .type = 2},
        {.iova = UINT64_MAX - PAGE + 1, .size = 2 * PAGE, .user_address = USER, .type = 2},
        {.iova = PAGE, .size = PAGE, .user_address = USER - PAGE, .perm = 3, .type = 2},
        {.iova = PAGE, .size = PAGE, .user_address = USER, .perm = 3, .type = 0},
        {.iova = PAGE, .size = PAGE, .user_address = USER, .perm = 3, .type = 5},
        {.iova = PAGE, .size = 0, .type = 3},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        for (unsigned accepted = 0; accepted < 2; accepted++) {
            struct fixture f;
            uint8_t payload[VHOST_USER_IOTLB_LEN];
            struct vhost_user_iotlb iotlb = wrong[i];
            fixture_start(&f);
            fixture_negotiate(&f, MODERN | (accepted ? BIT(VIRTIO_F_ACCESS_PLATFORM) : 0));
            if (!accepted) /* then one that could be is refused too */
                iotlb = (struct vhost_user_iotlb){
                    .size = PAGE, .user_address = USER, .perm = 3, .type = 2};
            vhost_user_iotlb_put(payload, sizeof(payload), &iotlb);
            fixture_send(&f, VHOST_USER_IOTLB_MSG, VHOST_USER_VERSION, payload, sizeof(payload),
                         -1);
            assert_int_equal(fixture_answer(&f), 1);
            assert_int_equal(device_memory(f.device)->count, accepted ? 0 : 1);
            fixture_stop(&f);
        }
}

/* A front end that asks and reads no answer is not read from any more, until it does. */
static void answers_that_nobody_reads_are_bounded(void **state)
{
    struct fixture f;
    size_t room, asked = 0;
    uint8_t *to;
    begin(&f);
    const struct vhost_user_header header = {.request = VHOST_USER_GET_FEATURES,
                                             .flags = VHOST_USER_VERSION};
    while ((to = engine_receive_space(f.engine, &room)) && room > 0) {
        vhost_user_header_put(to, VHOST_USER_HEADER_LEN, &header);
        assert_int_equal(engine_received(f.engine, VHOST_USER_HEADER_LEN, NULL, 0), 0);
        assert_true(++asked < LIMIT_REPLY_BYTES);
    }
    fixture_offer(&f, 0, DATA, 16); /* the ring needs no answers */
    fake_fire(&f.fake, f.kick);
    device_poll(f.device);
    assert_int_equal(fixture_get16(&f, USED + 2), 1);
    const size_t len = engine_pending(f.engine).len;
    assert_true(len > 0 && len <= LIMIT_REPLY_BYTES);
    for (size_t left = asked * (VHOST_USER_HEADER_LEN + VHOST_USER_U64_LEN); left > 0;) {
        const struct engine_output output = engine_pending(f.engine);
        assert_true(output.len > 0 && output.len <= left);
        left -= output.len;
        engine_sent(f.engine, output.len);
    }
    engine_receive_space(f.engine, &room);
    assert_true(room > 0);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(regions_that_can_not_be_are_refused),
        TEST(no_more_slots_are_taken_than_were_promised),
        TEST(tables_that_can_not_be_are_refused),
        TEST(logs_that_can_not_be_are_refused),
        TEST(a_log_that_is_too_short_is_not_left),
        TEST(rings_that_can_not_be_do_not_start),
        TEST(a_ring_that_ends_outside_stops_the_device),
        TEST(a_base_that_can_not_be_is_refused),
        TEST(a_ring_that_runs_is_not_changed),
        TEST(translations_that_can_not_be_are_refused),
        TEST(answers_that_nobody_reads_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "server/vhost_user_fixture.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>

#include "base/cursor.h"
#include "support.h"

#define IOMMU (MODERN | BIT(VIRTIO_F_ACCESS_PLATFORM))

static void a_ring_is_served_from_its_start_to_its_base(void **state)
{
    struct fixture f;
    fixture_start(&f);
    fixture_negotiate(&f, MODERN);
    fixture_offer(&f, 3, DATA, 16); /* before the start: no kick will come for it */
    fixture_start_ring(&f, 0);
    fixture_poll(&f);
    assert_int_equal(fixture_get16(&f, USED + 2), 1);
    assert_memory_equal(fixture_at(&f, DATA), "done", 4);
    assert_int_equal(fake_signals(&f.fake, f.call), 1);
    fixture_offer(&f, 0, DATA + 64, 16);
    fixture_kick(&f);
    assert_int_equal(fixture_get16(&f, USED + 2), 2);

    /* QEMU 7.2 sets the status to 0 first when it stops a device. */
    assert_int_equal(fixture_send_u64(&f, VHOST_USER_SET_STATUS, VHOST_USER_VERSION, 0, -1), 0);
    fixture_offer(&f, 1, DATA + 128, 16);
    assert_int_equal(fixture_send_state(&f, VHOST_USER_SET_VRING_ENABLE, 0, 0), 0);
    fixture_send_state(&f, VHOST_USER_GET_VRING_BASE, 0, 0);
    assert_int_equal(fixture_answer_num(&f), 2);
    fixture_start_ring(&f, 2); /* continues where it was */
    fixture_poll(&f);
    assert_int_equal(fixture_get16(&f, USED + 2), 3);
    fixture_stop(&f);
}

static void the_base_waits_for_what_was_taken(void **state)
{
    struct fixture f;
    fixture_start(&f);
    f.holds = true;
    fixture_negotiate(&f, MODERN);
    fixture_start_ring(&f, 0);
    fixture_offer(&f, 0, DATA, 16);
    fixture_kick(&f);
    assert_int_equal(f.num_chains, 1);
    fixture_send_state(&f, VHOST_USER_GET_VRING_BASE, 0, 0);
    assert_int_equal(f.said_len, 0);
    fixture_poll(&f);
    assert_int_equal(f.said_len, 0);
    ob_virtio_complete(f.chains[--f.num_chains], 0);
    fixture_poll(&f);
    assert_int_equal(fixture_answer_num(&f), 1);
    assert_int_equal(fixture_get16(&f, USED + 2), 1);
    fixture_stop(&f);
}

static void the_order_of_set_up_is_the_front_ends(void **state)
{
    struct fixture f;
    fixture_start(&f);
    f.kick = fake_event(&f.fake);
    fixture_send_state(&f, VHOST_USER_SET_VRING_ENABLE, 0, 1);
    fixture_send_u64(&f, VHOST_USER_SET_VRING_KICK, VHOST_USER_VERSION, 0, f.kick);
    fake_fire(&f.fake, f.kick);
    fixture_poll(&f);
    fixture_negotiate(&f, MODERN);
    fixture_offer(&f, 0, DATA, 16);
    fixture_start_ring(&f, 0);
    fixture_poll(&f);
    assert_int_equal(fixture_get16(&f, USED + 2), 1);
    fixture_stop(&f);
}

/* Without PROTOCOL_FEATURES nobody enables a ring. */
static void an_old_front_end_enables_no_ring(void **state)
{
    struct fixture f;
    fixture_start(&f);
    fixture_negotiate(&f, BIT(VIRTIO_F_VERSION_1));
    fixture_offer(&f, 0, DATA, 16);
    fixture_start_ring(&f, 0);
    fixture_send_state(&f, VHOST_USER_SET_VRING_ENABLE, 0, 1);
    fixture_poll(&f);
    assert_int_equal(fixture_get16(&f, USED + 2), 1);
    fixture_stop(&f);
}

/* Request, payload as two u32, the kind of the descriptor. */
static const struct {
    uint32_t request, first, second;
    enum fake_kind kind;
} refusals[] = {
    {VHOST_USER_SET_FEATURES, 0, 0x80000000, FAKE_CLOSED},
    {VHOST_USER_SET_PROTOCOL_FEATURES, 1u << 14, 0, FAKE_CLOSED},
    {VHOST_USER_SET_PROTOCOL_FEATURES, 1u << 17, 0, FAKE_CLOSED},
    {VHOST_USER_SET_VRING_NUM, 2, 8, FAKE_CLOSED},
    {VHOST_USER_SET_VRING_NUM, 0, 0, FAKE_CLOSED},
    {VHOST_USER_SET_VRING_NUM, 0, 17, FAKE_CLOSED},
    {VHOST_USER_SET_VRING_NUM, 0, 0x10008, FAKE_CLOSED},
    {VHOST_USER_SET_VRING_BASE, 0xffffffff, 0, FAKE_CLOSED},
    {VHOST_USER_SET_VRING_ENABLE, 0, 2, FAKE_CLOSED},
    {VHOST_USER_SET_VRING_ENABLE, 2, 1, FAKE_CLOSED},
    {VHOST_USER_SET_VRING_KICK, 0, 0, FAKE_FILE},
    {VHOST_USER_SET_VRING_KICK, 0, 0, FAKE_OTHER},
    {VHOST_USER_SET_VRING_KICK, 0, 0, FAKE_CLOSED},
    {VHOST_USER_SET_VRING_KICK, 0x100, 0, FAKE_CLOSED},
    {VHOST_USER_SET_VRING_KICK, 2, 0, FAKE_EVENT},
    {VHOST_USER_SET_VRING_CALL, 0x100, 0, FAKE_EVENT},
    {VHOST_USER_SET_VRING_CALL, 0xff, 0, FAKE_EVENT},
    {VHOST_USER_SET_VRING_ERR, 0, 0, FAKE_FILE},
    {VHOST_USER_SET_BACKEND_REQ_FD, 0, 0, FAKE_CLOSED},
};

static int send_refusal(struct fixture *f, size_t index, uint32_t flags)
{
    const uint64_t value = refusals[index].first | (uint64_t)refusals[index].second << 32;
    const enum fake_kind kind = refusals[index].kind;
    int fd = kind == FAKE_CLOSED ? -1 : fake_open(&f->fake, kind, 0);
    return fixture_send_u64(f, refusals[index].request, flags, value, fd);
}

static void what_is_refused_is_answered_or_ends_the_connection(void **state)
{
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct fixture f;
        fixture_start(&f);
        fixture_negotiate(&f, MODERN);
        assert_int_equal(send_refusal(&f, i, NEED_REPLY), 0);
        assert_int_equal(fixture_answer(&f), 1);
        assert_int_equal(send_refusal(&f, i, VHOST_USER_VERSION), -EPROTO);
        assert_int_equal(f.said_len, 0);
        assert_true(f.engine->fault.text[0]);
        fixture_stop(&f);
    }
}

/* Lengths, descriptors, flags and numbers that no message has. */
static void a_message_that_breaks_its_row_ends_the_connection(void **state)
{
    static const uint8_t payload[400];
    for (uint32_t request = 0; request < 50; request++)
        for (size_t len = 0; len < 20; len++) {
            struct fixture f;
            fixture_start(&f);
            int err = fixture_send(&f, request, VHOST_USER_VERSION, payload, len * 4, -1);
            assert_true(err == 0 || err == -EPROTO);
            assert_true(err == 0 || f.engine->fault.text[0]);
            fixture_stop(&f);
        }
    static const uint32_t flags[] = {0, 2, 3, 5, 0x11, 0x80000001};
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        struct fixture f;
        fixture_start(&f);
        assert_int_equal(fixture_send(&f, 1, flags[i], NULL, 0, -1), -EPROTO);
        fixture_stop(&f);
    }
    struct fixture f;
    fixture_start(&f);
    assert_int_equal(fixture_send(&f, 1, 1, NULL, 0, fake_event(&f.fake)), -EPROTO);
    fixture_stop(&f);
}

static void remove_memory(struct fixture *f, uint64_t gpa)
{
    uint8_t payload[VHOST_USER_MEM_REG_LEN] = {0};
    const struct vhost_user_region region = {
        .gpa = gpa, .size = FAKE_FILE_LEN, .user_address = USER + gpa};
    vhost_user_region_put(payload + 8, VHOST_USER_REGION_LEN, &region);
    assert_int_equal(
        fixture_send(f, VHOST_USER_REM_MEM_REG, NEED_REPLY, payload, sizeof(payload), -1), 0);
}

static void slots_come_and_go_while_a_ring_runs(void **state)
{
    struct fixture f;
    fixture_start(&f);
    fixture_negotiate(&f, MODERN);
    fixture_start_ring(&f, 0);
    for (unsigned round = 0; round < 3; round++) {
        fixture_add_memory(&f, FAKE_FILE_LEN, 8 + round, NEED_REPLY);
        assert_int_equal(fixture_answer(&f), 0);
        fixture_offer(&f, 0, FAKE_FILE_LEN + 64, 16);
        fixture_kick(&f);
        assert_int_equal(fixture_get16(&f, USED + 2), round + 1);
        assert_memory_equal(fixture_at(&f, FAKE_FILE_LEN + 64), "done", 4);
        remove_memory(&f, FAKE_FILE_LEN);
        assert_int_equal(fixture_answer(&f), 0);
    }
    remove_memory(&f, FAKE_FILE_LEN);
    assert_int_equal(fixture_answer(&f), 1);
    fixture_add_memory(&f, 4096, 9, NEED_REPLY); /* overlaps */
    assert_int_equal(fixture_answer(&f), 1);
    fixture_stop(&f);
}

static void a_slot_in_use_goes_when_it_was_given_back(void **state)
{
    struct fixture f;
    fixture_start(&f);
    f.holds = true;
    fixture_negotiate(&f, MODERN);
    fixture_start_ring(&f, 0);
    fixture_add_memory(&f, FAKE_FILE_LEN, 8, NEED_REPLY);
    fixture_offer(&f, 0, FAKE_FILE_LEN, 16);
    fixture_kick(&f);
    assert_int_equal(f.num_chains, 1);
    remove_memory(&f, FAKE_FILE_LEN);
    assert_int_equal(f.said_len, 0);
    ob_virtio_write(f.chains[0], 0, "late",
                    4); /* into memory that is there as long as it is held */
    ob_virtio_complete(f.chains[--f.num_chains], 4);
    fixture_poll(&f);
    assert_int_equal(fixture_answer(&f), 0);
    f.holds = false;
    fixture_offer(&f, 1, DATA, 16); /* and the ring still works */
    fixture_kick(&f);
    assert_int_equal(fixture_get16(&f, USED + 2), 2);
    fixture_stop(&f);
}

static void a_table_replaces_what_was_there(void **state)
{
    struct fixture f;
    uint8_t payload[VHOST_USER_TABLE_LEN + VHOST_USER_REGION_LEN] = {1};
    const struct vhost_user_region region = {.size = FAKE_FILE_LEN, .user_address = USER};
    vhost_user_region_put(payload + VHOST_USER_TABLE_LEN, VHOST_USER_REGION_LEN, &region);
    fixture_start(&f);
    fixture_negotiate(&f, MODERN);
    fixture_start_ring(&f, 0);
    for (uint64_t inode = 7; inode < 9; inode++) { /* the same file, then another */
        int fd = fake_file(&f.fake, inode);
        assert_int_equal(
            fixture_send(&f, VHOST_USER_SET_MEM_TABLE, NEED_REPLY, payload, sizeof(payload), fd),
            0);
        assert_int_equal(fixture_answer(&f), 0);
    }
    assert_int_equal(*fixture_at(&f, 0), fake_file_byte(8, 0));
    fixture_send(&f, VHOST_USER_SET_MEM_TABLE, NEED_REPLY, payload, sizeof(payload), -1);
    assert_int_equal(fixture_answer(&f), 1); /* a region without a descriptor */
    fixture_stop(&f);
}

static void configuration_is_read_and_written_in_its_bounds(void **state)
{
    struct fixture f;
    uint8_t payload[VHOST_USER_CONFIG_LEN + 60] = {0};
    struct vhost_user_config config = {.size = 60};
    fixture_start(&f);
    fixture_negotiate(&f, MODERN);
    memcpy(f.config, "\1\2\3\4\5\6\7\10", CONFIG_LEN);
    vhost_user_config_put(payload, sizeof(payload), &config);
    fixture_send(&f, VHOST_USER_GET_CONFIG, VHOST_USER_VERSION, payload, sizeof(payload), -1);
    assert_int_equal(f.said_len, VHOST_USER_HEADER_LEN + sizeof(payload));
    assert_memory_equal(f.said + VHOST_USER_HEADER_LEN + VHOST_USER_CONFIG_LEN, f.config,
                        CONFIG_LEN);
    assert_int_equal(f.said[VHOST_USER_HEADER_LEN + VHOST_USER_CONFIG_LEN + CONFIG_LEN], 0);

    config.offset = 250; /* behind what any device has: answered without data */
    vhost_user_config_put(payload, sizeof(payload), &config);
    fixture_send(&f, VHOST_USER_GET_CONFIG, VHOST_USER_VERSION, payload, sizeof(payload), -1);
    assert_int_equal(f.said_len, VHOST_USER_HEADER_LEN);

    config = (struct vhost_user_config){.offset = 7, .size = 1};
    vhost_user_config_put(payload, sizeof(payload), &config);
    payload[VHOST_USER_CONFIG_LEN] = 0x77;
    fixture_send(&f, VHOST_USER_SET_CONFIG, NEED_REPLY, payload, VHOST_USER_CONFIG_LEN + 1, -1);
    assert_int_equal(fixture_answer(&f), 0);
    assert_int_equal(f.config[7], 0x77);
    config.offset = 8;
    vhost_user_config_put(payload, sizeof(payload), &config);
    fixture_send(&f, VHOST_USER_SET_CONFIG, NEED_REPLY, payload, VHOST_USER_CONFIG_LEN + 1, -1);
    assert_int_equal(fixture_answer(&f), 1);
    fixture_stop(&f);
}

static void open_channel(struct fixture *f)
{
    fixture_send(f, VHOST_USER_SET_BACKEND_REQ_FD, NEED_REPLY, NULL, 0,
                 fake_open(&f->fake, FAKE_OTHER, 0));
    assert_int_equal(fixture_answer(f), 0);
}

static void a_change_of_configuration_is_told_on_the_channel(void **state)
{
    struct fixture f;
    struct vhost_user_header header;
    fixture_start(&f);
    fixture_negotiate(&f, MODERN);
    open_channel(&f);
    fixture_start_ring(&f, 0);
    fixture_poll(&f);
    f.config[0]++;
    ob_virtio_config_changed(f.device);
    fixture_poll(&f);
    assert_int_equal(f.fake.sent_len, VHOST_USER_HEADER_LEN);
    vhost_user_header_get(f.fake.sent, VHOST_USER_HEADER_LEN, &header);
    assert_int_equal(header.request, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
    assert_int_equal(header.flags, VHOST_USER_VERSION);
    f.fake.refuses_send = true; /* a front end that doesn't read there loses the channel */
    f.config[0]++;
    ob_virtio_config_changed(f.device);
    fixture_poll(&f);
    assert_int_equal(f.fake.warnings, 1);
    fixture_stop(&f);
}

static void iotlb(struct fixture *f, uint8_t type, uint64_t iova, uint64_t address, uint8_t perm)
{
    uint8_t payload[VHOST_USER_IOTLB_LEN];
    const struct vhost_user_iotlb message = {
        .iova = iova, .size = 4096, .user_address = USER + address, .perm = perm, .type = type};
    vhost_user_iotlb_put(payload, sizeof(payload), &message);
    assert_int_equal(
        fixture_send(f, VHOST_USER_IOTLB_MSG, VHOST_USER_VERSION, payload, sizeof(payload), -1), 0);
}

/* The miss that was sent last. */
static struct vhost_user_iotlb last_miss(struct fixture *f)
{
    struct vhost_user_iotlb miss;
    assert_true(f->fake.sent_len >= VHOST_USER_IOTLB_LEN);
    vhost_user_iotlb_get(f->fake.sent + f->fake.sent_len - VHOST_USER_IOTLB_LEN,
                         VHOST_USER_IOTLB_LEN, &miss);
    assert_int_equal(miss.type, VHOST_USER_IOTLB_MISS);
    return miss;
}

#define IOVA UINT64_C(0xfff00000)

static void answer_misses(struct fixture *f, unsigned count)
{
    while (count-- > 0) {
        uint64_t iova = last_miss(f).iova;
        iotlb(f, VHOST_USER_IOTLB_UPDATE, iova, iova - IOVA, 3);
        assert_int_equal(fixture_answer(f), 0);
        fixture_poll(f);
    }
}

static void begin_behind_an_iommu(struct fixture *f)
{
    fixture_start(f);
    fixture_negotiate(f, IOMMU);
    open_channel(f);
    fixture_offer(f, 0, IOVA + DATA, 16);
    fixture_set_up_ring(f, IOVA + DESC, IOVA + AVAIL, IOVA + USED, 0);
    fixture_poll(f);
    assert_int_equal(last_miss(f).iova, IOVA + USED);
}

static void what_is_not_translated_is_asked_for(void **state)
{
    struct fixture f;
    begin_behind_an_iommu(&f);
    answer_misses(&f, 4); /* used, available, descriptors, data, in an order of the device's */
    assert_int_equal(fixture_get16(&f, USED + 2), 1);
    assert_memory_equal(fixture_at(&f, DATA), "done", 4);
    assert_int_equal(f.fake.sent_len, 4 * (VHOST_USER_HEADER_LEN + VHOST_USER_IOTLB_LEN));

    /* A range is asked for again after an invalidation, and leads elsewhere. */
    iotlb(&f, VHOST_USER_IOTLB_INVALIDATE, IOVA + DATA, 0, 0);
    assert_int_equal(fixture_answer(&f), 0);
    fixture_offer(&f, 1, IOVA + DATA, 16);
    fixture_kick(&f);
    assert_int_equal(last_miss(&f).iova, IOVA + DATA);
    iotlb(&f, VHOST_USER_IOTLB_UPDATE, IOVA + DATA, DATA + 4096, 3);
    fixture_poll(&f);
    assert_memory_equal(fixture_at(&f, DATA + 4096), "done", 4);
    fixture_stop(&f);
}

/* More pages than may be asked for at a time, of which the first are known already. */
static void a_buffer_of_many_pages_is_asked_for_in_turns(void **state)
{
    const uint64_t pages = LIMIT_VHOST_USER_MISSES + 3;
    struct fixture f;
    begin_behind_an_iommu(&f);
    answer_misses(&f, 4);
    fixture_offer(&f, 1, IOVA + FAKE_FILE_LEN, (uint32_t)pages * 4096);
    fixture_kick(&f);
    for (uint64_t i = 0; i < pages; i++) {
        assert_int_equal(fixture_get16(&f, USED + 2), 1);
        iotlb(&f, VHOST_USER_IOTLB_UPDATE, IOVA + FAKE_FILE_LEN + i * 4096, DATA, 3);
        assert_int_equal(fixture_answer(&f), 0);
        fixture_poll(&f);
        assert_true(last_miss(&f).iova >= IOVA + FAKE_FILE_LEN + i * 4096);
    }
    assert_int_equal(fixture_get16(&f, USED + 2), 2);
    assert_int_equal(last_miss(&f).iova, IOVA + FAKE_FILE_LEN + (pages - 1) * 4096);
    fixture_stop(&f);
}

static void an_invalidation_waits_for_what_is_in_use(void **state)
{
    struct fixture f;
    begin_behind_an_iommu(&f);
    f.holds = true;
    answer_misses(&f, 4);
    assert_int_equal(f.num_chains, 1);
    iotlb(&f, VHOST_USER_IOTLB_INVALIDATE, IOVA + DATA, 0, 0);
    assert_int_equal(f.said_len, 0);
    ob_virtio_complete(f.chains[--f.num_chains], 0);
    fixture_poll(&f);
    assert_int_equal(fixture_answer(&f), 0);
    f.holds = false;
    fixture_offer(&f, 1, IOVA + DATA + 4096, 16); /* the device works again */
    fixture_kick(&f);
    answer_misses(&f, 1);
    assert_int_equal(fixture_get16(&f, USED + 2), 2);
    fixture_stop(&f);
}

static bool has_failed(struct fixture *f)
{
    fixture_poll(f); /* the miss is denied... */
    fixture_poll(f); /* ...is seen by the device */
    fixture_send(f, VHOST_USER_GET_STATUS, VHOST_USER_VERSION, NULL, 0, -1);
    return fixture_answer(f) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

static void a_miss_without_an_answer_is_not_waited_for_for_ever(void **state)
{
    struct fixture f;
    begin_behind_an_iommu(&f);
    answer_misses(&f, 3);
    assert_true(f.fake.looks > 0);
    f.fake.now_ms = LIMIT_VHOST_USER_MISS_MS - 1;
    assert_false(has_failed(&f));
    f.fake.now_ms++;
    assert_true(has_failed(&f));
    fixture_send_state(&f, VHOST_USER_GET_VRING_BASE, 0, 0);
    assert_int_equal(fixture_answer_num(&f), 0);
    fixture_stop(&f);
}

static void an_answer_without_the_access_is_no_reason_to_ask_again(void **state)
{
    struct fixture f;
    begin_behind_an_iommu(&f);
    answer_misses(&f, 3);
    iotlb(&f, VHOST_USER_IOTLB_UPDATE, IOVA + DATA, DATA, VHOST_USER_IOTLB_READ);
    const size_t sent = f.fake.sent_len;
    assert_true(has_failed(&f));
    assert_int_equal(f.fake.sent_len - sent,
                     VHOST_USER_HEADER_LEN); /* CONFIG_CHANGE, and no miss */
    fixture_stop(&f);
}

static void a_translation_to_nowhere_is_refused(void **state)
{
    struct fixture f;
    begin_behind_an_iommu(&f);
    iotlb(&f, VHOST_USER_IOTLB_UPDATE, IOVA, FAKE_FILE_LEN, 3);
    assert_int_equal(fixture_answer(&f), 1);
    iotlb(&f, VHOST_USER_IOTLB_UPDATE, IOVA + 1, 0, 3); /* not a page's start */
    assert_int_equal(fixture_answer(&f), 1);
    iotlb(&f, VHOST_USER_IOTLB_MISS, IOVA, 0, 3);
    assert_int_equal(fixture_answer(&f), 1);
    fixture_stop(&f);
}

static void writes_are_logged_while_the_log_is_on(void **state)
{
    struct fixture f;
    uint8_t payload[VHOST_USER_LOG_LEN];
    vhost_user_log_put(payload, sizeof(payload), &(struct vhost_user_log){.size = 4096});
    fixture_start(&f);
    fixture_negotiate(&f, MODERN);
    fixture_start_ring(&f, 0);
    fixture_send(&f, VHOST_USER_SET_LOG_BASE, VHOST_USER_VERSION, payload, sizeof(payload),
                 fake_file(&f.fake, 50));
    assert_int_equal(fixture_answer(&f), 0);
    uint8_t *bits = device_memory(f.device)->dirty.shared;
    assert_null(bits); /* LOG_ALL is not set yet */
    fixture_send_u64(&f, VHOST_USER_SET_FEATURES, NEED_REPLY, MODERN | BIT(VHOST_USER_F_LOG_ALL),
                     -1);
    assert_int_equal(fixture_answer(&f), 0);
    bits = device_memory(f.device)->dirty.shared;
    memset(bits, 0, 4096);
    fixture_offer(&f, 0, DATA + 4096, 16);
    fixture_kick(&f);
    assert_int_equal(bits[0], 1u << USED / 4096 | 1u << (DATA / 4096 + 1));
    fixture_send_u64(&f, VHOST_USER_SET_FEATURES, NEED_REPLY, MODERN, -1);
    assert_null(device_memory(f.device)->dirty.shared);
    fixture_send(&f, VHOST_USER_SET_LOG_BASE, VHOST_USER_VERSION, payload, sizeof(payload), -1);
    assert_int_equal(fixture_answer(&f), 1);
    fixture_stop(&f);
}

static void resets_stop_all_rings(void **state)
{
    static const uint32_t requests[] = {VHOST_USER_RESET_DEVICE, VHOST_USER_RESET_OWNER};
    for (unsigned i = 0; i < 2; i++) {
        struct fixture f;
        fixture_start(&f);
        f.holds = true;
        fixture_negotiate(&f, MODERN);
        fixture_start_ring(&f, 0);
        fixture_offer(&f, 0, DATA, 16);
        fixture_kick(&f);
        fixture_send(&f, requests[i], NEED_REPLY, NULL, 0, -1);
        assert_int_equal(f.said_len, 0); /* waits for the chain */
        ob_virtio_complete(f.chains[--f.num_chains], 0);
        fixture_poll(&f);
        assert_int_equal(fixture_answer(&f), 0);
        f.holds = false;
        fixture_send_u64(&f, VHOST_USER_SET_FEATURES, NEED_REPLY, MODERN, -1);
        assert_int_equal(fixture_answer(&f), 0);
        memset(fixture_at(&f, AVAIL), 0, 64);
        memset(fixture_at(&f, USED), 0, 64);
        fixture_offer(&f, 0, DATA, 16);
        fixture_start_ring(&f, 0);
        fixture_poll(&f);
        assert_int_equal(fixture_get16(&f, USED + 2), 1);
        fixture_stop(&f);
    }
}

/* QEMU 7.2 stops the rings of a guest that is reset as if it was paused. */
static void another_base_is_that_of_another_driver(void **state)
{
    struct fixture f;
    fixture_start(&f);
    fixture_negotiate(&f, MODERN);
    fixture_offer(&f, 0, DATA, 16);
    fixture_start_ring(&f, 0);
    fixture_poll(&f);
    const unsigned resets = f.resets;
    for (unsigned pause = 0; pause < 2; pause++) {
        fixture_send_state(&f, VHOST_USER_GET_VRING_BASE, 0, 0);
        assert_int_equal(fixture_answer_num(&f), 1);
        fixture_send_u64(&f, VHOST_USER_SET_FEATURES, NEED_REPLY, MODERN, -1);
        fixture_start_ring(&f, 1);
        fixture_poll(&f);
        assert_int_equal(f.resets, resets);
    }
    const unsigned negotiations = f.negotiations;
    fixture_send_state(&f, VHOST_USER_GET_VRING_BASE, 0, 0);
    memset(fixture_at(&f, AVAIL), 0, 64);
    memset(fixture_at(&f, USED), 0, 64);
    fixture_send_u64(&f, VHOST_USER_SET_FEATURES, NEED_REPLY, MODERN, -1);
    assert_int_equal(fixture_answer(&f), 0);
    fixture_offer(&f, 0, DATA, 16);
    fixture_start_ring(&f, 0);
    assert_int_equal(f.resets, resets + 1);
    assert_int_equal(f.negotiations, negotiations + 1);
    assert_int_equal(ob_virtio_features(f.device), BIT(VIRTIO_F_VERSION_1));
    fixture_poll(&f);
    assert_int_equal(fixture_get16(&f, USED + 2), 1);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_ring_is_served_from_its_start_to_its_base),
        TEST(the_base_waits_for_what_was_taken),
        TEST(the_order_of_set_up_is_the_front_ends),
        TEST(an_old_front_end_enables_no_ring),
        TEST(what_is_refused_is_answered_or_ends_the_connection),
        TEST(a_message_that_breaks_its_row_ends_the_connection),
        TEST(slots_come_and_go_while_a_ring_runs),
        TEST(a_slot_in_use_goes_when_it_was_given_back),
        TEST(a_table_replaces_what_was_there),
        TEST(configuration_is_read_and_written_in_its_bounds),
        TEST(a_change_of_configuration_is_told_on_the_channel),
        TEST(what_is_not_translated_is_asked_for),
        TEST(a_buffer_of_many_pages_is_asked_for_in_turns),
        TEST(an_invalidation_waits_for_what_is_in_use),
        TEST(a_miss_without_an_answer_is_not_waited_for_for_ever),
        TEST(an_answer_without_the_access_is_no_reason_to_ask_again),
        TEST(a_translation_to_nowhere_is_refused),
        TEST(writes_are_logged_while_the_log_is_on),
        TEST(resets_stop_all_rings),
        TEST(another_base_is_that_of_another_driver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

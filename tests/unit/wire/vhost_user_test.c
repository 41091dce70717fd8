// SPDX-License-Identifier: BSD-3-Clause
#include "wire/vhost_user.h"

#include "golden.h"
#include "support.h"

#include <errno.h>
#include <string.h>

GOLDEN_CODEC(vhost_user, header)
GOLDEN_CODEC(vhost_user, vring_state)
GOLDEN_CODEC(vhost_user, vring_addr)
GOLDEN_CODEC(vhost_user, region)
GOLDEN_CODEC(vhost_user, log)
GOLDEN_CODEC(vhost_user, iotlb)
GOLDEN_CODEC(vhost_user, inflight)
GOLDEN_CODEC(vhost_user, transfer)

static const struct golden messages[] = {
    /* GET_CONFIG of QEMU's vhost-user-blk: 57 bytes of configuration. */
    GOLDEN(vhost_user, header, 12, "\x18\0\0\0\x01\0\0\0\x45\0\0\0", 24, 1, 69),
    GOLDEN(vhost_user, vring_state, 8, "\x01\0\0\0\x80\0\0\0", 1, 128),
    GOLDEN(vhost_user, vring_addr, 40,
           "\x02\0\0\0\x01\0\0\0\0\x10\0\0\0\x7f\0\0\0\x20\0\0\0\x7f\0\0"
           "\0\x18\0\0\0\x7f\0\0\0\x20\x0c\0\0\0\0\0",
           2, 1, 0x7f0000001000, 0x7f0000002000, 0x7f0000001800, 0xc2000),
    GOLDEN(vhost_user, region, 32,
           "\0\0\x0c\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\x7f\0\0\0\0\x0c\0\0\0\0\0", 0xc0000,
           0x1000000, 0x7f0000000000, 0xc0000),
    GOLDEN(vhost_user, log, 16, "\0\x40\0\0\0\0\0\0\0\x10\0\0\0\0\0\0", 0x4000, 0x1000),
    GOLDEN(vhost_user, iotlb, 32,
           "\0\x10\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\x7f\0\0\x03\x02\0\0\0\0\0\0", 0x1000,
           0x1000, 0x7f0000000000, 3, 2),
    GOLDEN(vhost_user, inflight, 20, "\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\x80\0", 0x2000, 0, 2,
           128),
    GOLDEN(vhost_user, transfer, 8, "\x01\0\0\0\0\0\0\0", 1, 0),
};

#define MESSAGE_COUNT (sizeof(messages) / sizeof(messages[0]))

static void every_message_is_golden_both_ways(void **state)
{
    golden_both_ways(messages, MESSAGE_COUNT);
}

/* QEMU pads the inflight message to 24 bytes; no other length of any message is legal. */
static void every_other_length_is_refused(void **state)
{
    for (size_t i = 0; i < MESSAGE_COUNT; i++) {
        const struct golden *m = &messages[i];
        bool is_padded = m->len == VHOST_USER_INFLIGHT_LEN;
        uint8_t bytes[64] = {0}, parsed[128];
        for (int len = 0; len < 64; len++) {
            bool fits = len == m->len || (is_padded && len == m->len + 4);
            assert_int_equal(m->get(bytes, (size_t)len, parsed), fits ? 0 : -EPROTO);
            if (len < m->len)
                assert_true(m->put(bytes, (size_t)len, m->says) < 0);
        }
    }
}

static void a_table_has_as_many_regions_as_it_says(void **state)
{
    uint8_t bytes[VHOST_USER_TABLE_LEN + 9 * VHOST_USER_REGION_LEN] = {0};
    struct vhost_user_region regions[LIMIT_VHOST_USER_REGIONS];
    for (unsigned count = 0; count < 10; count++) {
        bytes[0] = (uint8_t)count;
        for (size_t len = 0; len <= sizeof(bytes); len++) {
            bool fits = count <= LIMIT_VHOST_USER_REGIONS &&
                        len == VHOST_USER_TABLE_LEN + count * VHOST_USER_REGION_LEN;
            assert_int_equal(vhost_user_table_get(bytes, len, regions),
                             fits ? (int)count : -EPROTO);
        }
    }
    memset(bytes, 0xff, 8); /* a count whose length wraps */
    assert_int_equal(vhost_user_table_get(bytes, sizeof(bytes), regions), -EPROTO);
}

static void a_region_of_its_own_has_padding_before_it(void **state)
{
    uint8_t bytes[VHOST_USER_MEM_REG_LEN + 1] = {0};
    struct vhost_user_region region = {0};
    bytes[8] = 7;
    for (size_t len = 0; len <= sizeof(bytes); len++)
        assert_int_equal(vhost_user_mem_reg_get(bytes, len, &region),
                         len == VHOST_USER_MEM_REG_LEN ? 0 : -EPROTO);
    assert_int_equal(region.gpa, 7);
}

static void configuration_has_as_many_bytes_as_it_says(void **state)
{
    uint8_t bytes[VHOST_USER_CONFIG_LEN + LIMIT_VHOST_USER_CONFIG + 1] = {0};
    struct vhost_user_config config = {.offset = 32, .size = 1, .flags = 0}, got;
    const uint8_t *data = NULL;
    assert_int_equal(vhost_user_config_put(bytes, sizeof(bytes), &config), VHOST_USER_CONFIG_LEN);
    for (size_t len = 0; len < 20; len++)
        assert_int_equal(vhost_user_config_get(bytes, len, &got, &data),
                         len == VHOST_USER_CONFIG_LEN + 1 ? 0 : -EPROTO);
    assert_int_equal(got.offset, 32);
    assert_ptr_equal(data, bytes + VHOST_USER_CONFIG_LEN);
    config.size = LIMIT_VHOST_USER_CONFIG + 1;
    vhost_user_config_put(bytes, sizeof(bytes), &config);
    assert_int_equal(vhost_user_config_get(bytes, sizeof(bytes), &got, &data), -EPROTO);
}

static void requests_have_names(void **state)
{
    assert_string_equal(vhost_user_request_name(1), "GET_FEATURES");
    assert_string_equal(vhost_user_request_name(43), "CHECK_DEVICE_STATE");
    assert_string_equal(vhost_user_request_name(0), "?");
    assert_string_equal(vhost_user_request_name(28), "?");
    assert_string_equal(vhost_user_request_name(UINT32_MAX), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_message_is_golden_both_ways),
        TEST(every_other_length_is_refused),
        TEST(a_table_has_as_many_regions_as_it_says),
        TEST(a_region_of_its_own_has_padding_before_it),
        TEST(configuration_has_as_many_bytes_as_it_says),
        TEST(requests_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

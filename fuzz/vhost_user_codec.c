// SPDX-License-Identifier: BSD-3-Clause
/*
 * The codec of vhost-user. A message that decodes must have the right length, and encode to the same
 * bytes, except for padding.
 */
#include "wire/vhost_user.h"

#include <stdbool.h>
#include <string.h>

#include "check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* same: bytes that are not padding. */
#define CHECK_ROUND_TRIP(name, length, same)                                                       \
    do {                                                                                           \
        struct vhost_user_##name message_;                                                         \
        uint8_t out_[length];                                                                      \
        bool decodes_ = vhost_user_##name##_get(data, size, &message_) == 0;                       \
        CHECK(decodes_ == (size == (length)));                                                     \
        if (decodes_) {                                                                            \
            CHECK(vhost_user_##name##_put(out_, sizeof(out_), &message_) == (int)size);            \
            CHECK(memcmp(data, out_, same) == 0);                                                  \
            CHECK(vhost_user_##name##_put(out_, sizeof(out_) - 1, &message_) < 0);                 \
        }                                                                                          \
    } while (0)

static void check_inflight(const uint8_t *data, size_t size)
{
    struct vhost_user_inflight inflight;
    uint8_t out[VHOST_USER_INFLIGHT_LEN];
    bool decodes = vhost_user_inflight_get(data, size, &inflight) == 0;
    CHECK(decodes == (size == sizeof(out) || size == sizeof(out) + 4));
    if (!decodes)
        return;
    CHECK(vhost_user_inflight_put(out, sizeof(out), &inflight) == (int)sizeof(out));
    CHECK(memcmp(data, out, sizeof(out)) == 0);
}

static void check_memory(const uint8_t *data, size_t size)
{
    struct vhost_user_region regions[LIMIT_VHOST_USER_REGIONS];
    uint8_t out[VHOST_USER_REGION_LEN];
    int count = vhost_user_table_get(data, size, regions);
    CHECK(count <= (int)LIMIT_VHOST_USER_REGIONS);
    for (int i = 0; i < count; i++) {
        CHECK(vhost_user_region_put(out, sizeof(out), &regions[i]) == (int)sizeof(out));
        CHECK(memcmp(data + VHOST_USER_TABLE_LEN + i * sizeof(out), out, sizeof(out)) == 0);
    }
    if (vhost_user_mem_reg_get(data, size, regions) == 0)
        CHECK(size == VHOST_USER_MEM_REG_LEN);
}

static void check_config(const uint8_t *data, size_t size)
{
    struct vhost_user_config config;
    const uint8_t *bytes;
    uint8_t out[VHOST_USER_CONFIG_LEN];
    if (vhost_user_config_get(data, size, &config, &bytes) < 0)
        return;
    CHECK(config.size <= LIMIT_VHOST_USER_CONFIG && config.size + sizeof(out) == size);
    CHECK(bytes == data + sizeof(out));
    CHECK(vhost_user_config_put(out, sizeof(out), &config) == (int)sizeof(out));
    CHECK(memcmp(data, out, sizeof(out)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CHECK_ROUND_TRIP(header, VHOST_USER_HEADER_LEN, size);
    CHECK_ROUND_TRIP(vring_state, VHOST_USER_VRING_STATE_LEN, size);
    CHECK_ROUND_TRIP(vring_addr, VHOST_USER_VRING_ADDR_LEN, size);
    CHECK_ROUND_TRIP(region, VHOST_USER_REGION_LEN, size);
    CHECK_ROUND_TRIP(log, VHOST_USER_LOG_LEN, size);
    CHECK_ROUND_TRIP(iotlb, VHOST_USER_IOTLB_LEN, 26);
    CHECK_ROUND_TRIP(transfer, VHOST_USER_TRANSFER_LEN, size);
    check_inflight(data, size);
    check_memory(data, size);
    check_config(data, size);
    for (size_t i = 0; i < size; i++)
        CHECK(vhost_user_request_name(data[i]));
    return 0;
}

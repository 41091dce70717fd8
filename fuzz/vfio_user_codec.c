// SPDX-License-Identifier: BSD-3-Clause
/*
 * The codec of vfio-user. What decodes must have the right length and encode to the very bytes that
 * were decoded; an answer to VERSION is never longer than the offer, and an offer itself.
 */
#include "wire/vfio_user.h"

#include <stdbool.h>
#include <string.h>

#include "check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The messages of fixed length have one shape. */
#define CHECK_ROUND_TRIP(name, length)                                                             \
    do {                                                                                           \
        struct vfio_user_##name message_;                                                          \
        uint8_t out_[length];                                                                      \
        bool decodes_ = vfio_user_##name##_get(data, size, &message_) == 0;                        \
        CHECK(decodes_ == (size == (length)));                                                     \
        if (decodes_) {                                                                            \
            CHECK(vfio_user_##name##_put(out_, sizeof(out_), &message_) == (int)size);             \
            CHECK(memcmp(data, out_, size) == 0);                                                  \
            CHECK(vfio_user_##name##_put(out_, sizeof(out_) - 1, &message_) < 0);                  \
        }                                                                                          \
    } while (0)

/* Four bytes of a sub-region are padding. */
static void check_sub_region(const uint8_t *data, size_t size)
{
    struct vfio_user_sub_region sub_region;
    uint8_t out[VFIO_USER_SUB_REGION_LEN];
    bool decodes = vfio_user_sub_region_get(data, size, &sub_region) == 0;
    CHECK(decodes == (size == sizeof(out)));
    if (!decodes)
        return;
    CHECK(vfio_user_sub_region_put(out, sizeof(out), &sub_region) == (int)size);
    CHECK(memcmp(data, out, 28) == 0 && memcmp(data + 32, out + 32, 8) == 0);
}

static void check_sparse(const uint8_t *data, size_t size)
{
    uint64_t offset, len, offset_again, len_again;
    uint8_t out[VFIO_USER_SPARSE_LEN];
    if (vfio_user_sparse_get(data, size, &offset, &len) < 0)
        return;
    CHECK(size == sizeof(out));
    CHECK(vfio_user_sparse_put(out, sizeof(out), offset, len) == (int)size);
    CHECK(vfio_user_sparse_get(out, sizeof(out), &offset_again, &len_again) == 0);
    CHECK(offset == offset_again && len == len_again);
}

static void check_version(const uint8_t *data, size_t size)
{
    static uint8_t answer[2 * LIMIT_VFIO_USER_JSON];
    struct vfio_user_version version, again;
    if (vfio_user_version_get(data, size, &version) < 0)
        return;
    CHECK(size == VFIO_USER_VERSION_LEN + version.json_len);
    int len = vfio_user_version_reply_put(answer, sizeof(answer), data, size, &version);
    CHECK(len > 0 && answer[len - 1] == '\0');
    CHECK((size_t)len <= size || version.json_len == 0);
    CHECK(vfio_user_version_get(answer, (size_t)len, &again) == 0);
    CHECK(again.major == version.major && again.minor == version.minor);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CHECK_ROUND_TRIP(header, VFIO_USER_HEADER_LEN);
    CHECK_ROUND_TRIP(dma_map, VFIO_USER_DMA_MAP_LEN);
    CHECK_ROUND_TRIP(dma_unmap, VFIO_USER_DMA_UNMAP_LEN);
    CHECK_ROUND_TRIP(device_info, VFIO_USER_DEVICE_INFO_LEN);
    CHECK_ROUND_TRIP(region_info, VFIO_USER_REGION_INFO_LEN);
    CHECK_ROUND_TRIP(region_io_fds, VFIO_USER_REGION_IO_FDS_LEN);
    CHECK_ROUND_TRIP(irq_info, VFIO_USER_IRQ_INFO_LEN);
    CHECK_ROUND_TRIP(irq_set, VFIO_USER_IRQ_SET_LEN);
    CHECK_ROUND_TRIP(feature, VFIO_USER_FEATURE_LEN);
    CHECK_ROUND_TRIP(mig_data, VFIO_USER_MIG_DATA_LEN);
    CHECK_ROUND_TRIP(dma_access, VFIO_USER_ACCESS_LEN);
    CHECK_ROUND_TRIP(access, VFIO_USER_ACCESS_LEN);
    check_sub_region(data, size);
    check_sparse(data, size);
    check_version(data, size);
    return 0;
}

// SPDX-License-Identifier: BSD-3-Clause
#include "wire/vfio_user.h"

#include "golden.h"
#include "support.h"

#include <errno.h>
#include <string.h>

GOLDEN_CODEC(vfio_user, header)
GOLDEN_CODEC(vfio_user, dma_map)
GOLDEN_CODEC(vfio_user, dma_unmap)
GOLDEN_CODEC(vfio_user, device_info)
GOLDEN_CODEC(vfio_user, region_info)
GOLDEN_CODEC(vfio_user, region_io_fds)
GOLDEN_CODEC(vfio_user, sub_region)
GOLDEN_CODEC(vfio_user, irq_info)
GOLDEN_CODEC(vfio_user, irq_set)
GOLDEN_CODEC(vfio_user, feature)
GOLDEN_CODEC(vfio_user, mig_data)
GOLDEN_CODEC(vfio_user, dma_access)
GOLDEN_CODEC(vfio_user, access)

static const struct golden messages[] = {
    /* A reply with an error: id 0x0102, DMA_MAP, EEXIST. */
    GOLDEN(vfio_user, header, 16, "\x02\x01\x02\0\x10\0\0\0\x21\0\0\0\x11\0\0\0", 0x0102, 2, 16,
           0x21, 17),
    /* QEMU maps the first 640 KiB. */
    GOLDEN(vfio_user, dma_map, 32,
           "\x20\0\0\0\x03\0\0\0\0\0\x0c\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\x0a\0\0\0\0\0", 32, 3,
           0xc0000, 0x100000000, 0xa0000),
    GOLDEN(vfio_user, dma_unmap, 24, "\x18\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\x0a\0\0\0\0\0", 24,
           0, 0x100000000, 0xa0000),
    GOLDEN(vfio_user, device_info, 16, "\x10\0\0\0\x03\0\0\0\x09\0\0\0\x05\0\0\0", 16, 3, 9, 5),
    GOLDEN(vfio_user, region_info, 32,
           "\x40\0\0\0\x0f\0\0\0\x02\0\0\0\x20\0\0\0\0\x40\0\0\0\0\0\0\0\x10\0\0\0\0\0\0", 64, 15,
           2, 32, 0x4000, 0x1000),
    GOLDEN(vfio_user, region_io_fds, 16, "\x38\0\0\0\0\0\0\0\x05\0\0\0\x01\0\0\0", 56, 0, 5, 1),
    GOLDEN(vfio_user, sub_region, 40,
           "\0\x10\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0"
           "\x88\x77\x66\x55\x44\x33\x22\x11",
           0x1000, 4, 3, 0, 2, 0x1122334455667788),
    GOLDEN(vfio_user, irq_info, 16, "\x10\0\0\0\x07\0\0\0\0\0\0\0\x01\0\0\0", 16, 7, 0, 1),
    /* INTx gets an eventfd. */
    GOLDEN(vfio_user, irq_set, 20, "\x14\0\0\0\x24\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0", 20, 0x24, 0, 0,
           1),
    GOLDEN(vfio_user, feature, 8, "\x10\0\0\0\x02\0\x01\0", 16, 0x10002),
    GOLDEN(vfio_user, mig_data, 8, "\x08\x10\0\0\0\x10\0\0", 4104, 4096),
    GOLDEN(vfio_user, dma_access, 16, "\x08\0\0\0\x01\0\0\0\0\x10\0\0\0\0\0\0", 0x100000008,
           0x1000),
    GOLDEN(vfio_user, access, 16, "\x04\0\0\0\0\0\0\0\x07\0\0\0\x02\0\0\0", 4, 7, 2),
};

#define MESSAGE_COUNT (sizeof(messages) / sizeof(messages[0]))

static void every_message_is_golden_both_ways(void **state)
{
    golden_both_ways(messages, MESSAGE_COUNT);
}

static void every_other_length_is_refused(void **state)
{
    for (size_t i = 0; i < MESSAGE_COUNT; i++) {
        const struct golden *m = &messages[i];
        uint8_t buf[64] = {0}, parsed[128], untouched[128];
        memset(parsed, 0xcc, sizeof(parsed));
        memset(untouched, 0xcc, sizeof(untouched));
        for (int len = 0; len <= m->len + 1; len++) {
            if (len != m->len)
                assert_int_equal(m->get(buf, (size_t)len, parsed), -EPROTO);
            if (len < m->len)
                assert_int_equal(m->put(buf, (size_t)len, m->says), -ENOSPC);
        }
        assert_memory_equal(parsed, untouched, sizeof(parsed));
    }
}

static void sparse_area_is_golden_both_ways(void **state)
{
    const char *golden =
        "\x01\0\x01\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\x20\0\0\0\0\0\0";
    uint8_t buf[VFIO_USER_SPARSE_LEN + 1] = {0};
    uint64_t offset, size;
    assert_int_equal(vfio_user_sparse_put(buf, sizeof(buf), 0x1000, 0x2000), VFIO_USER_SPARSE_LEN);
    assert_memory_equal(buf, golden, VFIO_USER_SPARSE_LEN);
    for (size_t len = 0; len <= sizeof(buf); len++)
        assert_int_equal(vfio_user_sparse_get(buf, len, &offset, &size),
                         len == VFIO_USER_SPARSE_LEN ? 0 : -EPROTO);
    assert_int_equal(offset, 0x1000);
    assert_int_equal(size, 0x2000);
    static const unsigned places[] = {0, 2, 8};
    for (unsigned i = 0; i < 3; i++) {
        buf[places[i]] ^= 2;
        assert_int_equal(vfio_user_sparse_get(buf, VFIO_USER_SPARSE_LEN, &offset, &size), -EPROTO);
        buf[places[i]] ^= 2;
    }
}

/* A VERSION payload of 0.0 with this text and its NUL. */
static size_t offer(uint8_t *buf, const char *text)
{
    memset(buf, 0, VFIO_USER_VERSION_LEN);
    memcpy(buf + VFIO_USER_VERSION_LEN, text, strlen(text) + 1);
    return VFIO_USER_VERSION_LEN + strlen(text) + 1;
}

static void what_an_offer_leaves_out_has_its_default(void **state)
{
    struct vfio_user_version version;
    assert_int_equal(vfio_user_version_get((const uint8_t *)"\1\0\2\0", 4, &version), 0);
    assert_int_equal(version.major, 1);
    assert_int_equal(version.minor, 2);
    assert_int_equal(version.json_len, 0);
    assert_int_equal(version.capabilities.max_msg_fds, 1);
    assert_int_equal(version.capabilities.max_data_xfer_size, 1048576);
    assert_int_equal(version.capabilities.pgsizes, 4096);
    assert_int_equal(version.capabilities.max_dma_maps, 65535);
    assert_false(version.capabilities.write_multiple);
}

static void an_offer_is_read(void **state)
{
    uint8_t buf[512];
    struct vfio_user_version version;
    size_t len = offer(buf, "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":65536,"
                            "\"pgsizes\":2097152,\"max_dma_maps\":9999999999,\"twin\":[1],"
                            "\"write_multiple\":true}}");
    assert_int_equal(vfio_user_version_get(buf, len, &version), 0);
    assert_int_equal(version.json_len, len - VFIO_USER_VERSION_LEN);
    assert_int_equal(version.capabilities.max_msg_fds, 8);
    assert_int_equal(version.capabilities.max_data_xfer_size, 65536);
    assert_int_equal(version.capabilities.pgsizes, 2097152);
    assert_int_equal(version.capabilities.max_dma_maps, UINT32_MAX);
    assert_true(version.capabilities.write_multiple);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(vfio_user_version_get(buf, cut, &version), cut == 4 ? 0 : -EPROTO);
}

static void text_that_is_no_offer_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "null",
        "[]",
        "{",
        "{} x",
        "{\"capabilities\":[]}",
        "{\"capabilities\":{\"max_msg_fds\":1.5}}",
        "{\"capabilities\":{\"max_msg_fds\":-1}}",
        "{\"capabilities\":{\"pgsizes\":null}}",
        "{\"capabilities\":{\"max_dma_maps\":{}}}",
        "{\"capabilities\":{\"max_data_xfer_size\":99999999999999999999}}",
        "{\"capabilities\":{\"write_multiple\":1}}",
    };
    uint8_t buf[512];
    struct vfio_user_version version;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(vfio_user_version_get(buf, offer(buf, texts[i]), &version), -EPROTO);
    size_t len = offer(buf, "{}");
    buf[len - 2] = '\0'; /* a NUL within */
    assert_int_equal(vfio_user_version_get(buf, len, &version), -EPROTO);
}

static void check_answer(const char *text, const char *expected)
{
    const struct vfio_user_version version = {
        .capabilities = {16, 1048576, 4096, 65535, true},
    };
    uint8_t offered[512], answer[512];
    size_t len = text ? offer(offered, text) : VFIO_USER_VERSION_LEN;
    int answer_len = vfio_user_version_reply_put(answer, sizeof(answer), offered, len, &version);
    assert_int_equal(answer_len, VFIO_USER_VERSION_LEN + strlen(expected) + 1);
    assert_string_equal((const char *)answer + VFIO_USER_VERSION_LEN, expected);
    for (int room = 0; room < answer_len; room++)
        assert_int_equal(vfio_user_version_reply_put(answer, (size_t)room, offered, len, &version),
                         -ENOSPC);
}

static void an_answer_names_what_was_offered(void **state)
{
    check_answer("{\"capabilities\":{\"max_dma_maps\":70000,\"write_multiple\":true,\"x\":1}}",
                 "{\"capabilities\":{\"max_dma_maps\":65535,\"write_multiple\":true}}");
    check_answer("{\"capabilities\":{}}", "{\"capabilities\":{}}");
    check_answer("{}", "{}");
    check_answer(NULL, "{\"capabilities\":{}}");
}

static void our_own_offer_is_golden_and_read_back(void **state)
{
    static const char golden[] =
        "\0\0\0\0{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576,"
        "\"pgsizes\":4096,\"max_dma_maps\":65535,\"write_multiple\":true}}";
    const struct vfio_user_version ours = {.capabilities = {.max_msg_fds = 16,
                                                            .max_data_xfer_size = 1048576,
                                                            .pgsizes = 4096,
                                                            .max_dma_maps = 65535,
                                                            .write_multiple = true}};
    uint8_t bytes[sizeof(golden)];
    struct vfio_user_version said;
    for (size_t len = 0; len < sizeof(bytes); len++)
        assert_int_equal(vfio_user_version_offer_put(bytes, len, &ours), -ENOSPC);
    assert_int_equal(vfio_user_version_offer_put(bytes, sizeof(bytes), &ours), sizeof(golden));
    assert_memory_equal(bytes, golden, sizeof(golden));
    assert_int_equal(vfio_user_version_get(bytes, sizeof(bytes), &said), 0);
    assert_int_equal(said.capabilities.max_dma_maps, 65535);
    assert_true(said.capabilities.write_multiple);
}

static void the_largest_offer_fits(void **state)
{
    const struct vfio_user_version ours = {.major = 0xffff,
                                           .minor = 0xffff,
                                           .capabilities = {.max_msg_fds = UINT32_MAX,
                                                            .max_data_xfer_size = UINT64_MAX,
                                                            .pgsizes = UINT64_MAX,
                                                            .max_dma_maps = UINT32_MAX}};
    uint8_t bytes[VFIO_USER_VERSION_LEN + 256];
    int len = vfio_user_version_offer_put(bytes, sizeof(bytes), &ours);
    assert_true(len > 0);
    assert_int_equal(bytes[len - 1], 0);
    assert_memory_equal(bytes, "\xff\xff\xff\xff{", 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_message_is_golden_both_ways),
        TEST(every_other_length_is_refused),
        TEST(sparse_area_is_golden_both_ways),
        TEST(what_an_offer_leaves_out_has_its_default),
        TEST(an_offer_is_read),
        TEST(text_that_is_no_offer_is_refused),
        TEST(an_answer_names_what_was_offered),
        TEST(our_own_offer_is_golden_and_read_back),
        TEST(the_largest_offer_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

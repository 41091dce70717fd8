// SPDX-License-Identifier: BSD-3-Clause
#include "wire/mpqemu.h"

#include "support.h"

#include <errno.h>
#include <string.h>

/* A configuration write of four bytes at 0x10, as the shipped proxy sends it. */
static const uint8_t config_write_shipped[] = {
    2,    0, 0, 0, 0,    0,    0,    0,    12, 0, 0, 0, 0, 0, 0, 0, /* cmd, padding, size */
    0x10, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 4,  0, 0, 0,             /* addr, val, len */
};

/* The same in the v8 dialect: another number, and bytestream set. */
static const uint8_t config_write_v8[] = {
    3, 0, 0,    0, 1, 0, 0,    0,    12,   0,    0, 0, 0, 0,
    0, 0, 0x10, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 4, 0, 0, 0,
};

static const uint8_t bar_access[] = {
    0x08, 0x00, 0xff, 0xfe, 0,    0,    0,    0,    /* addr */
    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, /* val */
    4,    0,    0,    0,    1,    0,    0,    0,    /* size, memory, padding */
};

static void check_config_write(const uint8_t *message, enum mpqemu_dialect dialect)
{
    struct mpqemu_header header;
    struct mpqemu_config_access access;
    assert_int_equal(mpqemu_header_get(message, MPQEMU_HEADER_LEN, &header), 0);
    assert_int_equal(mpqemu_command_from(dialect, header.number), MPQEMU_CONFIG_WRITE);
    assert_int_equal(header.bytestream, dialect == MPQEMU_V8);
    assert_int_equal(header.size, MPQEMU_CONFIG_LEN);
    assert_int_equal(mpqemu_config_get(message + MPQEMU_HEADER_LEN, MPQEMU_CONFIG_LEN, &access), 0);
    assert_int_equal(access.offset, 0x10);
    assert_int_equal(access.value, 0xffffffff);
    assert_int_equal(access.len, 4);

    uint8_t again[sizeof(config_write_shipped)];
    assert_int_equal(mpqemu_header_put(again, MPQEMU_HEADER_LEN, &header), MPQEMU_HEADER_LEN);
    assert_int_equal(mpqemu_config_put(again + MPQEMU_HEADER_LEN, MPQEMU_CONFIG_LEN, &access),
                     MPQEMU_CONFIG_LEN);
    assert_memory_equal(again, message, sizeof(again));
}

static void config_write_is_golden_in_both_dialects(void **state)
{
    check_config_write(config_write_shipped, MPQEMU_SHIPPED);
    check_config_write(config_write_v8, MPQEMU_V8);
}

static void bar_access_is_golden(void **state)
{
    struct mpqemu_bar_access access;
    uint8_t again[sizeof(bar_access)];
    assert_int_equal(mpqemu_bar_get(bar_access, sizeof(bar_access), &access), 0);
    assert_int_equal(access.address, 0xfeff0008);
    assert_true(access.value == 0x1122334455667788);
    assert_int_equal(access.size, 4);
    assert_int_equal(access.memory, 1);
    assert_int_equal(mpqemu_bar_put(again, sizeof(again), &access), sizeof(again));
    assert_memory_equal(again, bar_access, sizeof(again));
}

static void v8_pads_a_bar_access_to_its_union(void **state)
{
    uint8_t padded[MPQEMU_UNION_LEN];
    struct mpqemu_bar_access access;
    memset(padded, 0xaa, sizeof(padded));
    memcpy(padded, bar_access, sizeof(bar_access));
    assert_int_equal(mpqemu_bar_get(padded, sizeof(padded), &access), 0);
    assert_int_equal(access.address, 0xfeff0008);
    assert_int_equal(access.size, 4);
}

static void sysmem_is_golden(void **state)
{
    uint8_t bytes[MPQEMU_UNION_LEN] = {0}, again[MPQEMU_UNION_LEN];
    struct mpqemu_sysmem sysmem;
    bytes[8 + 4] = 1;            /* gpas[1] = 4 GiB, offset 8 */
    bytes[64 + 8 + 3] = 0x80;    /* sizes[1] = 2 GiB, offset 72 */
    bytes[128 + 7 * 8 + 1] = 16; /* offsets[7] = 4096, offset 184 */
    assert_int_equal(mpqemu_sysmem_get(bytes, sizeof(bytes), &sysmem), 0);
    assert_true(sysmem.gpas[1] == 0x100000000);
    assert_true(sysmem.sizes[1] == 0x80000000);
    assert_true(sysmem.offsets[7] == 4096);
    assert_int_equal(mpqemu_sysmem_put(again, sizeof(again), &sysmem), sizeof(again));
    assert_memory_equal(again, bytes, sizeof(again));
}

static void numbers_follow_the_dialect(void **state)
{
    static const struct {
        enum mpqemu_command command;
        int shipped, v8;
    } table[] = {
        {MPQEMU_INIT, -ENOTSUP, 0},
        {MPQEMU_SYNC_SYSMEM, 0, 1},
        {MPQEMU_RET, 1, 2},
        {MPQEMU_CONFIG_WRITE, 2, 3},
        {MPQEMU_CONFIG_READ, 3, 4},
        {MPQEMU_BAR_WRITE, 4, 5},
        {MPQEMU_BAR_READ, 5, 6},
        {MPQEMU_SET_IRQFD, 6, 7},
        {MPQEMU_GET_PCI_INFO, -ENOTSUP, 8},
        {MPQEMU_PING, -ENOTSUP, 9},
        {MPQEMU_DEVICE_RESET, 7, 10},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        enum mpqemu_command command = table[i].command;
        assert_int_equal(mpqemu_command_number(MPQEMU_SHIPPED, command), table[i].shipped);
        assert_int_equal(mpqemu_command_number(MPQEMU_V8, command), table[i].v8);
        assert_int_equal(mpqemu_command_from(MPQEMU_V8, (uint32_t)table[i].v8), command);
        if (table[i].shipped >= 0)
            assert_int_equal(mpqemu_command_from(MPQEMU_SHIPPED, (uint32_t)table[i].shipped),
                             command);
    }
    assert_int_equal(mpqemu_command_from(MPQEMU_SHIPPED, 8), -EPROTO);
    assert_int_equal(mpqemu_command_from(MPQEMU_V8, 11), -EPROTO);
    assert_int_equal(mpqemu_command_from(MPQEMU_V8, UINT32_MAX), -EPROTO);
}

/* Each get must take bytes of exactly its length, and leave its result alone otherwise. */
#define CHECK_LENGTHS(get, type, right)                                                            \
    for (size_t len = 0; len <= sizeof(bytes); len++) {                                            \
        type result, untouched;                                                                    \
        memset(&result, 0x5a, sizeof(result));                                                     \
        memset(&untouched, 0x5a, sizeof(untouched));                                               \
        int expected = (right) ? 0 : -EPROTO;                                                      \
        assert_int_equal(get(bytes, len, &result), expected);                                      \
        if (expected < 0)                                                                          \
            assert_memory_equal(&result, &untouched, sizeof(result));                              \
    }

static void every_other_length_is_refused(void **state)
{
    static const uint8_t bytes[MPQEMU_UNION_LEN + 8];
    CHECK_LENGTHS(mpqemu_header_get, struct mpqemu_header, len == MPQEMU_HEADER_LEN)
    CHECK_LENGTHS(mpqemu_sysmem_get, struct mpqemu_sysmem, len == MPQEMU_UNION_LEN)
    CHECK_LENGTHS(mpqemu_config_get, struct mpqemu_config_access, len == MPQEMU_CONFIG_LEN)
    CHECK_LENGTHS(mpqemu_bar_get, struct mpqemu_bar_access,
                  len == MPQEMU_BAR_LEN || len == MPQEMU_UNION_LEN)
}

#define CHECK_ROOM(put, value, needed)                                                             \
    for (size_t len = 0; len < (needed); len++) {                                                  \
        uint8_t room[MPQEMU_UNION_LEN + 1] = {0};                                                  \
        assert_int_equal(put(room, len, &(value)), -ENOSPC);                                       \
        assert_int_equal(room[len], 0);                                                            \
    }

static void a_put_never_overruns(void **state)
{
    const struct mpqemu_header header = {UINT32_MAX, UINT32_MAX, UINT64_MAX};
    const struct mpqemu_config_access config = {UINT32_MAX, UINT32_MAX, UINT32_MAX};
    const struct mpqemu_bar_access bar = {UINT64_MAX, UINT64_MAX, UINT32_MAX, UINT8_MAX};
    struct mpqemu_sysmem sysmem;
    memset(&sysmem, 0xff, sizeof(sysmem));
    CHECK_ROOM(mpqemu_header_put, header, MPQEMU_HEADER_LEN)
    CHECK_ROOM(mpqemu_config_put, config, MPQEMU_CONFIG_LEN)
    CHECK_ROOM(mpqemu_bar_put, bar, MPQEMU_BAR_LEN)
    CHECK_ROOM(mpqemu_sysmem_put, sysmem, MPQEMU_UNION_LEN)
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(config_write_is_golden_in_both_dialects),
        TEST(bar_access_is_golden),
        TEST(v8_pads_a_bar_access_to_its_union),
        TEST(sysmem_is_golden),
        TEST(numbers_follow_the_dialect),
        TEST(every_other_length_is_refused),
        TEST(a_put_never_overruns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

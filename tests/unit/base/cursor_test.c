// SPDX-License-Identifier: BSD-3-Clause
#include "base/cursor.h"

#include "support.h"

#include <errno.h>

static const uint8_t golden[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09,
                                 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0xaa, 0xbb};

static int read_all(const uint8_t *buf, size_t len)
{
    struct rd rd = rd_init(buf, len);
    uint8_t bytes[2];
    uint8_t u8 = rd_u8(&rd);
    uint16_t u16 = rd_u16(&rd);
    uint32_t u32 = rd_u32(&rd);
    uint64_t u64 = rd_u64(&rd);
    rd_bytes(&rd, bytes, 2);
    if (rd_done(&rd) == 0) {
        assert_int_equal(u8, 0x01);
        assert_int_equal(u16, 0x0302);
        assert_int_equal(u32, 0x07060504);
        assert_true(u64 == 0x0f0e0d0c0b0a0908);
        assert_int_equal(bytes[0], 0xaa);
        assert_int_equal(bytes[1], 0xbb);
    }
    return rd_done(&rd);
}

static void reads_golden_bytes(void **state)
{
    assert_int_equal(read_all(golden, sizeof(golden)), 0);
}

static void refuses_every_truncation(void **state)
{
    for (size_t len = 0; len < sizeof(golden); len++)
        assert_int_equal(read_all(golden, len), -EPROTO);
}

static void refuses_trailing_bytes(void **state)
{
    struct rd rd = rd_init(golden, 3);
    rd_u16(&rd);
    assert_int_equal(rd_done(&rd), -EPROTO);
}

static void error_sticks(void **state)
{
    struct rd rd = rd_init(golden, 2);
    assert_int_equal(rd_u32(&rd), 0);
    assert_int_equal(rd_u8(&rd), 0);
    rd_skip(&rd, 2);
    assert_int_equal(rd_done(&rd), -EPROTO);
}

static int write_all(uint8_t *buf, size_t len)
{
    struct wr wr = wr_init(buf, len);
    wr_u8(&wr, 0x01);
    wr_u16(&wr, 0x0302);
    wr_u32(&wr, 0x07060504);
    wr_u64(&wr, 0x0f0e0d0c0b0a0908);
    wr_bytes(&wr, "\xaa\xbb", 2);
    return wr_done(&wr);
}

static void writes_golden_bytes(void **state)
{
    uint8_t buf[sizeof(golden)];
    assert_int_equal(write_all(buf, sizeof(buf)), sizeof(golden));
    assert_memory_equal(buf, golden, sizeof(golden));
}

static void writer_never_overruns(void **state)
{
    for (size_t len = 0; len < sizeof(golden); len++) {
        uint8_t buf[sizeof(golden) + 1] = {0};
        assert_int_equal(write_all(buf, len), -ENOSPC);
        assert_int_equal(buf[len], 0);
    }
}

static void writes_zeroes(void **state)
{
    uint8_t buf[4] = {1, 2, 3, 4};
    struct wr wr = wr_init(buf, sizeof(buf));
    wr_zero(&wr, 3);
    assert_int_equal(wr_done(&wr), 3);
    assert_memory_equal(buf, "\0\0\0\4", 4);
    wr_zero(&wr, 2);
    assert_int_equal(wr_done(&wr), -ENOSPC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_golden_bytes), TEST(refuses_every_truncation), TEST(refuses_trailing_bytes),
        TEST(error_sticks),       TEST(writes_golden_bytes),      TEST(writer_never_overruns),
        TEST(writes_zeroes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

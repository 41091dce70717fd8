// SPDX-License-Identifier: BSD-3-Clause
#include "prp.h"

#include "bytes.h"
#include "nvme/fixture.h"
#include "support.h"

#define LIST 0x10000u

static struct fixture fixture;
static struct nvme_transfer transfer;

static uint16_t map(uint64_t prp1, uint64_t prp2, uint32_t len)
{
    const struct nvme_command command = {.prp1 = prp1, .prp2 = prp2};
    return prp_map(fixture.nvme, &command, len, OB_DMA_FROM_DEVICE, &transfer);
}

static void put_list(uint64_t at, unsigned index, uint64_t entry)
{
    put64(fixture.memory + at + 8 * (size_t)index, entry);
}

static uint16_t code(uint16_t status)
{
    return (uint16_t)(status & ~NVME_DO_NOT_RETRY);
}

static void assert_piece(unsigned index, uint64_t address, size_t len)
{
    /* The library's mapping is not ours: what is written through one is seen through the other. */
    uint8_t *byte = transfer.iov[index].iov_base;
    assert_int_equal(transfer.iov[index].iov_len, len);
    byte[0] = 0x77;
    byte[len - 1] = 0x78;
    assert_int_equal(fixture.memory[address + len - 1], 0x78);
    assert_true(len == 1 || fixture.memory[address] == 0x77);
}

static void test_one_page(void **state)
{
    fixture_start(&fixture);
    assert_int_equal(map(DATA, UINT64_MAX, PAGE), NVME_SUCCESS);
    assert_int_equal(transfer.span_count, 1);
    assert_piece(0, DATA, PAGE);
    prp_unmap(fixture.nvme, &transfer);
    assert_int_equal(map(DATA + 0xffc, UINT64_MAX, 4), NVME_SUCCESS);
    assert_piece(0, DATA + 0xffc, 4);
    prp_unmap(fixture.nvme, &transfer);
    fixture_stop(&fixture);
}

static void test_two_pages(void **state)
{
    fixture_start(&fixture);
    assert_int_equal(map(DATA + 512, DATA + 3 * PAGE, PAGE), NVME_SUCCESS);
    assert_int_equal(transfer.span_count, 2);
    assert_piece(0, DATA + 512, PAGE - 512);
    assert_piece(1, DATA + 3 * PAGE, 512);
    prp_unmap(fixture.nvme, &transfer);
    assert_int_equal(transfer.span_count, 0);
    fixture_stop(&fixture);
}

static void test_pages_that_follow_each_other_are_one_piece(void **state)
{
    fixture_start(&fixture);
    for (unsigned i = 0; i < 7; i++)
        put_list(LIST, i, DATA + (i + 1) * PAGE);
    assert_int_equal(map(DATA, LIST, 8 * PAGE), NVME_SUCCESS);
    assert_int_equal(transfer.span_count, 1);
    assert_piece(0, DATA, (size_t)8 * PAGE);
    prp_unmap(fixture.nvme, &transfer);
    fixture_stop(&fixture);
}

static void test_pieces_end_with_their_region(void **state)
{
    fixture_start(&fixture);
    assert_int_equal(map(LAST_PAGE - PAGE, LAST_PAGE, 2 * PAGE), NVME_SUCCESS);
    assert_int_equal(transfer.span_count, 2);
    prp_unmap(fixture.nvme, &transfer);
    fixture_stop(&fixture);
}

static void test_the_most_pieces(void **state)
{
    fixture_start(&fixture);
    for (unsigned i = 0; i < NVME_TRANSFER_PAGES; i++)
        put_list(LIST, i, DATA + (i % 2 ? 8 : 4) * PAGE);
    assert_int_equal(map(DATA + 4, LIST, NVME_TRANSFER_LEN), NVME_SUCCESS);
    assert_int_equal(transfer.span_count, NVME_SPANS);
    assert_int_equal(transfer.iov[0].iov_len, PAGE - 4);
    assert_int_equal(transfer.iov[NVME_SPANS - 1].iov_len, 4);
    prp_unmap(fixture.nvme, &transfer);
    fixture_stop(&fixture);
}

/* A list from every place in its page: it ends there in the address of the next. */
static void test_lists_that_go_on(void **state)
{
    fixture_start(&fixture);
    for (uint64_t room = 1; room <= 130; room++) {
        uint64_t list = LIST + PAGE - 8 * room;
        for (unsigned i = 0; i < 127; i++) {
            bool here = room >= 127 || i < room - 1;
            put_list(here ? list : LIST + PAGE, here ? i : i - (room - 1), DATA + 2 * PAGE * i);
        }
        if (room < 127)
            put_list(list, room - 1, LIST + PAGE);
        assert_int_equal(map(DATA + PAGE, list, NVME_TRANSFER_LEN), NVME_SUCCESS);
        assert_int_equal(transfer.span_count, 128);
        assert_ptr_equal(transfer.iov[127].iov_base,
                         (uint8_t *)transfer.iov[1].iov_base + (size_t)252 * PAGE);
        prp_unmap(fixture.nvme, &transfer);
    }
    fixture_stop(&fixture);
}

static void test_what_is_misaligned(void **state)
{
    fixture_start(&fixture);
    for (unsigned off = 1; off < 4; off++)
        assert_int_equal(code(map(DATA + off, 0, 512)), NVME_PRP_OFFSET_INVALID);
    assert_int_equal(code(map(DATA, DATA + 4, 2 * PAGE)), NVME_PRP_OFFSET_INVALID);
    for (unsigned off = 1; off < 8; off++)
        assert_int_equal(code(map(DATA, LIST + off, 3 * PAGE)), NVME_PRP_OFFSET_INVALID);
    put_list(LIST, 0, DATA + PAGE);
    put_list(LIST, 1, DATA + 2 * PAGE + 512);
    assert_int_equal(code(map(DATA, LIST, 3 * PAGE)), NVME_PRP_OFFSET_INVALID);
    assert_int_equal(transfer.span_count, 0);
    fixture_stop(&fixture);
}

static void test_what_is_not_there(void **state)
{
    fixture_start(&fixture);
    assert_int_equal(map(MEMORY_LEN, 0, 512), NVME_DATA_TRANSFER_ERROR);
    assert_int_equal(map(UINT64_MAX - 3, 0, 4), NVME_DATA_TRANSFER_ERROR);
    assert_int_equal(map(DATA, MEMORY_LEN, 2 * PAGE), NVME_DATA_TRANSFER_ERROR);
    assert_int_equal(map(DATA, MEMORY_LEN, 3 * PAGE), NVME_DATA_TRANSFER_ERROR);
    put_list(MEMORY_LEN - 8, 0, MEMORY_LEN);
    assert_int_equal(map(DATA, MEMORY_LEN - 8, 3 * PAGE), NVME_DATA_TRANSFER_ERROR);
    assert_int_equal(map(READ_ONLY, 0, 512), NVME_DATA_TRANSFER_ERROR);
    assert_int_equal(transfer.span_count, 0);
    fixture_stop(&fixture);
}

static void test_lists_that_loop(void **state)
{
    fixture_start(&fixture);
    put_list(LIST, 511, LIST + PAGE - 8);
    assert_int_equal(code(map(DATA, LIST + PAGE - 8, NVME_TRANSFER_LEN)), NVME_PRP_OFFSET_INVALID);
    for (unsigned i = 0; i < 512; i++)
        put_list(LIST, i, LIST);
    assert_int_equal(map(DATA, LIST + PAGE - 8, NVME_TRANSFER_LEN), NVME_SUCCESS);
    prp_unmap(fixture.nvme, &transfer);
    fixture_stop(&fixture);
}

static void test_copies(void **state)
{
    static uint8_t out[2 * PAGE], in[2 * PAGE];
    const struct nvme_command command = {.prp1 = DATA + 4, .prp2 = LIST};
    fixture_start(&fixture);
    put_list(LIST, 0, DATA + 5 * PAGE);
    put_list(LIST, 1, DATA + 3 * PAGE);
    for (unsigned i = 0; i < sizeof(out); i++)
        out[i] = (uint8_t)(i * 7 + i / 256);
    assert_int_equal(prp_write(fixture.nvme, &command, out, sizeof(out)), NVME_SUCCESS);
    assert_memory_equal(fixture.memory + DATA + 4, out, PAGE - 4);
    assert_memory_equal(fixture.memory + DATA + 5 * PAGE, out + PAGE - 4, PAGE);
    assert_memory_equal(fixture.memory + DATA + 3 * PAGE, out + 2 * PAGE - 4, 4);
    assert_int_equal(prp_read(fixture.nvme, &command, in, sizeof(in)), NVME_SUCCESS);
    assert_memory_equal(in, out, sizeof(in));
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_page),
        TEST(test_two_pages),
        TEST(test_pages_that_follow_each_other_are_one_piece),
        TEST(test_pieces_end_with_their_region),
        TEST(test_the_most_pieces),
        TEST(test_lists_that_go_on),
        TEST(test_what_is_misaligned),
        TEST(test_what_is_not_there),
        TEST(test_lists_that_loop),
        TEST(test_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
/* Every command of vfio-user, cut off at every byte, and in pieces of one byte. */
#include "support.h"
#include "vfio_user_fixture.h"

#include <string.h>

struct example {
    uint16_t command;
    unsigned num_fds; /* eventfds; or, of DMA_MAP, a file */
    size_t len;
    uint8_t payload[48];
};

/* clang-format off */
static const struct example examples[] = {
    {VFIO_USER_DMA_MAP, 1, 32, {32, [4] = 3, [18] = 4, [26] = 1}},
    {VFIO_USER_DMA_UNMAP, 0, 24, {24, [10] = 1, [18] = 1}},
    {VFIO_USER_DEVICE_GET_INFO, 0, 16, {16}},
    {VFIO_USER_DEVICE_GET_REGION_INFO, 0, 32, {64, [8] = 1}},
    {VFIO_USER_DEVICE_GET_REGION_IO_FDS, 0, 16, {255}},
    {VFIO_USER_DEVICE_GET_IRQ_INFO, 0, 16, {16}},
    {VFIO_USER_DEVICE_SET_IRQS, 2, 20, {20, [4] = 0x24, [8] = 2, [16] = 2}},
    {VFIO_USER_REGION_READ, 0, 16, {[8] = 7, [12] = 64}},
    {VFIO_USER_REGION_WRITE, 0, 24, {[8] = 0, [12] = 8}},
    {VFIO_USER_DEVICE_RESET, 0, 0, {0}},
    {VFIO_USER_REGION_WRITE_MULTI, 0, 32, {1, [16] = 0, [20] = 4}},
    {VFIO_USER_DEVICE_FEATURE, 0, 24, {255, [4] = 6, [6] = 2, [9] = 0x10}},
    {VFIO_USER_MIG_DATA_READ, 0, 8, {16, [4] = 8}},
    {VFIO_USER_MIG_DATA_WRITE, 0, 16, {16, [4] = 8}},
};
/* clang-format on */

#define COUNT (sizeof(examples) / sizeof(examples[0]))

static unsigned open_fds(struct fixture *f, const struct example *example, int *fds)
{
    for (unsigned i = 0; i < example->num_fds; i++)
        fds[i] = example->command == VFIO_USER_DMA_MAP ? fake_file(&f->fake, 5 + i)
                                                       : fake_event(&f->fake);
    return example->num_fds;
}

/* tear_down() finds what is left over: descriptors, mappings, memory. */
static void disconnect_at_every_byte(void **state)
{
    for (unsigned i = 0; i < COUNT; i++) {
        uint8_t buf[128];
        size_t len = command(buf, 1, examples[i].command, examples[i].payload, examples[i].len);
        for (size_t cut = 1; cut <= len; cut++) {
            struct fixture f;
            int fds[2];
            set_up_serving(&f);
            unsigned num_fds = open_fds(&f, &examples[i], fds);
            assert_int_equal(receive(&f, buf, cut, fds, num_fds), 0);
            assert_int_equal(engine_pending(f.engine).len > 0, cut == len);
            tear_down(&f);
        }
    }
}

/* The descriptors come with the first byte, the last or any other. */
static void pieces_of_one_byte_with_descriptors_anywhere(void **state)
{
    for (unsigned i = 0; i < COUNT; i++) {
        uint8_t buf[128];
        size_t len = command(buf, 1, examples[i].command, examples[i].payload, examples[i].len);
        struct sent whole, reply;
        int fds[2];
        struct fixture f;
        set_up_serving(&f);
        unsigned num_fds = open_fds(&f, &examples[i], fds);
        assert_int_equal(receive(&f, buf, len, fds, num_fds), 0);
        assert_true(take(&f, &whole));
        tear_down(&f);
        for (size_t ride = 0; ride < len; ride++) {
            set_up_serving(&f);
            num_fds = open_fds(&f, &examples[i], fds);
            for (size_t at = 0; at < len; at++)
                assert_int_equal(receive(&f, buf + at, 1, fds, at == ride ? num_fds : 0), 0);
            assert_true(take(&f, &reply));
            assert_int_equal(reply.header.flags, whole.header.flags);
            assert_int_equal(reply.header.error, whole.header.error);
            assert_int_equal(reply.len, whole.len);
            assert_false(take(&f, &reply));
            tear_down(&f);
        }
    }
}

static void version_is_cut_too(void **state)
{
    static const char offer[] = "\0\0\0\0{\"capabilities\":{\"max_msg_fds\":16}}";
    uint8_t buf[128];
    size_t len = command(buf, 1, VFIO_USER_VERSION, offer, sizeof(offer));
    for (size_t cut = 1; cut <= len; cut++) {
        struct fixture f;
        set_up(&f);
        assert_int_equal(receive(&f, buf, cut, NULL, 0), 0);
        assert_int_equal(engine_pending(f.engine).len > 0, cut == len);
        tear_down(&f);
    }
}

static void every_command_has_an_example(void **state)
{
    unsigned seen = 1u << VFIO_USER_VERSION | 1u << VFIO_USER_DMA_READ | 1u << VFIO_USER_DMA_WRITE;
    const unsigned reserved = 1u << 0 | 1u << 14;
    for (unsigned i = 0; i < COUNT; i++)
        seen |= 1u << examples[i].command;
    assert_int_equal(seen | reserved, (1u << VFIO_USER_COMMAND_COUNT) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(disconnect_at_every_byte),
        TEST(pieces_of_one_byte_with_descriptors_anywhere),
        TEST(version_is_cut_too),
        TEST(every_command_has_an_example),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "server/greeting.h"

#include "support.h"
#include "wire/mpqemu.h"
#include "wire/vfio_user.h"
#include "wire/vhost_user.h"

#include <errno.h>
#include <string.h>

static void put_version(uint8_t bytes[GREETING_LEN], uint32_t size, uint32_t flags)
{
    const struct vfio_user_header header = {
        .id = 0x1234, .command = VFIO_USER_VERSION, .size = size, .flags = flags};
    memset(bytes, 0, GREETING_LEN);
    vfio_user_header_put(bytes, VFIO_USER_HEADER_LEN, &header);
}

static void put_sysmem(uint8_t bytes[GREETING_LEN], uint32_t number, uint64_t size)
{
    const struct mpqemu_header header = {.number = number, .size = size};
    memset(bytes, 0, GREETING_LEN);
    mpqemu_header_put(bytes, MPQEMU_HEADER_LEN, &header);
}

static void a_short_message_is_enough_when_it_is_whole(void **state)
{
    uint8_t bytes[GREETING_LEN];
    put_version(bytes, 21, VFIO_USER_TYPE_COMMAND);
    for (size_t len = 0; len <= sizeof(bytes); len++) {
        struct greeting greeting = greeting_judge(bytes, len);
        assert_ptr_equal(greeting.wire, len < 3 ? NULL : &vfio_user_engine);
        assert_int_equal(greeting.has_header, len >= 16);
        assert_int_equal(greeting.is_enough, len >= 21);
    }
}

static void of_a_long_message_the_beginning_is_enough(void **state)
{
    static const size_t tells[] = {3, 9}; /* by dialect: command 1 begins vhost-user, too */
    uint8_t bytes[GREETING_LEN];
    for (unsigned number = 0; number < 2; number++) {
        put_sysmem(bytes, number, 192);
        for (size_t len = 0; len <= sizeof(bytes); len++) {
            struct greeting greeting = greeting_judge(bytes, len);
            assert_ptr_equal(greeting.wire, len < tells[number] ? NULL : &mpqemu_engine);
            assert_int_equal(greeting.is_enough, len >= GREETING_LEN);
        }
    }
}

static void put_vhost_user(uint8_t bytes[GREETING_LEN], uint32_t request, uint32_t flags,
                           uint32_t size)
{
    const struct vhost_user_header header = {.request = request, .flags = flags, .size = size};
    memset(bytes, 0xa5, GREETING_LEN);
    vhost_user_header_put(bytes, VHOST_USER_HEADER_LEN, &header);
}

/* QEMU opens with GET_FEATURES, Cloud Hypervisor and crosvm with SET_OWNER, and a QEMU that takes a
 * back end's successor for the same process with whatever it was about to say. */
static void vhost_user_is_recognised_by_any_of_its_requests(void **state)
{
    static const uint32_t openings[][3] = {
        {1, 1, 0}, {3, 9, 0}, {18, 1, 8}, {11, 9, 8}, {24, 1, 69}};
    uint8_t bytes[GREETING_LEN];
    for (size_t i = 0; i < sizeof(openings) / sizeof(openings[0]); i++) {
        put_vhost_user(bytes, openings[i][0], openings[i][1], openings[i][2]);
        for (size_t len = 0; len <= sizeof(bytes); len++) {
            struct greeting greeting = greeting_judge(bytes, len);
            assert_ptr_equal(greeting.wire, len < 12 ? NULL : &vhost_user_engine);
            assert_int_equal(greeting.has_header, len >= 12);
            assert_int_equal(greeting.is_enough,
                             len >= 12 + openings[i][2] || len == sizeof(bytes));
        }
    }
}

static void what_differs_is_not_vhost_user(void **state)
{
    static const uint32_t others[][3] = {{1, 1, 192}, {1, 5, 0}, {1, 2, 0},    {0, 1, 0},
                                         {44, 1, 0},  {2, 1, 0}, {0x101, 1, 0}};
    uint8_t bytes[GREETING_LEN];
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        put_vhost_user(bytes, others[i][0], others[i][1], others[i][2]);
        assert_ptr_not_equal(greeting_judge(bytes, sizeof(bytes)).wire, &vhost_user_engine);
        assert_non_null(greeting_judge(bytes, sizeof(bytes)).wire);
    }
}

/* An engine tells what is wrong with it. */
static void what_opens_no_wire_is_enough_with_its_header(void **state)
{
    uint8_t bytes[GREETING_LEN];
    put_sysmem(bytes, 7, 4000);
    assert_false(greeting_judge(bytes, 15).is_enough);
    assert_true(greeting_judge(bytes, 16).is_enough);
    put_sysmem(bytes, 0, UINT64_MAX); /* plus its header, that is 15 */
    assert_true(greeting_judge(bytes, 16).is_enough);
    memset(bytes, 'x', sizeof(bytes));
    assert_true(greeting_judge(bytes, 16).is_enough);
}

static void version_is_answered_and_nothing_else(void **state)
{
    uint8_t bytes[GREETING_LEN], answer[GREETING_ANSWER_LEN];
    struct vfio_user_header header = {0};
    put_version(bytes, 100, VFIO_USER_TYPE_COMMAND);
    assert_true(greeting_answer_busy(&vfio_user_engine, bytes, answer));
    vfio_user_header_get(answer, sizeof(answer), &header);
    assert_int_equal(header.id, 0x1234);
    assert_int_equal(header.command, VFIO_USER_VERSION);
    assert_int_equal(header.size, sizeof(answer));
    assert_int_equal(header.flags, VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR);
    assert_int_equal(header.error, EBUSY);
    put_version(bytes, 100, VFIO_USER_TYPE_REPLY);
    assert_false(greeting_answer_busy(&vfio_user_engine, bytes, answer));
    put_sysmem(bytes, 0, 192);
    assert_false(greeting_answer_busy(&vfio_user_engine, bytes, answer));
    assert_false(greeting_answer_busy(&mpqemu_engine, bytes, answer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_short_message_is_enough_when_it_is_whole),
        TEST(of_a_long_message_the_beginning_is_enough),
        TEST(vhost_user_is_recognised_by_any_of_its_requests),
        TEST(what_differs_is_not_vhost_user),
        TEST(what_opens_no_wire_is_enough_with_its_header),
        TEST(version_is_answered_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

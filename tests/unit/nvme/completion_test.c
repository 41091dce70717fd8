// SPDX-License-Identifier: BSD-3-Clause
#include "completion.h"

#include <errno.h>

#include "nvme/fixture.h"
#include "support.h"

static struct fixture fixture;

static void test_what_an_errno_means_to_the_guest(void **state)
{
    const uint16_t is_protected = NVME_NAMESPACE_WRITE_PROTECTED | NVME_DO_NOT_RETRY;
    const struct {
        int err;
        uint16_t of_read;
        uint16_t of_write;
    } rows[] = {
        {0, NVME_SUCCESS, NVME_SUCCESS},
        {-EFAULT, NVME_DATA_TRANSFER_ERROR, NVME_DATA_TRANSFER_ERROR},
        {-ENOSPC, NVME_CAPACITY_EXCEEDED, NVME_CAPACITY_EXCEEDED},
        {-EROFS, is_protected, is_protected},
        {-ECANCELED, NVME_ABORT_REQUESTED, NVME_ABORT_REQUESTED},
        {-EIO, NVME_UNRECOVERED_READ, NVME_WRITE_FAULT},
        {-EBADMSG, NVME_UNRECOVERED_READ, NVME_WRITE_FAULT},
        {-EINVAL, NVME_INTERNAL_ERROR, NVME_INTERNAL_ERROR},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(completion_status(BLOCK_READ, rows[i].err), rows[i].of_read);
        assert_int_equal(completion_status(BLOCK_WRITE, rows[i].err), rows[i].of_write);
    }
}

static void park(uint16_t id)
{
    struct nvme_request *request = request_new(fixture.nvme, &fixture.nvme->queues.sq[1]);
    request->command = (struct nvme_command){.opcode = NVME_IO_FLUSH, .id = id, .nsid = 1};
    request_park(request);
}

static bool is_odd(const struct nvme_request *request, const void *unused)
{
    return request->command.id % 2;
}

/* Those that are not meant stay parked, in their order. */
static void test_parked_commands_that_are_meant_end(void **state)
{
    fixture_start_enabled(&fixture, 1);
    for (uint16_t id = 1; id <= 5; id++)
        park(id);
    assert_int_equal(completion_end_parked(fixture.nvme, is_odd, NULL, NVME_ABORT_REQUESTED), 3);
    for (unsigned i = 0; i < 3; i++) {
        struct completion done = fixture_completion(&fixture, 1, i);
        assert_int_equal(done.command_id, 2 * i + 1);
        assert_int_equal(done.status, NVME_ABORT_REQUESTED);
    }
    const struct nvme_request *left = requests_unpark(fixture.nvme);
    assert_int_equal(left->command.id, 2);
    assert_int_equal(left->next->command.id, 4);
    assert_null(left->next->next);
    assert_null(requests_unpark(fixture.nvme));
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_an_errno_means_to_the_guest),
        TEST(test_parked_commands_that_are_meant_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

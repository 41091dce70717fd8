// SPDX-License-Identifier: BSD-3-Clause
#include "controller.h"

#include <errno.h>

#include "failing_alloc.h"
#include "gate.h"
#include "nvme/fixture.h"
#include "support.h"

static struct fixture fixture;

static struct nvme_command io(uint8_t opcode, unsigned slba, unsigned blocks)
{
    struct nvme_command command = {.opcode = opcode, .nsid = 1, .prp1 = DATA, .prp2 = DATA + PAGE};
    command.dword[10] = slba;
    command.dword[12] = blocks - 1;
    return command;
}

static void send_io(uint8_t opcode, unsigned slba, unsigned blocks)
{
    struct nvme_command command = io(opcode, slba, blocks);
    fixture_send(&fixture, 1, &command);
}

static uint32_t status(void)
{
    return (uint32_t)fixture_register(&fixture, NVME_REG_CSTS, 4);
}

static void test_disable_waits_for_io_in_flight(void **state)
{
    fixture_start_enabled(&fixture, 1);
    fixture.disk.holds = true;
    send_io(NVME_IO_READ, 0, 8);
    fixture_set_register(&fixture, NVME_REG_CC, 4, 0);
    fixture_poll(&fixture);
    assert_int_equal(status(), NVME_CSTS_RDY);
    fake_disk_finish(&fixture.disk, 0, 0);
    fixture_poll(&fixture);
    assert_int_equal(status(), 0);
    fixture_stop(&fixture);
}

/* So that the server polls for as long as that pays with I/O in flight. */
static void test_the_controller_waits_while_io_is_in_flight(void **state)
{
    fixture_start_enabled(&fixture, 1);
    assert_false(device_has_io_in_flight(fixture.device));
    fixture.disk.holds = true;
    send_io(NVME_IO_READ, 0, 8);
    assert_true(device_has_io_in_flight(fixture.device));
    fake_disk_finish(&fixture.disk, 0, 0);
    assert_false(device_has_io_in_flight(fixture.device));
    fixture_stop(&fixture);
}

static void test_enabling_again_while_io_is_in_flight(void **state)
{
    fixture_start_enabled(&fixture, 1);
    fixture.disk.holds = true;
    send_io(NVME_IO_READ, 0, 8);
    fixture_set_register(&fixture, NVME_REG_CC, 4, 0);
    fixture_set_register(&fixture, NVME_REG_CC, 4, 0x00460001);
    fixture_poll(&fixture);
    assert_non_null(queue_sq(fixture.nvme, 1)); /* still stopping */
    fake_disk_finish(&fixture.disk, 0, 0);
    fixture_poll(&fixture);
    assert_int_equal(status(), NVME_CSTS_RDY);
    assert_null(queue_sq(fixture.nvme, 1));
    fixture_stop(&fixture);
}

static void test_reset_waits_for_io_in_flight(void **state)
{
    fixture_start_enabled(&fixture, 1);
    fixture.disk.holds = true;
    send_io(NVME_IO_READ, 0, 8);
    send_io(NVME_IO_WRITE, 0, 8);
    assert_false(device_reset_when_quiet(fixture.device)); /* nothing waits */
    assert_int_equal(fixture.disk.pending_count, 2);
    fixture_reset(&fixture);
    assert_int_equal(fixture.disk.pending_count, 0);
    assert_int_equal(status(), 0);
    fixture_stop(&fixture);
}

/* New commands wait for the controller to run on; those in flight end and are completed. */
static void test_nothing_is_begun_while_it_lets_go(void **state)
{
    fixture_start_enabled(&fixture, 1);
    fixture.disk.holds = true;
    send_io(NVME_IO_READ, 0, 8);
    device_quiesce(fixture.device);
    send_io(NVME_IO_READ, 0, 8);
    fixture_set_register(&fixture, NVME_REG_CC, 4, 0x00464001); /* nor a shutdown */
    assert_int_equal(fixture.disk.pending_count, 1);
    assert_false(device_is_quiet(fixture.device));
    fixture_set_register(&fixture, NVME_REG_CC, 4, 0x00460001);
    fake_disk_finish(&fixture.disk, 0, 0);
    assert_true(device_poll(fixture.device)); /* so that it is asked */
    assert_int_equal(fixture.disk.pending_count, 0);
    assert_true(device_is_quiet(fixture.device));
    fixture_poll(&fixture);
    assert_int_equal(status() & NVME_CSTS_SHST_MASK, NVME_CSTS_SHST_OCCURS);
    fixture_stop(&fixture);
}

static void test_shutdown_flushes_after_the_last_write(void **state)
{
    fixture_start_enabled(&fixture, 1);
    fixture.disk.holds = true;
    send_io(NVME_IO_WRITE, 0, 8);
    fixture_set_register(&fixture, NVME_REG_CC, 4, 0x00464001);
    fixture_poll(&fixture);
    assert_int_equal(status(), NVME_CSTS_RDY | NVME_CSTS_SHST_OCCURS);
    assert_int_equal(fixture.disk.pending_count, 1);
    fake_disk_finish(&fixture.disk, 0, 0);
    fixture_poll(&fixture);
    assert_int_equal(fixture.disk.pending[0]->op, BLOCK_FLUSH);
    assert_int_equal(status(), NVME_CSTS_RDY | NVME_CSTS_SHST_OCCURS);
    fake_disk_finish(&fixture.disk, 0, 0);
    fixture_poll(&fixture);
    assert_int_equal(status(), NVME_CSTS_RDY | NVME_CSTS_SHST_COMPLETE);
    assert_int_equal(fixture.disk.flushes, 1);
    fixture_stop(&fixture);
}

static void test_disable_during_a_shutdown(void **state)
{
    fixture_start_enabled(&fixture, 1);
    fixture.disk.holds = true;
    fixture_set_register(&fixture, NVME_REG_CC, 4, 0x00464001);
    fixture_poll(&fixture);
    fixture_set_register(&fixture, NVME_REG_CC, 4, 0);
    fixture_poll(&fixture);
    assert_int_equal(status() & NVME_CSTS_RDY, NVME_CSTS_RDY);
    fake_disk_finish(&fixture.disk, 0, 0);
    fixture_poll(&fixture);
    assert_int_equal(status(), 0);
    fixture_stop(&fixture);
}

static void test_a_shutdown_while_off_does_not_outlive_enabling(void **state)
{
    fixture_start_enabled(&fixture, 0);
    fixture_set_register(&fixture, NVME_REG_CC, 4, 0);
    fixture_set_register(&fixture, NVME_REG_CC, 4, 0x00464000);
    fixture_poll(&fixture);
    assert_int_equal(status(), NVME_CSTS_SHST_COMPLETE);
    fixture_set_register(&fixture, NVME_REG_CC, 4, 0x00460001);
    assert_int_equal(status(), NVME_CSTS_RDY);
    assert_true(gate_runs(fixture.nvme));
    fixture_stop(&fixture);
}

static void test_memory_leaves_only_when_its_io_has_ended(void **state)
{
    fixture_start_enabled(&fixture, 1);
    fixture.disk.holds = true;
    struct nvme_command command = io(NVME_IO_READ, 0, 8);
    command.prp1 = LAST_PAGE;
    fixture_send(&fixture, 1, &command);
    fixture_map(&fixture, true); /* the same again: nothing leaves */
    assert_int_equal(fixture.disk.pending_count, 1);
    fixture_map(&fixture, false);
    assert_int_equal(fixture.disk.pending_count, 0);
    struct completion done = fixture_completion(&fixture, 1, 0);
    assert_true(done.phase);
    assert_int_equal(done.status, NVME_DATA_TRANSFER_ERROR);
    fixture_stop(&fixture);
}

static void test_errors_of_the_disk(void **state)
{
    static const struct {
        int err;
        uint16_t reading, writing;
    } rows[] = {
        {-EIO, NVME_UNRECOVERED_READ, NVME_WRITE_FAULT},
        {-EBADMSG, NVME_UNRECOVERED_READ, NVME_WRITE_FAULT},
        {-ENOSPC, NVME_CAPACITY_EXCEEDED, NVME_CAPACITY_EXCEEDED},
        {-EFAULT, NVME_DATA_TRANSFER_ERROR, NVME_DATA_TRANSFER_ERROR},
        {-ECANCELED, NVME_ABORT_REQUESTED, NVME_ABORT_REQUESTED},
        {-EROFS, NVME_NAMESPACE_WRITE_PROTECTED | NVME_DO_NOT_RETRY,
         NVME_NAMESPACE_WRITE_PROTECTED | NVME_DO_NOT_RETRY},
        {-ENOMEM, NVME_INTERNAL_ERROR, NVME_INTERNAL_ERROR},
    };
    fixture_start_enabled(&fixture, 1);
    fixture.disk.holds = true;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        send_io(NVME_IO_READ, 0, 8);
        fake_disk_finish(&fixture.disk, 0, rows[i].err);
        assert_int_equal(fixture_completion(&fixture, 1, 2 * i).status, rows[i].reading);
        send_io(NVME_IO_WRITE, 0, 8);
        fake_disk_finish(&fixture.disk, 0, rows[i].err);
        assert_int_equal(fixture_completion(&fixture, 1, 2 * i + 1).status, rows[i].writing);
    }
    fixture_stop(&fixture);
}

static void test_without_a_write_cache_every_write_is_stable(void **state)
{
    fixture_start_enabled(&fixture, 1);
    send_io(NVME_IO_WRITE, 0, 8);
    assert_int_equal(fixture.disk.fua_count, 0);
    struct nvme_command cache = {.opcode = NVME_ADMIN_SET_FEATURES};
    cache.dword[10] = NVME_FEATURE_WRITE_CACHE;
    fixture_send(&fixture, 0, &cache);
    send_io(NVME_IO_WRITE, 0, 8);
    assert_int_equal(fixture.disk.fua_count, 1);
    fixture_stop(&fixture);
}

static void test_one_command_does_not_wait_for_another(void **state)
{
    fixture_start_enabled(&fixture, 1);
    fixture.disk.holds = true;
    for (uint16_t i = 0; i < 4; i++) {
        struct nvme_command command = io(NVME_IO_READ, i, 1);
        command.id = i;
        fixture_send(&fixture, 1, &command);
    }
    for (unsigned i = 0; i < 4; i++) { /* the fake moves the last one into the gap */
        fake_disk_finish(&fixture.disk, 1, 0);
    }
    static const uint16_t order[] = {1, 3, 2, 0};
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(fixture_completion(&fixture, 1, i).command_id, order[i]);
    fixture_stop(&fixture);
}

static void test_more_commands_than_requests(void **state)
{
    enum {
        QUEUES = 6
    };
    fixture_start_enabled(&fixture, QUEUES);
    fixture.disk.holds = true;
    unsigned sent = 0;
    for (unsigned queue = 1; queue <= QUEUES; queue++)
        for (unsigned i = 0; i < QUEUE_LEN - 1; i++, sent++) {
            struct nvme_command command = {.opcode = NVME_IO_FLUSH, .nsid = 1};
            fixture_put(&fixture, queue, &command);
        }
    for (unsigned queue = 1; queue <= QUEUES; queue++)
        fixture_ring(&fixture, queue);
    assert_true(device_poll(fixture.device)); /* the budget of one round is less than was sent */
    assert_int_equal(fixture.disk.pending_count, NVME_BUDGET);
    fixture_poll(&fixture);
    assert_int_equal(fixture.disk.pending_count, sent);
    fixture_stop(&fixture);
}

/* Whatever allocation fails, nothing is leaked and the image stays the caller's. */
static void test_every_allocation_can_fail(void **state)
{
    struct fake_disk disk;
    fake_disk_init(&disk, 0);
    const struct nvme_image image = {.block = &disk.block, .block_size = 512};
    const struct nvme_options options = {
        .images = &image, .count = 1, .serial = "UNIT", .timeout_ms = BLOCK_TIMEOUT_MS};
    int err = -ENOMEM;
    for (unsigned n = 1; err < 0; n++) {
        struct nvme *nvme = NULL;
        struct ob_device *device = NULL;
        struct ob_fault fault = {0};
        fail_allocation(n);
        err = nvme_new(&options, &nvme, &device, &fault);
        assert_int_equal(allocation_failed(), err < 0);
        assert_true(err == 0 || (err == -ENOMEM && fault.code == -ENOMEM));
        assert_false(disk.closed);
        if (err == 0) {
            ob_device_free(device);
            nvme_free(nvme);
        }
        assert_true(n < 100);
    }
    assert_true(disk.closed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_disable_waits_for_io_in_flight),
        TEST(test_the_controller_waits_while_io_is_in_flight),
        TEST(test_enabling_again_while_io_is_in_flight),
        TEST(test_reset_waits_for_io_in_flight),
        TEST(test_nothing_is_begun_while_it_lets_go),
        TEST(test_shutdown_flushes_after_the_last_write),
        TEST(test_disable_during_a_shutdown),
        TEST(test_a_shutdown_while_off_does_not_outlive_enabling),
        TEST(test_memory_leaves_only_when_its_io_has_ended),
        TEST(test_errors_of_the_disk),
        TEST(test_without_a_write_cache_every_write_is_stable),
        TEST(test_one_command_does_not_wait_for_another),
        TEST(test_more_commands_than_requests),
        TEST(test_every_allocation_can_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/state.h"
#include "failing_alloc.h"
#include "nvme/fixture.h"
#include "support.h"

#define SECONDS_LEN 8u /* at the end: they pass */

static struct fixture source, target;
static uint8_t bytes[NVME_STATE_LEN], again[NVME_STATE_LEN];

static void pause(struct fixture *fixture)
{
    device_pause(fixture->device, true);
    assert_int_equal(device_at_rest(fixture->device, NULL), 1);
}

static size_t save(struct fixture *fixture, uint8_t *ret_bytes)
{
    int len = nvme_state_save(fixture->nvme, ret_bytes, NVME_STATE_LEN);
    assert_true(len > (int)SECONDS_LEN);
    return (size_t)len;
}

static int load(struct fixture *fixture, const uint8_t *from, size_t len, struct ob_fault *fault)
{
    return nvme_state_load(fixture->nvme, NVME_STATE_VERSION, from, len, fault);
}

/* The source's whole state goes to a target that has the same guest memory and the same disk. */
static void move(void)
{
    static uint8_t all[1 << 18];
    struct ob_fault fault = {0};
    pause(&source);
    int len = state_save(source.device, all, sizeof(all));
    assert_true(len > 0);
    fixture_start(&target);
    memcpy(target.memory, source.memory, MEMORY_LEN);
    memcpy(target.disk.data, source.disk.data, sizeof(target.disk.data));
    memcpy(target.tail, source.tail, sizeof(target.tail));
    device_pause(target.device, true);
    assert_int_equal(state_load(target.device, all, (size_t)len, &fault), 0);
    fixture_stop(&source);
}

static void resume(void)
{
    device_pause(target.device, false);
    fixture_poll(&target);
    fixture_poll(&target); /* what the last round of the first has started */
}

static void send_io(struct fixture *fixture, uint8_t opcode, uint16_t id)
{
    struct nvme_command command = {.opcode = opcode, .id = id, .nsid = 1, .prp1 = DATA};
    fixture_send(fixture, 1, &command);
}

static void test_round_trip(void **state)
{
    fixture_start_enabled(&source, 7);
    struct nvme_command bad = {.opcode = 0x7f, .id = 9};
    fixture_send(&source, 0, &bad);
    fixture_send(&source, 3, &bad);
    for (uint16_t i = 0; i < 20; i++)
        send_io(&source, NVME_IO_WRITE, i);
    struct nvme_command event = {.opcode = NVME_ADMIN_ASYNC_EVENT, .id = 77};
    fixture_send(&source, 0, &event);
    fixture_set_register(&source, NVME_REG_INTMS, 4, 0x10);
    pause(&source);
    size_t len = save(&source, bytes);
    fixture_start(&target);
    assert_int_equal(load(&target, bytes, len, NULL), 0);
    assert_int_equal(save(&target, again), len);
    assert_memory_equal(again, bytes, len - SECONDS_LEN);
    assert_int_equal(fixture_register(&target, NVME_REG_INTMS, 4), 0x10);
    fixture_stop(&source);
    fixture_stop(&target);
}

static void test_a_controller_that_is_off(void **state)
{
    fixture_start(&source);
    size_t len = save(&source, bytes);
    fixture_start_enabled(&target, 2);
    assert_int_equal(load(&target, bytes, len, NULL), 0);
    assert_int_equal(fixture_register(&target, NVME_REG_CSTS, 4), 0);
    assert_null(queue_sq(target.nvme, 1));
    fixture_stop(&source);
    fixture_stop(&target);
}

static void test_a_paused_controller_begins_nothing(void **state)
{
    fixture_start_enabled(&source, 1);
    pause(&source);
    send_io(&source, NVME_IO_READ, 1);
    fixture_set_register(&source, NVME_REG_CC, 4, 0x00464001);
    fixture_poll(&source);
    assert_false(fixture_completion(&source, 1, 0).phase);
    assert_int_equal(source.disk.pending_count, 0);
    assert_int_equal(source.disk.flushes, 0);
    device_pause(source.device, false);
    fixture_poll(&source);
    fixture_poll(&source); /* what the last round of the first has started */
    assert_int_equal(source.disk.flushes, 1);
    fixture_stop(&source);
}

static void test_at_rest_when_what_is_in_flight_has_ended(void **state)
{
    fixture_start_enabled(&source, 1);
    source.disk.holds = true;
    send_io(&source, NVME_IO_READ, 1);
    device_pause(source.device, true);
    assert_int_equal(device_at_rest(source.device, NULL), 0);
    fixture_poll(&source);
    assert_int_equal(device_at_rest(source.device, NULL), 0);
    fake_disk_finish(&source.disk, 0, 0);
    assert_int_equal(device_at_rest(source.device, NULL), 1);
    assert_true(fixture_completion(&source, 1, 0).phase);
    fixture_stop(&source);
}

static void test_commands_in_their_queue_are_fetched_by_the_successor(void **state)
{
    fixture_start_enabled(&source, 1);
    send_io(&source, NVME_IO_WRITE, 1);
    device_pause(source.device, true);
    send_io(&source, NVME_IO_WRITE, 2);
    send_io(&source, NVME_IO_WRITE, 3);
    move();
    assert_false(fixture_completion(&target, 1, 1).phase);
    resume();
    for (uint16_t i = 0; i < 3; i++) {
        assert_true(fixture_completion(&target, 1, i).phase);
        assert_int_equal(fixture_completion(&target, 1, i).command_id, i + 1);
    }
    assert_false(fixture_completion(&target, 1, 3).phase);
    assert_int_equal(target.nvme->log.writes, 3);
    fixture_stop(&target);
}

static void test_completions_without_room_are_posted_once(void **state)
{
    fixture_start_enabled(&source, 1);
    source.disk.holds = true;
    for (uint16_t i = 0; i < QUEUE_LEN - 1; i++)
        send_io(&source, NVME_IO_FLUSH, i);
    fake_disk_finish(&source.disk, 0, 0);
    send_io(&source, NVME_IO_FLUSH, 99);
    while (source.disk.pending_count > 0)
        fake_disk_finish(&source.disk, 0, source.disk.pending_count == 1 ? -EIO : 0);
    struct completion first = fixture_completion(&source, 1, 0);
    move();
    resume();
    assert_false(fixture_completion(&target, 1, QUEUE_LEN - 1).phase);
    assert_memory_equal(&(struct completion[1]){fixture_completion(&target, 1, 0)}, &first,
                        sizeof(first));
    fixture_set_register(&target, NVME_REG_DOORBELLS + 12, 4, 1);
    fixture_poll(&target);
    struct completion last = fixture_completion(&target, 1, QUEUE_LEN - 1);
    assert_true(last.phase);
    assert_int_equal(last.status, NVME_WRITE_FAULT);
    assert_int_equal(target.nvme->queues.sq[1].outstanding, 0);
    fixture_stop(&target);
}

static void test_events_wait_at_the_successor(void **state)
{
    fixture_start_enabled(&source, 0);
    for (uint16_t i = 0; i < NVME_ASYNC_EVENTS; i++) {
        struct nvme_command event = {.opcode = NVME_ADMIN_ASYNC_EVENT, .id = (uint16_t)(100 + i)};
        fixture_send(&source, 0, &event);
    }
    fixture_set_register(&source, NVME_REG_DOORBELLS + 8 * 60, 4, 1); /* no such queue */
    fixture_poll(&source);
    assert_int_equal(fixture_completion(&source, 0, 0).command_id, 100);
    fixture_set_register(&source, NVME_REG_DOORBELLS + 8 * 60, 4, 1); /* silent until it is read */
    move();
    resume();
    assert_false(fixture_completion(&target, 0, 1).phase);
    struct nvme_command log = {.opcode = NVME_ADMIN_GET_LOG_PAGE, .id = 5, .prp1 = DATA};
    log.dword[10] = NVME_LOG_ERROR | 15 << 16;
    fixture_send(&target, 0, &log);
    assert_int_equal(fixture_completion(&target, 0, 1).command_id, 101);
    assert_int_equal(fixture_completion(&target, 0, 2).command_id, 5);
    struct nvme_command abort = {.opcode = NVME_ADMIN_ABORT, .id = 6};
    abort.dword[10] = 103u << 16;
    fixture_send(&target, 0, &abort);
    assert_int_equal(fixture_completion(&target, 0, 3).status, NVME_ABORT_REQUESTED);
    assert_int_equal(target.nvme->events.request_count, 1);
    fixture_stop(&target);
}

/* One comparison is at work, two wait in line: all are carried out by the successor. */
static void test_comparisons_begin_anew(void **state)
{
    fixture_start_enabled(&source, 1);
    source.disk.holds = true;
    memset(source.memory + DATA, 0xd1, PAGE);
    for (uint16_t i = 0; i < 3; i++)
        send_io(&source, NVME_IO_COMPARE, i);
    device_pause(source.device, true);
    fake_disk_finish(&source.disk, 0, 0);
    move();
    resume();
    for (unsigned i = 0; i < 3; i++) {
        assert_true(fixture_completion(&target, 1, i).phase);
        assert_int_equal(fixture_completion(&target, 1, i).command_id, i);
        assert_int_equal(fixture_completion(&target, 1, i).status, NVME_SUCCESS);
    }
    assert_false(fixture_completion(&target, 1, 3).phase);
    fixture_stop(&target);
}

static void test_ranges_that_are_left_are_discarded_by_the_successor(void **state)
{
    static const uint8_t ranges[2][NVME_DATASET_RANGE_LEN] = {{[4] = 8}, {[4] = 8, [8] = 16}};
    fixture_start_enabled(&source, 1);
    source.disk.holds = true;
    memcpy(source.memory + DATA, ranges, sizeof(ranges));
    struct nvme_command command = {.opcode = NVME_IO_DATASET, .nsid = 1, .prp1 = DATA};
    command.dword[10] = 1;
    command.dword[11] = NVME_DATASET_DEALLOCATE;
    fixture_send(&source, 1, &command);
    device_pause(source.device, true);
    fake_disk_finish(&source.disk, 0, 0);
    assert_int_equal(source.disk.pending_count, 0);
    move();
    assert_int_equal(target.disk.data[16L * 512], 0xd1);
    resume();
    assert_int_equal(target.disk.data[0], 0);
    assert_int_equal(target.disk.data[16L * 512], 0);
    assert_true(fixture_completion(&target, 1, 0).phase);
    assert_false(fixture_completion(&target, 1, 1).phase);
    fixture_stop(&target);
}

static void test_a_deletion_that_waits(void **state)
{
    fixture_start_enabled(&source, 1);
    source.disk.holds = true;
    memset(source.memory + DATA, 0xd1, PAGE);
    send_io(&source, NVME_IO_COMPARE, 1);
    struct nvme_command deletion = {.opcode = NVME_ADMIN_DELETE_SQ, .id = 50};
    deletion.dword[10] = 1;
    fixture_send(&source, 0, &deletion);
    assert_int_equal(source.nvme->queues.sq[1].state, SQ_DELETING);
    device_pause(source.device, true);
    fake_disk_finish(&source.disk, 0, 0);
    move();
    resume();
    assert_int_equal(target.nvme->queues.sq[1].state, SQ_ABSENT);
    assert_int_equal(fixture_completion(&target, 0, 2).command_id, 50);
    fixture_stop(&target);
}

static void test_disabled_while_paused(void **state)
{
    fixture_start_enabled(&source, 1);
    device_pause(source.device, true);
    fixture_set_register(&source, NVME_REG_CC, 4, 0);
    move();
    assert_int_equal(fixture_register(&target, NVME_REG_CSTS, 4), NVME_CSTS_RDY);
    resume();
    assert_int_equal(fixture_register(&target, NVME_REG_CSTS, 4), 0);
    fixture_stop(&target);
}

static void test_a_shutdown_goes_on(void **state)
{
    fixture_start_enabled(&source, 1);
    device_pause(source.device, true);
    fixture_set_register(&source, NVME_REG_CC, 4, 0x00464001);
    move();
    resume();
    assert_int_equal(target.disk.flushes, 1);
    assert_int_equal(fixture_register(&target, NVME_REG_CSTS, 4),
                     NVME_CSTS_RDY | NVME_CSTS_SHST_COMPLETE);
    fixture_stop(&target);
}

/* The tail that the guest moved in memory while the controller was stopped is seen. */
static void test_shadow_doorbells_go_along(void **state)
{
    static const uint8_t tail[4] = {1};
    fixture_start_enabled(&source, 1);
    struct nvme_command config = {
        .opcode = NVME_ADMIN_DOORBELL_BUFFER, .prp1 = DATA, .prp2 = DATA + PAGE};
    fixture_send(&source, 0, &config);
    assert_true(source.nvme->shadow.on);
    device_pause(source.device, true);
    struct nvme_command flush = {.opcode = NVME_IO_FLUSH, .nsid = 1, .id = 8};
    fixture_put(&source, 1, &flush);
    memcpy(source.memory + DATA + 8, tail, sizeof(tail));
    fixture_poll(&source);
    assert_false(fixture_completion(&source, 1, 0).phase);
    move();
    resume();
    assert_int_equal(fixture_completion(&target, 1, 0).command_id, 8);
    assert_true(fixture_completion(&target, 1, 0).phase);
    fixture_stop(&target);
}

/* A source with something of everything; its state is in bytes. */
static size_t fill(void)
{
    fixture_start_enabled(&source, 3);
    struct nvme_command event = {.opcode = NVME_ADMIN_ASYNC_EVENT, .id = 1};
    fixture_send(&source, 0, &event);
    send_io(&source, 0x7f, 3);
    source.disk.holds = true;
    for (uint16_t i = 0; i < QUEUE_LEN - 2; i++)
        send_io(&source, NVME_IO_FLUSH, i);
    fake_disk_finish(&source.disk, 0, 0);
    send_io(&source, NVME_IO_COMPARE, 98);
    send_io(&source, NVME_IO_COMPARE, 99);
    device_pause(source.device, true);
    while (source.disk.pending_count > 0)
        fake_disk_finish(&source.disk, 0, 0);
    fixture_start_enabled(&target, 1);
    return save(&source, bytes);
}

/* What the target is, which a refusal must leave as it was. */
static void assert_untouched(const uint8_t *before, size_t len)
{
    assert_int_equal(save(&target, again), len);
    assert_memory_equal(again, before, len - SECONDS_LEN);
}

static void test_cut_short_at_every_byte(void **state)
{
    static uint8_t before[NVME_STATE_LEN];
    size_t len = fill();
    size_t before_len = save(&target, before);
    for (size_t cut = 0; cut < len; cut++) {
        struct ob_fault fault = {0};
        uint8_t *exact = malloc(cut ? cut : 1); /* a sanitizer sees what is read behind it */
        memcpy(exact, bytes, cut);
        assert_int_equal(load(&target, exact, cut, &fault), -EINVAL);
        assert_non_null(strstr(fault.text, "save it again"));
        free(exact);
    }
    memset(bytes + len, 0, 1);
    assert_int_equal(load(&target, bytes, len + 1, NULL), -EINVAL);
    assert_untouched(before, before_len);
    assert_int_equal(load(&target, bytes, len, NULL), 0);
    fixture_stop(&source);
    fixture_stop(&target);
}

/* Each byte in each of a few wrong ways: refused, or taken on and saved as it came. */
static void test_every_byte_damaged(void **state)
{
    static const uint8_t flips[] = {0x01, 0x80, 0xff};
    size_t len = fill();
    unsigned refused = 0;
    for (size_t at = 0; at < len - SECONDS_LEN; at++)
        for (unsigned i = 0; i < sizeof(flips); i++) {
            struct ob_fault fault = {0};
            bytes[at] ^= flips[i];
            int err = load(&target, bytes, len, &fault);
            assert_true(err == 0 || (err == -EINVAL && fault.text[0]));
            refused += err < 0;
            if (err == 0 && !target.nvme->namespaces.list[0].changed) {
                assert_int_equal(save(&target, again), len);
                assert_memory_equal(again, bytes, len - SECONDS_LEN);
            }
            bytes[at] ^= flips[i];
        }
    assert_true(refused > 1000);
    fixture_stop(&source);
    fixture_stop(&target);
}

/* A state with the most of everything fits its bound, and is taken on. */
static void test_the_most_of_everything(void **state)
{
    fixture_start_enabled(&source, 0);
    struct nvme *nvme = source.nvme;
    for (uint16_t i = 1; i < NVME_QUEUES; i++) {
        queue_cq_create(nvme, i, CQ(i), NVME_QUEUE_ENTRIES, true, i);
        queue_sq_create(nvme, i, SQ(i), NVME_QUEUE_ENTRIES, i);
    }
    for (unsigned i = 0; i < NVME_IO_REQUESTS; i++)
        request_park(request_new(nvme, &nvme->queues.sq[1 + i % NVME_IO_QUEUES]));
    for (unsigned i = 0; i < NVME_ASYNC_EVENTS; i++) {
        struct nvme_command event = {.opcode = NVME_ADMIN_ASYNC_EVENT};
        fixture_send(&source, 0, &event);
    }
    nvme->log.errors_told = 1000;
    pause(&source);
    size_t len = save(&source, bytes);
    size_t namespaces = (NVME_NAMESPACES - 1) * 27UL; /* there is one */
    assert_true(len + namespaces + NVME_ADMIN_REQUESTS * 53UL <= NVME_STATE_LEN);
    fixture_start(&target);
    assert_int_equal(load(&target, bytes, len, NULL), 0);
    assert_int_equal(save(&target, again), len);
    assert_memory_equal(again, bytes, len - SECONDS_LEN);
    fixture_stop(&source);
    fixture_stop(&target);
}

static void test_an_image_that_has_grown_is_announced(void **state)
{
    fixture_start_enabled(&source, 0);
    size_t len = save(&source, bytes);
    fixture_start(&target);
    target.nvme->namespaces.list[0].blocks++;
    assert_int_equal(load(&target, bytes, len, NULL), 0);
    assert_true(target.nvme->namespaces.list[0].changed);
    fixture_stop(&source);
    fixture_stop(&target);
}

static void test_without_memory(void **state)
{
    size_t len = fill();
    fail_allocation(1);
    assert_int_equal(nvme_state_save(source.nvme, bytes, sizeof(bytes)), -ENOMEM);
    assert_true(allocation_failed());
    fail_allocation(1);
    struct ob_fault fault = {0};
    assert_int_equal(load(&target, bytes, len, &fault), -ENOMEM);
    assert_int_equal(fault.code, -ENOMEM);
    assert_int_equal(nvme_state_save(source.nvme, bytes, len - 1), -ENOSPC);
    fixture_stop(&source);
    fixture_stop(&target);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_round_trip),
        TEST(test_a_controller_that_is_off),
        TEST(test_a_paused_controller_begins_nothing),
        TEST(test_at_rest_when_what_is_in_flight_has_ended),
        TEST(test_commands_in_their_queue_are_fetched_by_the_successor),
        TEST(test_completions_without_room_are_posted_once),
        TEST(test_events_wait_at_the_successor),
        TEST(test_comparisons_begin_anew),
        TEST(test_ranges_that_are_left_are_discarded_by_the_successor),
        TEST(test_a_deletion_that_waits),
        TEST(test_disabled_while_paused),
        TEST(test_a_shutdown_goes_on),
        TEST(test_shadow_doorbells_go_along),
        TEST(test_cut_short_at_every_byte),
        TEST(test_every_byte_damaged),
        TEST(test_the_most_of_everything),
        TEST(test_an_image_that_has_grown_is_announced),
        TEST(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

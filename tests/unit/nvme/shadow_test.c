// SPDX-License-Identifier: BSD-3-Clause
#include "device/pci.h"
#include "shadow.h"

#include "bytes.h"
#include "device/irq.h"
#include "nvme/fixture.h"
#include "os/event.h"
#include "support.h"

#define DOORBELLS (DATA + 16 * PAGE)
#define EVENTS    (DATA + 17 * PAGE)
#define IDENTIFY  (DATA + 18 * PAGE)
#define STATUS    0x06 /* of configuration space */

static struct fixture fixture;

static const struct nvme_command flush = {.opcode = NVME_IO_FLUSH, .nsid = 1};

static uint16_t configure(uint64_t doorbells, uint64_t events)
{
    const struct nvme_command command = {
        .opcode = NVME_ADMIN_DOORBELL_BUFFER, .prp1 = doorbells, .prp2 = events};
    unsigned index = fixture.tail[0];
    fixture_send(&fixture, 0, &command);
    return fixture_completion(&fixture, 0, index).status;
}

static void start(void)
{
    fixture_start_enabled(&fixture, 1);
    assert_int_equal(configure(DOORBELLS, EVENTS), NVME_SUCCESS);
}

/* What a guest reads and writes: the tail of queue 1 is doorbell 2, its head doorbell 3. */
static void set_doorbell(unsigned index, uint32_t value)
{
    put32(fixture.memory + DOORBELLS + 4 * (size_t)index, value);
}

static uint32_t event(unsigned index)
{
    return get32(fixture.memory + EVENTS + 4 * (size_t)index);
}

/* Linux's question before it writes a register: has the doorbell gone past the event index? */
static bool would_write(unsigned index, uint16_t from, uint16_t to)
{
    return (uint16_t)(to - event(index) - 1) < (uint16_t)(to - from);
}

static void send_flush(void)
{
    fixture_put(&fixture, 1, &flush);
    set_doorbell(2, fixture.tail[1]);
}

static bool is_done(unsigned index)
{
    return fixture_completion(&fixture, 1, index).phase;
}

static uint32_t interrupt_status(void)
{
    uint8_t status[2];
    assert_int_equal(device_config_read_bytes(fixture.device, STATUS, status, 2), 0);
    return get16(status) & 0x8;
}

/* Gives the controller an asynchronous event request; the result of the event that completed it is
 * in the admin queue's entry of this number. */
static unsigned request_event(void)
{
    const struct nvme_command command = {.opcode = NVME_ADMIN_ASYNC_EVENT};
    unsigned index = fixture.tail[0];
    fixture_send(&fixture, 0, &command);
    return index;
}

static void test_it_is_announced(void **state)
{
    fixture_start_enabled(&fixture, 0);
    struct nvme_command command = {.opcode = NVME_ADMIN_IDENTIFY, .prp1 = IDENTIFY};
    command.dword[10] = NVME_CNS_CONTROLLER;
    fixture_send(&fixture, 0, &command);
    assert_int_equal(get16(fixture.memory + IDENTIFY + 256), 0x100);
    fixture_stop(&fixture);
}

static void test_pages_that_can_not_be(void **state)
{
    fixture_start_enabled(&fixture, 1);
    assert_int_equal(configure(DOORBELLS + 4, EVENTS), NVME_INVALID_FIELD | NVME_DO_NOT_RETRY);
    assert_int_equal(configure(DOORBELLS, EVENTS + 512), NVME_INVALID_FIELD | NVME_DO_NOT_RETRY);
    assert_int_equal(configure(DOORBELLS, DOORBELLS), NVME_INVALID_FIELD | NVME_DO_NOT_RETRY);
    assert_int_equal(configure(MEMORY_LEN, EVENTS), NVME_DATA_TRANSFER_ERROR);
    assert_int_equal(configure(DOORBELLS, UINT64_MAX - PAGE + 1), NVME_DATA_TRANSFER_ERROR);
    assert_int_equal(configure(DOORBELLS, READ_ONLY), NVME_DATA_TRANSFER_ERROR);
    send_flush();
    fixture_poll(&fixture);
    assert_false(is_done(0)); /* the register alone counts */
    fixture_ring(&fixture, 1);
    fixture_poll(&fixture);
    assert_true(is_done(0));
    fixture_stop(&fixture);
}

static void test_commands_are_found_without_a_register(void **state)
{
    start();
    for (unsigned i = 0; i < 3 * QUEUE_LEN; i++) {
        send_flush();
        fixture_poll(&fixture);
        assert_int_equal(fixture_completion(&fixture, 1, i % QUEUE_LEN).phase,
                         i / QUEUE_LEN % 2 == 0);
        set_doorbell(3, (i + 1) % QUEUE_LEN);
    }
    assert_int_equal(fixture.disk.flushes, 3 * QUEUE_LEN);
    fixture_stop(&fixture);
}

/* Wherever in the ring the doorbell is: no change is told while the controller looks, and the very
 * next one once it listens. */
static void test_a_register_is_asked_for_only_by_who_listens(void **state)
{
    start();
    assert_int_equal(irq_set_intx(fixture.device, event_new(), event_new()), 0);
    for (unsigned i = 0; i < 2 * QUEUE_LEN; i++) {
        uint16_t from = (uint16_t)fixture.tail[1];
        uint16_t to = (uint16_t)((from + 1) % QUEUE_LEN);
        assert_false(device_before_sleep(fixture.device));
        assert_true(would_write(2, from, to));
        send_flush();
        fixture_poll(&fixture);
        from = to;
        to = (uint16_t)((to + 1) % QUEUE_LEN);
        assert_false(would_write(2, from, to));
        set_doorbell(3, from);
        fixture_poll(&fixture);
        assert_false(would_write(3, from, to));
    }
    fixture_stop(&fixture);
}

/* Without an eventfd of the VMM for it, only an access ends the interrupt. */
static void test_a_head_is_told_where_that_ends_the_interrupt(void **state)
{
    start();
    for (unsigned i = 0; i < 2 * QUEUE_LEN; i++) {
        uint16_t from = (uint16_t)(i % QUEUE_LEN), to = (uint16_t)((i + 1) % QUEUE_LEN);
        send_flush();
        fixture_poll(&fixture);
        assert_true(would_write(3, from, to));
        set_doorbell(3, to);
        fixture_poll(&fixture);
        assert_true(would_write(3, from, to)); /* the guest may look at the event only now */
        fixture_set_register(&fixture, NVME_REG_DOORBELLS + 12, 4, to);
    }
    fixture_stop(&fixture);
}

static void test_who_listens_looks_once_more(void **state)
{
    start();
    send_flush(); /* before the guest could see that it is to tell */
    assert_true(device_before_sleep(fixture.device));
    fixture_poll(&fixture);
    assert_true(is_done(0));
    assert_false(device_before_sleep(fixture.device));
    fixture_stop(&fixture);
}

static void test_a_register_is_a_hint(void **state)
{
    start();
    fixture_put(&fixture, 1, &flush);
    fixture_ring(&fixture, 1); /* what it says is not in the shadow */
    fixture_poll(&fixture);
    assert_false(is_done(0));
    set_doorbell(2, fixture.tail[1]);
    fixture_poll(&fixture);
    assert_true(is_done(0));
    fixture_set_register(&fixture, NVME_REG_DOORBELLS + 8, 4, 9); /* nor is it believed */
    fixture_poll(&fixture);
    assert_int_equal(fixture.disk.flushes, 1);
    fixture_stop(&fixture);
}

/* A driver that has shadows of the admin queue too is asked for its registers each time. */
static void test_the_admin_queue_keeps_its_registers(void **state)
{
    start();
    for (unsigned i = 0; i < 2 * QUEUE_LEN; i++) {
        uint16_t from = (uint16_t)fixture.tail[0];
        assert_true(would_write(0, from, (uint16_t)((from + 1) % QUEUE_LEN)));
        const struct nvme_command command = {.opcode = NVME_ADMIN_ABORT};
        fixture_send(&fixture, 0, &command);
        assert_int_equal(event(0), fixture.tail[0]);
        fixture_set_register(&fixture, NVME_REG_DOORBELLS + 4, 4, fixture.tail[0]);
        assert_int_equal(event(1), fixture.tail[0]);
    }
    fixture_stop(&fixture);
}

static void test_impossible_doorbells_are_told_once(void **state)
{
    start();
    static const uint32_t values[] = {QUEUE_LEN, 0xffff, 0xdeadbeef};
    for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        unsigned index = request_event();
        set_doorbell(2, values[i]);
        fixture_poll(&fixture);
        fixture_poll(&fixture);
        struct completion told = fixture_completion(&fixture, 0, index);
        assert_true(told.phase);
        assert_int_equal(told.result & 0xff, NVME_EVENT_ERROR);
        assert_int_equal(told.result >> 8 & 0xff, NVME_ERROR_DOORBELL_VALUE);
        assert_false(fixture_completion(&fixture, 0, index + 1).phase);
        struct nvme_command read_log = {.opcode = NVME_ADMIN_GET_LOG_PAGE, .prp1 = IDENTIFY};
        read_log.nsid = NVME_NSID_ALL;
        read_log.dword[10] = 15u << 16 | NVME_LOG_ERROR;
        fixture_send(&fixture, 0, &read_log);
    }
    send_flush();
    fixture_poll(&fixture);
    assert_true(is_done(0));
    fixture_stop(&fixture);
}

static void test_a_full_queue_asks_for_its_head(void **state)
{
    start();
    fixture.disk.holds = true;
    for (unsigned i = 0; i < QUEUE_LEN - 1; i++)
        send_flush();
    fixture_poll(&fixture);
    for (unsigned i = 0; i < 2; i++)
        fake_disk_finish(&fixture.disk, 0, 0);
    for (unsigned i = 0; i < 2; i++)
        send_flush();
    fixture_poll(&fixture);
    while (fixture.disk.pending_count > 0)
        fake_disk_finish(&fixture.disk, 0, 0);
    fixture_poll(&fixture);
    assert_false(is_done(QUEUE_LEN - 1));
    assert_false(device_before_sleep(fixture.device));
    assert_true(would_write(3, 0, 1));
    set_doorbell(3, 1);
    fixture_poll(&fixture);
    assert_true(is_done(QUEUE_LEN - 1));
    fixture_stop(&fixture);
}

static void test_the_interrupt_falls_with_the_head(void **state)
{
    start();
    fixture_set_register(&fixture, NVME_REG_DOORBELLS + 4, 4, fixture.tail[0]);
    send_flush();
    fixture_poll(&fixture);
    assert_int_not_equal(interrupt_status(), 0);
    set_doorbell(3, 1);
    fixture_poll(&fixture);
    assert_int_equal(interrupt_status(), 0);
    fixture_stop(&fixture);
}

static void test_a_reset_ends_it(void **state)
{
    start();
    fixture_set_register(&fixture, NVME_REG_CC, 4, 0);
    fixture_poll(&fixture);
    fixture_set_register(&fixture, NVME_REG_CC, 4, 0x00460001);
    fixture_poll(&fixture);
    assert_false(fixture.nvme->shadow.on);
    memset(fixture.memory + EVENTS, 0xaa, PAGE);
    assert_false(device_before_sleep(fixture.device));
    assert_int_equal(event(2), 0xaaaaaaaa);
    fixture_stop(&fixture);
}

static void test_memory_that_is_taken_back_is_left_alone(void **state)
{
    fixture_start_enabled(&fixture, 1);
    assert_int_equal(configure(LAST_PAGE, EVENTS), NVME_SUCCESS);
    put32(fixture.memory + LAST_PAGE + 8, 1);
    fixture_map(&fixture, false);
    assert_false(device_poll(fixture.device));
    assert_false(device_before_sleep(fixture.device));
    assert_int_equal(fixture.disk.flushes, 0);
    fixture_put(&fixture, 1, &flush);
    fixture_map(&fixture, true);
    fixture_poll(&fixture);
    assert_true(is_done(0));
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_it_is_announced),
        TEST(test_pages_that_can_not_be),
        TEST(test_commands_are_found_without_a_register),
        TEST(test_a_register_is_asked_for_only_by_who_listens),
        TEST(test_a_head_is_told_where_that_ends_the_interrupt),
        TEST(test_who_listens_looks_once_more),
        TEST(test_a_register_is_a_hint),
        TEST(test_the_admin_queue_keeps_its_registers),
        TEST(test_impossible_doorbells_are_told_once),
        TEST(test_a_full_queue_asks_for_its_head),
        TEST(test_the_interrupt_falls_with_the_head),
        TEST(test_a_reset_ends_it),
        TEST(test_memory_that_is_taken_back_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

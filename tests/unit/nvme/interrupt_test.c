// SPDX-License-Identifier: BSD-3-Clause
#include "device/pci.h"
#include "interrupt.h"

#include "bytes.h"
#include "nvme/fixture.h"
#include "support.h"

#define STATUS 0x06 /* of configuration space */
#define ROUNDS 1000 /* of poll(), more than any wait takes */

static struct fixture fixture;

static unsigned head; /* of queue 1 */

static const struct nvme_command flush = {.opcode = NVME_IO_FLUSH, .nsid = 1};

static void start(void)
{
    fixture_start_enabled(&fixture, 1);
    fixture_set_register(&fixture, NVME_REG_DOORBELLS + 4, 4, fixture.tail[0]);
    head = 0;
}

static bool is_up(void)
{
    uint8_t status[2];
    assert_int_equal(device_config_read_bytes(fixture.device, STATUS, status, 2), 0);
    return get16(status) & 0x8;
}

/* One command, and the one round in which it is carried out. */
static void send(void)
{
    fixture_put(&fixture, 1, &flush);
    fixture_ring(&fixture, 1);
    device_poll(fixture.device);
}

/* The guest reads all completions. */
static void take(void)
{
    head = fixture.tail[1];
    fixture_set_register(&fixture, NVME_REG_DOORBELLS + 12, 4, head);
}

/* Rounds until the interrupt. */
static unsigned wait_up(void)
{
    unsigned rounds = 0;
    while (!is_up() && ++rounds < ROUNDS)
        device_poll(fixture.device);
    assert_true(is_up());
    return rounds;
}

/* A guest that sends nothing before it has the completion, until completions are made to wait. */
static void go_on_until_a_wait(void)
{
    send();
    for (unsigned i = 0; is_up(); i++) {
        assert_true(i < ROUNDS);
        take();
        send();
    }
}

static void test_the_level_follows_the_queue(void **state)
{
    start();
    assert_false(is_up());
    send();
    assert_true(is_up());
    fixture_set_register(&fixture, NVME_REG_INTMS, 4, 1);
    assert_false(is_up());
    fixture_set_register(&fixture, NVME_REG_INTMC, 4, 1);
    assert_true(is_up());
    take();
    assert_false(is_up());
    fixture_stop(&fixture);
}

static void test_a_wait_ends_by_itself(void **state)
{
    start();
    go_on_until_a_wait();
    assert_in_range(wait_up(), 1, ROUNDS - 1);
    take();
    assert_false(is_up());
    fixture_stop(&fixture);
}

static void test_a_wait_ends_before_the_server_sleeps(void **state)
{
    start();
    go_on_until_a_wait();
    device_before_sleep(fixture.device);
    assert_true(is_up());
    fixture_stop(&fixture);
}

static void test_what_waits_may_be_read_without_an_interrupt(void **state)
{
    start();
    go_on_until_a_wait();
    take();
    for (unsigned i = 0; i < ROUNDS; i++) {
        device_poll(fixture.device);
        assert_false(is_up());
    }
    fixture_stop(&fixture);
}

/* A guest that goes on sending, and takes so many rounds from one command to the next, gets few
 * interrupts, and none later than its queue allows. */
static void check_busy_guest(unsigned rounds)
{
    start();
    unsigned interrupts = 0;
    for (unsigned i = 0; i < 1000; i++) {
        send();
        for (unsigned round = 0; round < rounds; round++)
            device_poll(fixture.device);
        if (is_up() || (fixture.tail[1] + 1) % QUEUE_LEN == head) {
            wait_up();
            interrupts++;
            take();
        }
    }
    assert_in_range(interrupts, 1000 / QUEUE_LEN, 150);
    fixture_stop(&fixture);
}

static void test_a_busy_guest_gets_few_interrupts(void **state)
{
    check_busy_guest(1);
}

static void test_a_slow_guest_that_goes_on_gets_few_interrupts(void **state)
{
    check_busy_guest(100);
}

/* One that waits for each command hardly notices. */
static void test_a_guest_that_waits_is_seldom_kept_waiting(void **state)
{
    start();
    unsigned rounds = 0;
    for (unsigned i = 0; i < 10000; i++) {
        send();
        rounds += wait_up();
        take();
    }
    assert_in_range(rounds, 1, 10000 * 3 / 2);
    fixture_stop(&fixture);
}

/* Nor with a server that sleeps between commands, so that no wait takes longer than a round. */
static void test_a_server_that_sleeps_seldom_waits(void **state)
{
    start();
    unsigned waits = 0;
    for (unsigned i = 0; i < 10000; i++) {
        send();
        waits += !is_up();
        device_before_sleep(fixture.device);
        assert_true(is_up());
        take();
    }
    assert_in_range(waits, 1, 10000 / 10);
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_level_follows_the_queue),
        TEST(test_a_wait_ends_by_itself),
        TEST(test_a_wait_ends_before_the_server_sleeps),
        TEST(test_what_waits_may_be_read_without_an_interrupt),
        TEST(test_a_busy_guest_gets_few_interrupts),
        TEST(test_a_slow_guest_that_goes_on_gets_few_interrupts),
        TEST(test_a_guest_that_waits_is_seldom_kept_waiting),
        TEST(test_a_server_that_sleeps_seldom_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

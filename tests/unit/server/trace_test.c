// SPDX-License-Identifier: BSD-3-Clause
/* What a trace says of the messages of vfio-user, and that one which is off says nothing. */
#include "server/trace.h"

#include "support.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

#include <outboard/irq.h>

#include "server/vfio_user_fixture.h"

static void expect_line(struct fixture *f, const char *line)
{
    if (!strstr(f->fake.trace, line))
        fail_msg("no line '%s' in:\n%s", line, f->fake.trace);
    f->fake.trace[0] = '\0';
}

static void what_is_off_says_nothing(void **state)
{
    struct fixture f;
    struct sent reply;
    set_up_serving(&f);
    const uint8_t read[16] = {[8] = 0, [12] = 4};
    assert_int_equal(ask(&f, VFIO_USER_REGION_READ, read, sizeof(read), NULL, 0, &reply), 0);
    ob_irq_raise(f.device);
    assert_int_equal(f.fake.traced, 0);
    tear_down(&f);
}

static void accesses_are_told_with_their_values(void **state)
{
    struct fixture f;
    struct sent reply;
    set_up_serving(&f);
    device_trace(f.device, true);
    uint8_t write[20] = {[0] = 0x10, [12] = 4, [16] = 0x78, 0x56, 0x34, 0x12};
    assert_int_equal(ask(&f, VFIO_USER_REGION_WRITE, write, sizeof(write), NULL, 0, &reply), 0);
    assert_int_equal(f.fake.traced, 2);
    assert_non_null(strstr(f.fake.trace, "sent REGION_WRITE reply id "));
    expect_line(&f, " size 36 fds 0 region 0 offset 0x10 len 4 value 0x12345678\n");
    const uint8_t read[16] = {[8] = VFIO_PCI_CONFIG_REGION_INDEX, [12] = 2};
    assert_int_equal(ask(&f, VFIO_USER_REGION_READ, read, sizeof(read), NULL, 0, &reply), 0);
    assert_non_null(strstr(f.fake.trace, "fds 0 region 7 offset 0x0 len 2\n"));
    expect_line(&f, "fds 0 region 7 offset 0x0 len 2 value 0x");
    tear_down(&f);
}

static void errors_are_told(void **state)
{
    struct fixture f;
    struct sent reply;
    set_up_serving(&f);
    device_trace(f.device, true);
    const uint8_t read[16] = {[8] = 8, [12] = 4};
    assert_int_equal(ask(&f, VFIO_USER_REGION_READ, read, sizeof(read), NULL, 0, &reply), -EINVAL);
    expect_line(&f, "size 16 fds 0 error 22 (Invalid argument)\n");
    assert_int_equal(ask(&f, 77, NULL, 0, NULL, 0, &reply), -ENOTSUP);
    expect_line(&f, "got ? id ");
    const uint8_t bad[16] = {[4] = 15};
    assert_int_equal(receive(&f, bad, sizeof(bad), NULL, 0), -EPROTO);
    expect_line(&f, "refused: a message: expected 16 to ");
    tear_down(&f);
}

static void memory_and_interrupts_are_told(void **state)
{
    struct fixture f;
    set_up_serving(&f);
    device_trace(f.device, true);
    share(&f, 0x200000, fake_file(&f.fake, 3));
    expect_line(&f, "fds 1 address 0x200000 len 0x10000 offset 0x0 flags 0x3\n");
    submit(&f, OB_DMA_FROM_DEVICE, 0x100000, 8);
    assert_int_equal(engine_poke(f.engine), 0);
    expect_line(&f, "sent DMA_WRITE id ");
    tear_down(&f);
}

/* Every command, with every payload of zeroes and of ones: the trace reads no more than there is,
 * and gives one line away for each message. */
static void any_payload_can_be_told(void **state)
{
    static uint8_t payload[300];
    for (unsigned fill = 0; fill < 2; fill++) {
        memset(payload, fill ? 0xff : 0, sizeof(payload));
        for (uint16_t number = VFIO_USER_DMA_MAP; number < VFIO_USER_COMMAND_COUNT; number++) {
            struct fixture f;
            struct sent sent;
            uint8_t bytes[VFIO_USER_HEADER_LEN + sizeof(payload)];
            set_up_serving(&f);
            device_trace(f.device, true);
            for (size_t len = 0; len < sizeof(payload); len += len < 48 ? 1 : 37) {
                unsigned before = f.fake.traced, sent_count = 0;
                receive(&f, bytes, command(bytes, 5, number, payload, len), NULL, 0);
                while (take(&f, &sent))
                    sent_count++;
                assert_true(f.fake.traced >= before + 1 + sent_count);
            }
            tear_down(&f);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_off_says_nothing), TEST(accesses_are_told_with_their_values),
        TEST(errors_are_told),          TEST(memory_and_interrupts_are_told),
        TEST(any_payload_can_be_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

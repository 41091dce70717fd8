// SPDX-License-Identifier: BSD-3-Clause
/* The client engine over vfio-user: whom it lets into guest memory. */
#include "support.h"

#include <errno.h>
#include <string.h>

#include "client/vfio_user_fixture.h"

#define NO_REPLY VFIO_USER_NO_REPLY

static void the_remote_reads_memory_in_the_middle_of_a_call(void **state)
{
    struct fixture f;
    struct client_answer got;
    uint8_t bytes[128];
    set_up(&f);
    uint64_t serial = ask(&f, &bar_read);
    size_t len = dma(bytes, 0x1234, VFIO_USER_DMA_READ, 0, RAM_AT + 2, 3, NULL, 0);
    len += value_answer(bytes + len, serial, 7);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(receive(&f, bytes + i, 1), 0);
    assert_true(client_answered(&f.client, serial, &got));
    assert_int_equal(got.value, 7);
    send_all(&f);
    static const char reply[] = "\x34\x12\x0b\0\x23\0\0\0\1\0\0\0\0\0\0\0"
                                "\x02\0\1\0\0\0\0\0\x03\0\0\0\0\0\0\0\x02\x03\x04";
    assert_int_equal(f.sent_len, sizeof(reply) - 1);
    assert_memory_equal(f.sent, reply, sizeof(reply) - 1);
    tear_down(&f);
}

static void the_remote_writes_memory(void **state)
{
    struct fixture f;
    uint8_t bytes[128];
    set_up(&f);
    size_t len = dma(bytes, 5, VFIO_USER_DMA_WRITE, 0, RAM_AT + 60, 4, "work", 4);
    len += dma(bytes + len, 6, VFIO_USER_DMA_WRITE, NO_REPLY, RAM_AT, 2, "by", 2);
    assert_int_equal(receive(&f, bytes, len), 0);
    assert_memory_equal(f.ram + 60, "work", 4);
    assert_memory_equal(f.ram, "by\2", 3);
    send_all(&f);
    static const char reply[] = "\x05\0\x0c\0\x20\0\0\0\1\0\0\0\0\0\0\0"
                                "\x3c\0\1\0\0\0\0\0\x04\0\0\0\0\0\0\0";
    assert_int_equal(f.sent_len, sizeof(reply) - 1); /* none to the second */
    assert_memory_equal(f.sent, reply, sizeof(reply) - 1);
    tear_down(&f);
}

/* A command of the remote, and the errno that it gets; 0: no reply at all. */
static uint32_t error_of(uint16_t command, uint32_t flags, uint64_t iova, uint64_t count,
                         size_t data_len)
{
    struct fixture f;
    struct vfio_user_header header = {0};
    uint8_t bytes[256], ram[RAM_LEN];
    static const uint8_t data[64] = {0xff};
    set_up(&f);
    memcpy(ram, f.ram, RAM_LEN);
    size_t len = dma(bytes, 77, command, flags, iova, count, data, data_len);
    assert_int_equal(receive(&f, bytes, len), 0);
    assert_memory_equal(f.ram, ram, RAM_LEN);
    send_all(&f);
    if (f.sent_len > 0) {
        assert_int_equal(f.sent_len, HEADER);
        vfio_user_header_get(f.sent, HEADER, &header);
        assert_int_equal(header.id, 77);
        assert_int_equal(header.command, command);
        assert_int_equal(header.flags, VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR);
    }
    tear_down(&f);
    return header.error;
}

static void commands_that_can_not_be_done_are_refused(void **state)
{
    const uint16_t read = VFIO_USER_DMA_READ, write = VFIO_USER_DMA_WRITE;
    assert_int_equal(error_of(read, 0, RAM_AT + RAM_LEN - 1, 2, 0), EFAULT);
    assert_int_equal(error_of(read, 0, UINT64_MAX, 2, 0), EFAULT);
    assert_int_equal(error_of(write, 0, RAM_AT - 1, 2, 2), EFAULT);
    assert_int_equal(error_of(write, NO_REPLY, RAM_AT - 1, 2, 2), 0);
    assert_int_equal(error_of(read, 0, RAM_AT, (uint64_t)MAX_DATA + 1, 0), E2BIG);
    assert_int_equal(error_of(write, 0, RAM_AT, UINT64_MAX, 0), E2BIG);
    assert_int_equal(error_of(read, 0, RAM_AT, 1, 1), EINVAL);  /* data with a read */
    assert_int_equal(error_of(write, 0, RAM_AT, 2, 1), EINVAL); /* less than it says */
    assert_int_equal(error_of(write, 0, RAM_AT, 2, 3), EINVAL); /* more */
    assert_int_equal(error_of(read, NO_REPLY, RAM_AT, 1, 0), 0);
    assert_int_equal(error_of(VFIO_USER_DMA_MAP, 0, RAM_AT, 1, 0), ENOSYS);
    assert_int_equal(error_of(0xffff, 0, RAM_AT, 1, 0), ENOSYS);
}

static void a_command_without_a_payload_is_refused(void **state)
{
    struct fixture f;
    uint8_t bytes[HEADER];
    set_up(&f);
    assert_int_equal(receive(&f, bytes, frame(bytes, 1, VFIO_USER_DMA_READ, 0, NULL, 0)), 0);
    send_all(&f);
    assert_int_equal(f.sent[12], EINVAL);
    tear_down(&f);
}

static void commands_before_version_end_it(void **state)
{
    struct fixture f;
    uint8_t bytes[64];
    set_up(&f);
    f.client.opened = false;
    size_t len = dma(bytes, 1, VFIO_USER_DMA_READ, 0, RAM_AT, 1, NULL, 0);
    assert_int_equal(receive(&f, bytes, len), -EPROTO);
    assert_int_equal(f.client.tx_len, 0);
    tear_down(&f);
}

/* Sends and throws away; how many bytes. */
static size_t drain(struct fixture *f)
{
    size_t total = 0, len;
    const int *fds;
    unsigned num_fds;
    for (;;) {
        client_pending(&f->client, &len, &fds, &num_fds);
        if (len == 0)
            return total;
        assert_int_equal(client_sent(&f->client, len), 0);
        total += len;
    }
}

static void nothing_is_received_until_there_is_room_for_replies(void **state)
{
    struct fixture f;
    struct client_answer got;
    uint8_t bytes[256];
    size_t room, len = 0;
    set_up(&f);
    uint64_t serial = ask(&f, &bar_read);
    for (unsigned i = 0; i < 3; i++)
        len += dma(bytes + len, (uint16_t)i, VFIO_USER_DMA_READ, 0, ENDLESS_AT, MAX_DATA, NULL, 0);
    len += value_answer(bytes + len, serial, 11);
    assert_int_equal(receive(&f, bytes, len), 0);
    client_receive_space(&f.client, &room);
    assert_int_equal(room, 0);
    assert_false(client_answered(&f.client, serial, &got));
    assert_true(f.client.tx_len <= client_vfio_user.tx_len / 2);
    assert_int_equal(client_sent(&f.client, 100), 0); /* not all of it */
    client_receive_space(&f.client, &room);
    assert_int_equal(room, 0);
    assert_int_equal(drain(&f), 3 * (size_t)VFIO_USER_FRAME_LEN - 100);
    client_receive_space(&f.client, &room);
    assert_int_equal(room, client_vfio_user.rx_len);
    assert_true(client_answered(&f.client, serial, &got));
    assert_int_equal(got.value, 11);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_remote_reads_memory_in_the_middle_of_a_call),
        TEST(the_remote_writes_memory),
        TEST(commands_that_can_not_be_done_are_refused),
        TEST(a_command_without_a_payload_is_refused),
        TEST(commands_before_version_end_it),
        TEST(nothing_is_received_until_there_is_room_for_replies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
/* The client engine over vfio-user: what it asks, which answers it takes, and whom it lets into
 * guest memory. */
#include "support.h"

#include <errno.h>
#include <string.h>

#include "client/engine.h"
#include "failing_alloc.h"

#define HEADER     VFIO_USER_HEADER_LEN
#define RAM_AT     0x10000u
#define RAM_LEN    64u
#define MAX_DATA   LIMIT_VFIO_USER_DATA
#define NO_REPLY   VFIO_USER_NO_REPLY
#define FIRST_FD   100
#define ANSWER_LEN (HEADER + VFIO_USER_ACCESS_LEN + 8)

struct fixture {
    struct client client;
    struct client_host host;
    uint8_t ram[RAM_LEN];
    unsigned closed;
    uint8_t sent[512]; /* what was sent last */
    size_t sent_len;
    unsigned sent_fds;
};

static void count_close(void *context, int fd)
{
    struct fixture *f = context;
    assert_true(fd >= FIRST_FD);
    f->closed++;
}

static int check_ram(uint64_t iova, size_t len)
{
    return iova >= RAM_AT && iova - RAM_AT <= RAM_LEN && len <= RAM_LEN - (iova - RAM_AT) ? 0
                                                                                          : -EFAULT;
}

/* Memory of any length that costs nothing begins at 1 TiB. */
#define ENDLESS_AT (UINT64_C(1) << 40)

static int read_ram(void *context, uint64_t iova, void *ret_buf, size_t len)
{
    struct fixture *f = context;
    if (iova >= ENDLESS_AT && iova < 2 * ENDLESS_AT) {
        memset(ret_buf, 0x5a, len);
        return 0;
    }
    int err = check_ram(iova, len);
    if (err == 0 && len > 0)
        memcpy(ret_buf, f->ram + (iova - RAM_AT), len);
    return err;
}

static int write_ram(void *context, uint64_t iova, const void *buf, size_t len)
{
    struct fixture *f = context;
    int err = check_ram(iova, len);
    if (err == 0 && len > 0)
        memcpy(f->ram + (iova - RAM_AT), buf, len);
    return err;
}

static void set_up(struct fixture *f)
{
    *f = (struct fixture){
        .host = {.memory_read = read_ram, .memory_write = write_ram, .close = count_close}};
    f->host.context = f;
    for (unsigned i = 0; i < RAM_LEN; i++)
        f->ram[i] = (uint8_t)i;
    assert_int_equal(client_init(&f->client, &client_vfio_user, &f->host), 0);
    f->client.opened = true;
    f->client.capabilities.max_data_xfer_size = MAX_DATA;
}

static void tear_down(struct fixture *f)
{
    client_done(&f->client);
}

/* Sends all that is pending. */
static void send_all(struct fixture *f)
{
    f->sent_len = f->sent_fds = 0;
    for (;;) {
        size_t len;
        const int *fds;
        unsigned num_fds;
        const uint8_t *bytes = client_pending(&f->client, &len, &fds, &num_fds);
        if (len == 0)
            return;
        assert_true(f->sent_len + len <= sizeof(f->sent));
        memcpy(f->sent + f->sent_len, bytes, len);
        f->sent_len += len;
        f->sent_fds += num_fds;
        assert_int_equal(client_sent(&f->client, len), 0);
    }
}

static uint64_t ask(struct fixture *f, const struct client_request *request)
{
    uint64_t serial = UINT64_MAX;
    assert_int_equal(client_request(&f->client, request, &serial), 0);
    send_all(f);
    return serial;
}

static int receive_fds(struct fixture *f, const void *bytes, size_t len, unsigned num_fds)
{
    int fds[LIMIT_FDS_PER_RECEIVE];
    size_t room;
    uint8_t *to = client_receive_space(&f->client, &room);
    assert_true(len <= room);
    memcpy(to, bytes, len);
    for (unsigned i = 0; i < num_fds; i++)
        fds[i] = FIRST_FD + (int)i;
    return client_received(&f->client, len, fds, num_fds);
}

static int receive(struct fixture *f, const void *bytes, size_t len)
{
    return receive_fds(f, bytes, len, 0);
}

static size_t frame(uint8_t *buf, uint64_t id, uint16_t command, uint32_t flags,
                    const void *payload, size_t len)
{
    const struct vfio_user_header header = {
        .id = (uint16_t)id, .command = command, .size = (uint32_t)(HEADER + len), .flags = flags};
    vfio_user_header_put(buf, HEADER, &header);
    if (len > 0)
        memcpy(buf + HEADER, payload, len);
    return HEADER + len;
}

static const struct client_request bar_read = {
    .operation = CLIENT_BAR_READ, .bar = 2, .offset = 0x1122, .size = 4};

/* The right answer to bar_read. */
static size_t value_answer(uint8_t *buf, uint64_t id, uint32_t value)
{
    uint8_t payload[20] = {0x22, 0x11, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0};
    memcpy(payload + 16, &value, 4);
    return frame(buf, id, VFIO_USER_REGION_READ, VFIO_USER_TYPE_REPLY, payload, sizeof(payload));
}

static size_t dma(uint8_t *buf, uint16_t id, uint16_t command, uint32_t flags, uint64_t iova,
                  uint64_t count, const void *data, size_t data_len)
{
    uint8_t payload[128];
    const struct vfio_user_dma_access access = {.iova = iova, .count = count};
    vfio_user_dma_access_put(payload, VFIO_USER_ACCESS_LEN, &access);
    if (data_len > 0)
        memcpy(payload + VFIO_USER_ACCESS_LEN, data, data_len);
    return frame(buf, id, command, flags, payload, VFIO_USER_ACCESS_LEN + data_len);
}

#define GOLDEN(request, bytes)                                                                     \
    check_golden(&(const struct client_request)request, bytes, sizeof(bytes) - 1)
#define REQUEST(...)                                                                               \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static void check_golden(const struct client_request *request, const char *bytes, size_t len)
{
    struct fixture f;
    set_up(&f);
    assert_int_equal(ask(&f, request), 1);
    assert_int_equal(f.sent_len, len);
    assert_memory_equal(f.sent, bytes, len);
    tear_down(&f);
}

static void each_request_is_golden(void **state)
{
    GOLDEN(REQUEST(.operation = CLIENT_CONFIG_READ, .offset = 0x2c, .size = 2),
           "\1\0\x09\0\x20\0\0\0\0\0\0\0\0\0\0\0\x2c\0\0\0\0\0\0\0\x07\0\0\0\x02\0\0\0");
    GOLDEN(REQUEST(.operation = CLIENT_CONFIG_WRITE, .offset = 4, .size = 2, .value = 0x107),
           "\1\0\x0a\0\x22\0\0\0\0\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x07\0\0\0\x02\0\0\0\x07\x01");
    GOLDEN(REQUEST(.operation = CLIENT_BAR_READ, .bar = 5, .offset = 0x100000008, .size = 8),
           "\1\0\x09\0\x20\0\0\0\0\0\0\0\0\0\0\0\x08\0\0\0\x01\0\0\0\x05\0\0\0\x08\0\0\0");
    GOLDEN(REQUEST(.operation = CLIENT_BAR_WRITE, .bar = 1, .offset = 3, .size = 1, .value = 0xfe),
           "\1\0\x0a\0\x21\0\0\0\0\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\xfe");
    GOLDEN(REQUEST(.operation = CLIENT_RESET), "\1\0\x0d\0\x10\0\0\0\0\0\0\0\0\0\0\0");
    GOLDEN(REQUEST(.operation = CLIENT_PING),
           "\1\0\x09\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\x04\0\0\0");
}

static void a_message_carries_its_descriptors_on_its_first_byte(void **state)
{
    const int own[] = {7, 8};
    const struct client_message message = {.command = VFIO_USER_DMA_MAP,
                                           .head = (const uint8_t *)"head",
                                           .head_len = 4,
                                           .data = (const uint8_t *)"data",
                                           .data_len = 4};
    const struct client_request request = {
        .operation = CLIENT_MESSAGE, .message = &message, .fds = own, .num_fds = 2};
    struct fixture f;
    size_t len;
    uint64_t serial;
    const int *fds;
    unsigned num_fds;
    set_up(&f);
    assert_int_equal(client_request(&f.client, &request, &serial), 0);
    client_pending(&f.client, &len, &fds, &num_fds);
    assert_int_equal(num_fds, 2);
    assert_int_equal(fds[1], 8);
    assert_int_equal(client_sent(&f.client, 1), 0);
    client_pending(&f.client, &len, &fds, &num_fds);
    assert_int_equal(num_fds, 0);
    send_all(&f);
    assert_memory_equal(f.sent + HEADER - 1, "headdata", 8);
    tear_down(&f);
}

static void a_posted_message_wants_no_answer(void **state)
{
    const struct client_message message = {.command = VFIO_USER_REGION_WRITE, .posted = true};
    const struct client_request request = {.operation = CLIENT_MESSAGE, .message = &message};
    struct fixture f;
    set_up(&f);
    assert_int_equal(ask(&f, &request), 0);
    assert_memory_equal(f.sent, "\0\0\x0a\0\x10\0\0\0\x10\0\0\0\0\0\0\0", HEADER);
    assert_int_equal(f.client.num_calls, 0);
    tear_down(&f);
}

static void what_can_not_be_said_is_refused(void **state)
{
    const struct client_message long_one = {.command = VFIO_USER_REGION_WRITE,
                                            .data_len = VFIO_USER_FRAME_LEN - HEADER + 1};
    const struct client_message message = {.command = VFIO_USER_DMA_MAP};
    const struct client_request requests[] = {
        {.operation = CLIENT_MESSAGE, .message = &long_one},
        {.operation = CLIENT_MESSAGE, .message = &message, .num_fds = LIMIT_VFIO_USER_FDS + 1},
        {.operation = CLIENT_SET_INTX},
    };
    struct fixture f;
    uint64_t serial;
    set_up(&f);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(client_request(&f.client, &requests[i], &serial), -EINVAL);
    assert_int_equal(f.client.tx_len, 0);
    tear_down(&f);
}

static void an_answer_may_come_in_any_pieces(void **state)
{
    uint8_t bytes[ANSWER_LEN];
    size_t len = value_answer(bytes, 1, 0xcafe);
    for (size_t cut = 0; cut < len; cut++) {
        struct fixture f;
        struct client_answer got = {0};
        set_up(&f);
        uint64_t serial = ask(&f, &bar_read);
        assert_int_equal(receive(&f, bytes, cut), 0);
        assert_false(client_answered(&f.client, serial, &got));
        assert_int_equal(receive(&f, bytes + cut, len - cut), 0);
        assert_true(client_answered(&f.client, serial, &got));
        assert_int_equal(got.value, 0xcafe);
        assert_int_equal(got.error, 0);
        tear_down(&f);
    }
}

static void an_answer_of_another_length_ends_it(void **state)
{
    for (size_t len = 0; len < 40; len++) {
        struct fixture f;
        uint64_t serial;
        uint8_t bytes[ANSWER_LEN + 40] = {0}, payload[40] = {[12] = 4};
        set_up(&f);
        ask(&f, &bar_read);
        size_t total = frame(bytes, 1, VFIO_USER_REGION_READ, VFIO_USER_TYPE_REPLY, payload, len);
        assert_int_equal(receive(&f, bytes, total), len == 20 ? 0 : -EPROTO);
        assert_int_equal(client_request(&f.client, &bar_read, &serial), len == 20 ? 0 : -EPROTO);
        tear_down(&f);
    }
}

/* What becomes of an answer to bar_read with one byte of it changed. */
static int receive_changed(size_t at, uint8_t value)
{
    struct fixture f;
    uint8_t bytes[ANSWER_LEN];
    set_up(&f);
    ask(&f, &bar_read);
    size_t len = value_answer(bytes, 1, 5);
    bytes[at] = value;
    int err = receive(&f, bytes, len);
    assert_int_equal(f.client.fault.code, err);
    tear_down(&f);
    return err;
}

static void an_answer_to_another_question_ends_it(void **state)
{
    assert_int_equal(receive_changed(0, 2), -EPROTO);                      /* id */
    assert_int_equal(receive_changed(2, VFIO_USER_REGION_WRITE), -EPROTO); /* command */
    assert_int_equal(receive_changed(4, HEADER - 1), -EPROTO);             /* size */
    assert_int_equal(receive_changed(7, 0x7f), -EPROTO);                   /* size, huge */
    assert_int_equal(receive_changed(8, 2), -EPROTO);           /* neither of the types */
    assert_int_equal(receive_changed(HEADER + 12, 2), -EPROTO); /* count */
    assert_int_equal(receive_changed(HEADER + 16, 9), 0);       /* the value */
}

static void an_answer_to_nothing_ends_it(void **state)
{
    struct fixture f;
    uint8_t bytes[ANSWER_LEN];
    size_t len = value_answer(bytes, 1, 5);
    set_up(&f);
    ask(&f, &bar_read);
    assert_int_equal(receive(&f, bytes, len), 0);
    assert_int_equal(receive(&f, bytes, len), -EPROTO);
    tear_down(&f);
}

static void a_refusal_is_an_answer(void **state)
{
    static const struct {
        uint32_t said;
        int error;
    } cases[] = {{ENXIO, -ENXIO}, {0, -EIO}, {4095, -4095}, {4096, -EIO}, {UINT32_MAX, -EIO}};
    for (unsigned i = 0; i < 5; i++) {
        struct fixture f;
        struct client_answer got = {0};
        uint8_t bytes[HEADER];
        set_up(&f);
        uint64_t serial = ask(&f, &bar_read);
        frame(bytes, serial, VFIO_USER_REGION_READ, VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR, NULL,
              0);
        memcpy(bytes + 12, &cases[i].said, 4);
        assert_int_equal(receive(&f, bytes, HEADER), 0);
        assert_true(client_answered(&f.client, serial, &got));
        assert_int_equal(got.error, cases[i].error);
        tear_down(&f);
    }
}

static void answers_may_come_in_any_order(void **state)
{
    struct fixture f;
    struct client_answer got = {0};
    uint8_t bytes[ANSWER_LEN];
    set_up(&f);
    uint64_t first = ask(&f, &bar_read), second = ask(&f, &bar_read);
    assert_int_equal(receive(&f, bytes, value_answer(bytes, second, 2)), 0);
    assert_false(client_answered(&f.client, first, &got));
    assert_true(client_answered(&f.client, second, &got));
    assert_int_equal(got.value, 2);
    assert_int_equal(receive(&f, bytes, value_answer(bytes, first, 1)), 0);
    assert_true(client_answered(&f.client, second, &got));
    assert_int_equal(got.value, 2); /* the late one is not taken for it */
    tear_down(&f);
}

/* Asks by a message; the reply takes 2 + 6 bytes and one descriptor. */
static uint64_t ask_message(struct fixture *f, struct client_reply *reply, uint8_t *bytes)
{
    static const struct client_message message = {.command = VFIO_USER_DEVICE_GET_INFO};
    *reply = (struct client_reply){
        .head = bytes, .head_len = 2, .data = bytes + 2, .data_len = 6, .max_fds = 1};
    const struct client_request request = {
        .operation = CLIENT_MESSAGE, .message = &message, .reply = reply};
    return ask(f, &request);
}

static void a_reply_takes_what_there_is_room_for(void **state)
{
    for (size_t len = 0; len <= 10; len++) {
        for (unsigned num_fds = 0; num_fds <= 2; num_fds++) {
            struct fixture f;
            struct client_reply reply;
            uint8_t bytes[64], got[8] = {0};
            set_up(&f);
            uint64_t serial = ask_message(&f, &reply, got);
            size_t total = frame(bytes, serial, VFIO_USER_DEVICE_GET_INFO, VFIO_USER_TYPE_REPLY,
                                 "abcdefghij", len);
            bool fits = len <= 8 && num_fds <= 1;
            assert_int_equal(receive_fds(&f, bytes, total, num_fds), fits ? 0 : -EPROTO);
            assert_int_equal(reply.len, fits ? len : 0);
            assert_memory_equal(got, "abcdefgh", fits ? len : 0);
            assert_int_equal(reply.fds.count, fits ? num_fds : 0);
            client_drop(&f.client, &reply);
            tear_down(&f);
            assert_int_equal(f.closed, num_fds);
        }
    }
}

static void a_late_reply_goes_nowhere(void **state)
{
    struct fixture f;
    struct client_reply reply;
    uint8_t bytes[64], got[8] = {0};
    set_up(&f);
    uint64_t serial = ask_message(&f, &reply, got);
    client_forget(&f.client, serial);
    size_t len = frame(bytes, serial, VFIO_USER_DEVICE_GET_INFO, VFIO_USER_TYPE_REPLY,
                       "longer than was asked for", 25);
    assert_int_equal(receive_fds(&f, bytes, len, 3), 0);
    assert_int_equal(reply.len, 0);
    assert_int_equal(got[0], 0);
    assert_int_equal(f.closed, 3);
    assert_int_equal(f.client.num_calls, 0);
    tear_down(&f);
}

static void descriptors_that_nobody_asked_for_are_closed(void **state)
{
    struct fixture f;
    struct client_answer got;
    uint8_t bytes[ANSWER_LEN];
    set_up(&f);
    uint64_t serial = ask(&f, &bar_read);
    size_t len = value_answer(bytes, serial, 5);
    assert_int_equal(receive_fds(&f, bytes, 3, 2), 0);
    assert_int_equal(receive_fds(&f, bytes + 3, len - 3, 3), 0); /* late */
    assert_true(client_answered(&f.client, serial, &got));
    assert_int_equal(f.closed, 5);
    len = dma(bytes, 9, VFIO_USER_DMA_READ, 0, RAM_AT, 1, NULL, 0);
    assert_int_equal(receive_fds(&f, bytes, len, 16), 0);
    assert_int_equal(f.closed, 21);
    assert_int_equal(receive_fds(&f, bytes, 1, 17), -EPROTO);
    tear_down(&f);
    assert_int_equal(f.closed, 38);
}

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

static void calls_without_an_answer_are_bounded(void **state)
{
    struct fixture f;
    uint64_t serial;
    uint8_t bytes[ANSWER_LEN];
    set_up(&f);
    for (int i = 0; i < LIMIT_CLIENT_CALLS; i++)
        ask(&f, &bar_read);
    assert_int_equal(client_request(&f.client, &bar_read, &serial), -EBUSY);
    assert_int_equal(receive(&f, bytes, value_answer(bytes, 3, 0)), 0);
    assert_int_equal(client_request(&f.client, &bar_read, &serial), 0);
    tear_down(&f);
}

static void an_engine_that_can_not_be_made_leaves_nothing(void **state)
{
    for (unsigned nth = 1; nth <= 2; nth++) {
        struct client client;
        fail_allocation(nth);
        int err = client_init(&client, &client_vfio_user, NULL);
        assert_true(allocation_failed());
        assert_int_equal(err, -ENOMEM);
        assert_null(client.rx);
        assert_null(client.tx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_request_is_golden),
        TEST(a_message_carries_its_descriptors_on_its_first_byte),
        TEST(a_posted_message_wants_no_answer),
        TEST(what_can_not_be_said_is_refused),
        TEST(an_answer_may_come_in_any_pieces),
        TEST(an_answer_of_another_length_ends_it),
        TEST(an_answer_to_another_question_ends_it),
        TEST(an_answer_to_nothing_ends_it),
        TEST(a_refusal_is_an_answer),
        TEST(answers_may_come_in_any_order),
        TEST(a_reply_takes_what_there_is_room_for),
        TEST(a_late_reply_goes_nowhere),
        TEST(descriptors_that_nobody_asked_for_are_closed),
        TEST(the_remote_reads_memory_in_the_middle_of_a_call),
        TEST(the_remote_writes_memory),
        TEST(commands_that_can_not_be_done_are_refused),
        TEST(a_command_without_a_payload_is_refused),
        TEST(commands_before_version_end_it),
        TEST(nothing_is_received_until_there_is_room_for_replies),
        TEST(calls_without_an_answer_are_bounded),
        TEST(an_engine_that_can_not_be_made_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

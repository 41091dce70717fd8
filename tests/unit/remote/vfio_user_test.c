// SPDX-License-Identifier: BSD-3-Clause
/* A vfio-user client whose remote is slow, wrong or hostile. */
#include "support.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <outboard/client_irq.h>
#include <outboard/client_memory.h>

#include "base/auto.h"
#include "failing_alloc.h"
#include "os/clock.h"
#include "os/event.h"
#include "remote/client.h"
#include "remote/fake_remote.h"

#define RAM_AT  0x100000u
#define RAM_LEN (1u << 20)

/* A remote and its client, which has been greeted. */
struct fixture {
    struct fake_remote remote;
    struct ob_client *client;
};

static int read_ids(struct fixture *f, uint32_t *ret_value)
{
    return ob_client_config_read(f->client, 0, 4, ret_value);
}

/* With patience until it is greeted. */
static void set_up(struct fixture *f, const struct ob_client_options *options)
{
    uint32_t value;
    f->client = fake_remote_start(&f->remote, options);
    f->client->options.timeout_ms = PATIENCE_MS;
    fake_remote_serve(&f->remote, GREETING + 1);
    assert_int_equal(read_ids(f, &value), 0);
    assert_int_equal(value, 0x11111111);
    fake_remote_join(&f->remote);
    if (options->timeout_ms > 0)
        f->client->options.timeout_ms = options->timeout_ms;
}

static void tear_down(struct fixture *f)
{
    fake_remote_stop(&f->remote, f->client);
}

/* Memory that the remote must ask for. */
static uint8_t *lend_memory(struct fixture *f)
{
    uint8_t *ram = mmap(NULL, RAM_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(ram != MAP_FAILED);
    const struct ob_client_region region = {.gpa = RAM_AT, .len = RAM_LEN, .fd = -1, .memory = ram};
    fake_remote_serve(&f->remote, 1);
    assert_int_equal(ob_client_map_memory(f->client, &region, NULL), 0);
    fake_remote_join(&f->remote);
    return ram;
}

/* Asks for all of it, so that the answer fills the socket. */
static void ask_for_memory(struct fake_remote *remote)
{
    uint8_t payload[VFIO_USER_ACCESS_LEN];
    const struct vfio_user_dma_access access = {.iova = RAM_AT, .count = RAM_LEN};
    vfio_user_dma_access_put(payload, sizeof(payload), &access);
    fake_remote_say(remote, 1, VFIO_USER_DMA_READ, 0, payload, sizeof(payload));
}

/* Reads up to so many bytes of what the client says; how many there were. */
static size_t read_some(const struct fake_remote *remote, size_t len)
{
    static uint8_t bytes[VFIO_USER_FRAME_LEN];
    ssize_t got = recv(remote->fd, bytes, len, MSG_DONTWAIT);
    return got > 0 ? (size_t)got : 0;
}

/* Waits for what the loop of the client has, and for nothing else. */
static void dispatch(struct fixture *f)
{
    struct pollfd waiting = {.fd = ob_client_fd(f->client), .events = POLLIN};
    assert_int_equal(poll(&waiting, 1, PATIENCE_MS), 1);
    ob_client_dispatch(f->client);
}

static void check_state(struct fixture *f, enum ob_client_state right)
{
    assert_int_equal(ob_client_state(f->client), right);
}

/* Greets a remote that says something else than it should. */
static int greet(struct fixture *f, unsigned messages)
{
    uint32_t value;
    fake_remote_serve(&f->remote, messages);
    int err = read_ids(f, &value);
    assert_int_equal(value, UINT32_MAX);
    fake_remote_join(&f->remote);
    check_state(f, OB_CLIENT_LOST);
    assert_int_equal(ob_client_fault(f->client)->code, err);
    return err;
}

static const struct ob_client_options defaults = {.size = sizeof(defaults)};

static void another_version_is_not_spoken(void **state)
{
    struct fixture f;
    f.client = fake_remote_start(&f.remote, &defaults);
    f.remote.minor = 1;
    assert_int_equal(greet(&f, 1), -EPROTONOSUPPORT);
    tear_down(&f);
}

static void a_greeting_that_makes_no_sense_ends_it(void **state)
{
    struct fixture f;
    f.client = fake_remote_start(&f.remote, &defaults);
    f.remote.version = "{\"capabilities\":{\"pgsizes\":0}}";
    assert_int_equal(greet(&f, 1), -EPROTO);
    tear_down(&f);
}

static void a_greeting_that_is_refused_ends_it(void **state)
{
    struct fixture f;
    f.client = fake_remote_start(&f.remote, &defaults);
    f.remote.refused[VFIO_USER_DEVICE_GET_INFO] = EPERM;
    assert_int_equal(greet(&f, 2), -EREMOTEIO);
    assert_int_equal(ob_client_refusal(f.client), -EPERM);
    tear_down(&f);
}

static void a_greeting_that_is_not_answered_ends_it(void **state)
{
    struct fixture f;
    const struct ob_client_options options = {.size = sizeof(options), .timeout_ms = 20};
    f.client = fake_remote_start(&f.remote, &options);
    assert_int_equal(greet(&f, 0), -ENOTCONN);
    tear_down(&f);
}

static void a_bar_that_can_not_be_is_refused(void **state)
{
    static const struct {
        uint32_t bar_register;
        uint64_t len;
        int err;
        uint64_t size;
    } cases[] = {{0, UINT64_C(1) << 31, 0, UINT64_C(1) << 31},
                 {0, (UINT64_C(1) << 31) + 1, -EPROTO, 0},
                 {4, (UINT64_C(1) << 62) + 1, 0, UINT64_C(1) << 63},
                 {4, (UINT64_C(1) << 63) + 1, -EPROTO, 0},
                 {4, UINT64_MAX, -EPROTO, 0},
                 {1, 5, 0, 8}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        struct ob_client_info info;
        f.client = fake_remote_start(&f.remote, &defaults);
        f.remote.bar_len = cases[i].len;
        f.remote.bar_register = cases[i].bar_register;
        fake_remote_serve(&f.remote, GREETING + 9);
        assert_int_equal(ob_client_probe(f.client, &info, NULL), cases[i].err);
        fake_remote_join(&f.remote);
        if (cases[i].err == 0)
            assert_true(info.bars[0].size == cases[i].size);
        tear_down(&f);
    }
}

static void a_heartbeat_does_not_greet(void **state)
{
    const struct ob_client_options options = {.size = sizeof(options), .heartbeat_ms = 1};
    struct fixture f;
    f.client = fake_remote_start(&f.remote, &options);
    for (unsigned i = 0; i < 3; i++)
        dispatch(&f);
    assert_int_equal(read_some(&f.remote, 1), 0);
    check_state(&f, OB_CLIENT_ALIVE);
    tear_down(&f);
}

static void a_remote_that_reads_slowly_is_not_hung(void **state)
{
    const struct ob_client_options options = {.size = sizeof(options), .heartbeat_ms = 1};
    struct fixture f;
    set_up(&f, &options);
    uint8_t *ram = lend_memory(&f);
    ask_for_memory(&f.remote);
    for (unsigned i = 0; i < 12; i++) { /* a part of it, so that something always waits */
        read_some(&f.remote, 65536);
        dispatch(&f);
        check_state(&f, OB_CLIENT_ALIVE);
    }
    while (ob_client_state(f.client) == OB_CLIENT_ALIVE)
        dispatch(&f); /* it does not read any more */
    check_state(&f, OB_CLIENT_HUNG);
    while (ob_client_state(f.client) == OB_CLIENT_HUNG) {
        read_some(&f.remote, 65536);
        dispatch(&f);
    }
    check_state(&f, OB_CLIENT_ALIVE);
    munmap(ram, RAM_LEN);
    tear_down(&f);
}

/* Says without end that it wants memory, and reads what it gets, until the client has gone. */
static void *ask_without_end(void *argument)
{
    struct fake_remote *remote = argument;
    uint8_t bytes[4096], access[VFIO_USER_ACCESS_LEN] = {0};
    while (recv(remote->fd, bytes, sizeof(bytes), MSG_DONTWAIT) != 0)
        fake_remote_say(remote, 1, VFIO_USER_DMA_READ, 0, access, sizeof(access));
    return NULL;
}

/* Says without end what needs no answer, faster than it can be taken. */
static void *tell_without_end(void *argument)
{
    static const struct vfio_user_header header = {
        .command = VFIO_USER_DMA_WRITE, .size = 32, .flags = VFIO_USER_NO_REPLY};
    const struct fake_remote *remote = argument;
    uint8_t bytes[65536] = {0};
    for (size_t at = 0; at < sizeof(bytes); at += header.size)
        vfio_user_header_put(bytes + at, VFIO_USER_HEADER_LEN, &header);
    for (size_t at = 0;;) {
        ssize_t sent = send(remote->fd, bytes + at, sizeof(bytes) - at, MSG_NOSIGNAL);
        if (sent <= 0)
            return NULL;
        at = (at + (size_t)sent) % sizeof(bytes);
    }
}

static void a_flood_does_not_make_a_call_longer(void **state)
{
    static const unsigned hour_us = 3600u * 1000000;
    static const struct {
        void *(*flood)(void *argument);
        unsigned poll_us;
    } cases[] = {{ask_without_end, 0},
                 {ask_without_end, hour_us},
                 {tell_without_end, 0},
                 {tell_without_end, hour_us}};
    for (unsigned i = 0; i < 4; i++) {
        const struct ob_client_options options = {
            .size = sizeof(options), .timeout_ms = 200, .poll_us = cases[i].poll_us};
        struct fixture f;
        uint32_t value;
        set_up(&f, &options);
        uint64_t before_ns = clock_now_ns();
        assert_int_equal(pthread_create(&f.remote.thread, NULL, cases[i].flood, &f.remote), 0);
        int err = read_ids(&f, &value);
        assert_true(err == -ETIMEDOUT || err == -ENOTCONN);
        assert_int_equal(value, UINT32_MAX);
        assert_true(clock_now_ns() - before_ns < UINT64_C(1000000) * PATIENCE_MS);
        ob_client_free(f.client);
        fake_remote_join(&f.remote);
        close(f.remote.fd);
    }
}

static void an_end_is_noticed_while_nothing_can_be_received(void **state)
{
    struct fixture f;
    set_up(&f, &defaults);
    uint8_t *ram = lend_memory(&f);
    for (unsigned i = 0; i < 3; i++)
        ask_for_memory(&f.remote);
    assert_int_equal(shutdown(f.remote.fd, SHUT_WR), 0);
    while (ob_client_state(f.client) != OB_CLIENT_LOST)
        dispatch(&f);
    assert_int_equal(ob_client_fault(f.client)->code, -ENOTCONN);
    munmap(ram, RAM_LEN);
    tear_down(&f);
}

/* INTx by eventfds of ours, with a remote that does not know the second. */
static void set_intx(struct fixture *f, int trigger, int resample)
{
    f->remote.refuses_resample = true;
    fake_remote_serve(&f->remote, 3);
    assert_int_equal(ob_client_set_intx(f->client, trigger, resample), 0);
    fake_remote_join(&f->remote);
}

static void intx_is_unmasked_by_message(void **state)
{
    int trigger = eventfd(0, EFD_CLOEXEC), resample = eventfd(0, EFD_CLOEXEC);
    struct fixture f;
    struct message message;
    set_up(&f, &defaults);
    set_intx(&f, trigger, resample);
    assert_int_equal(eventfd_write(resample, 1), 0);
    dispatch(&f);
    fake_remote_take(&f.remote, &message);
    assert_int_equal(message.header.command, VFIO_USER_DEVICE_SET_IRQS);
    assert_int_equal(message.header.flags, VFIO_USER_NO_REPLY);
    assert_memory_equal(message.payload, "\x14\0\0\0\x11\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0", 20);
    assert_int_equal(read_some(&f.remote, 1), 0);
    tear_down(&f);
    close(trigger);
    close(resample);
}

static void unmasking_waits_its_turn_and_nobody_for_it(void **state)
{
    int trigger = eventfd(0, EFD_CLOEXEC), resample = eventfd(0, EFD_CLOEXEC);
    struct fixture f;
    struct message message;
    set_up(&f, &defaults);
    uint8_t *ram = lend_memory(&f);
    set_intx(&f, trigger, resample);
    ask_for_memory(&f.remote);
    assert_int_equal(eventfd_write(resample, 1), 0);
    dispatch(&f);
    ob_client_dispatch(f.client);
    const size_t reply_len = VFIO_USER_HEADER_LEN + VFIO_USER_ACCESS_LEN + RAM_LEN;
    for (size_t got = 0; got < reply_len;) {
        got += read_some(&f.remote, reply_len - got < 65536 ? reply_len - got : 65536);
        ob_client_dispatch(f.client);
    }
    fake_remote_take(&f.remote, &message);
    assert_int_equal(message.header.command, VFIO_USER_DEVICE_SET_IRQS);
    check_state(&f, OB_CLIENT_ALIVE);
    munmap(ram, RAM_LEN);
    tear_down(&f);
    close(trigger);
    close(resample);
}

static void a_region_that_the_remote_does_not_have_is_taken_back(void **state)
{
    struct fixture f;
    set_up(&f, &defaults);
    uint8_t *ram = lend_memory(&f);
    f.remote.refused[VFIO_USER_DMA_UNMAP] = EBUSY;
    fake_remote_serve(&f.remote, 1);
    assert_int_equal(ob_client_unmap_memory(f.client, RAM_AT, RAM_LEN), -EREMOTEIO);
    fake_remote_join(&f.remote);
    f.remote.refused[VFIO_USER_DMA_UNMAP] = ENOENT;
    fake_remote_serve(&f.remote, 1);
    assert_int_equal(ob_client_unmap_memory(f.client, RAM_AT, RAM_LEN), 0);
    fake_remote_join(&f.remote);
    assert_int_equal(ob_client_unmap_memory(f.client, RAM_AT, RAM_LEN), -ENOENT);
    munmap(ram, RAM_LEN);
    tear_down(&f);
}

static void memory_that_is_refused_is_not_kept(void **state)
{
    struct fixture f;
    struct ob_fault fault = {0};
    uint8_t page[4096];
    const struct ob_client_region region = {
        .gpa = RAM_AT, .len = sizeof(page), .fd = -1, .memory = page};
    set_up(&f, &defaults);
    f.remote.refused[VFIO_USER_DMA_MAP] = ENOSPC;
    for (unsigned i = 0; i < 2; i++) { /* the second is not -EEXIST */
        fake_remote_serve(&f.remote, 1);
        assert_int_equal(ob_client_publish_memory(f.client, &region, 1, &fault), -EREMOTEIO);
        fake_remote_join(&f.remote);
        assert_int_equal(fault.code, -EREMOTEIO);
    }
    tear_down(&f);
}

static void a_late_answer_makes_it_alive_again(void **state)
{
    const struct ob_client_options options = {.size = sizeof(options), .timeout_ms = 20};
    struct fixture f;
    struct message message;
    uint32_t value;
    set_up(&f, &options);
    assert_int_equal(read_ids(&f, &value), -ETIMEDOUT);
    check_state(&f, OB_CLIENT_HUNG);
    assert_int_equal(read_ids(&f, &value), -ETIMEDOUT);
    fake_remote_take(&f.remote, &message);
    assert_int_equal(read_some(&f.remote, 1), 0); /* the second was not said */
    fake_remote_say(&f.remote, message.header.id, message.header.command,
                    VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR, NULL, 0);
    dispatch(&f);
    check_state(&f, OB_CLIENT_ALIVE);
    tear_down(&f);
}

/* Starts a log of memory that the remote can map. */
static void start_log(struct fixture *f, uint64_t len)
{
    const struct ob_client_range range = {.gpa = RAM_AT, .len = len};
    AUTO_FD fd = memfd_create("ram", MFD_CLOEXEC);
    const struct ob_client_region region = {.gpa = RAM_AT, .len = len, .fd = fd};
    assert_int_equal(ftruncate(fd, (off_t)len), 0);
    fake_remote_serve(&f->remote, 1);
    assert_int_equal(ob_client_map_memory(f->client, &region, NULL), 0);
    fake_remote_join(&f->remote);
    fake_remote_serve(&f->remote, 1);
    assert_int_equal(ob_client_log_start(f->client, 4096, &range, 1), 0);
    fake_remote_join(&f->remote);
}

static void a_report_that_came_too_late_is_made_up_for(void **state)
{
    const struct ob_client_range range = {.gpa = RAM_AT, .len = 4UL * 4096};
    struct fixture f;
    struct message message;
    uint8_t bits[8], answer[40] = {0};
    set_up(&f, &defaults);
    start_log(&f, range.len);
    f.client->options.timeout_ms = 20;
    assert_int_equal(ob_client_log_report(f.client, 4096, &range, bits), -ETIMEDOUT);
    fake_remote_take(&f.remote, &message);
    fake_remote_say(&f.remote, message.header.id, message.header.command, VFIO_USER_TYPE_REPLY,
                    answer, sizeof(answer));
    dispatch(&f);
    check_state(&f, OB_CLIENT_ALIVE);
    f.client->options.timeout_ms = PATIENCE_MS;
    for (unsigned i = 0; i < 2; i++) {
        fake_remote_serve(&f.remote, 1);
        assert_int_equal(ob_client_log_report(f.client, 4096, &range, bits), 0);
        fake_remote_join(&f.remote);
        assert_memory_equal(bits, i == 0 ? "\x0f\0\0\0\0\0\0" : "\0\0\0\0\0\0\0", 8);
    }
    tear_down(&f);
}

/* A client that has been probed, and three writes. */
static const struct ob_client_write writes[] = {
    {.offset = 0, .size = 4}, {.offset = 8, .size = 8}, {.offset = 16, .size = 1}};

static void set_up_probed(struct fixture *f, const char *version)
{
    struct ob_client_info info;
    f->client = fake_remote_start(&f->remote, &defaults);
    if (version)
        f->remote.version = version;
    fake_remote_serve(&f->remote, GREETING + 9);
    assert_int_equal(ob_client_probe(f->client, &info, NULL), 0);
    fake_remote_join(&f->remote);
}

static int write_many(struct fixture *f, unsigned messages)
{
    fake_remote_serve(&f->remote, messages);
    int err = ob_client_bar_write_many(f->client, writes, 3);
    fake_remote_join(&f->remote);
    return err;
}

static void many_writes_are_no_longer_than_the_remote_takes(void **state)
{
    struct fixture f;
    set_up_probed(&f, NULL);
    assert_int_equal(write_many(&f, 1), 0);
    assert_int_equal(f.remote.last.payload[0], 3);
    tear_down(&f);
    set_up_probed(&f, "{\"capabilities\":{\"max_data_xfer_size\":48,\"write_multiple\":true}}");
    assert_int_equal(write_many(&f, 2), 0);
    assert_int_equal(f.remote.last.payload[0], 1);
    tear_down(&f);
    set_up_probed(&f, "{\"capabilities\":{\"max_data_xfer_size\":8,\"write_multiple\":true}}");
    assert_int_equal(write_many(&f, 3), 0);
    assert_int_equal(f.remote.last.header.command, VFIO_USER_REGION_WRITE);
    tear_down(&f);
}

static void writes_that_were_not_done_end_it(void **state)
{
    struct fixture f;
    set_up_probed(&f, NULL);
    f.remote.written = 2;
    assert_int_equal(write_many(&f, 1), -EPROTO);
    check_state(&f, OB_CLIENT_LOST);
    tear_down(&f);
}

/* Calls that allocate, each as far as it gets without the remote. */
static int call_that_allocates(struct fixture *f, unsigned which, uint8_t *page)
{
    struct ob_client_eventfd eventfds[1];
    uint8_t bits[8];
    const struct ob_client_region region = {.gpa = RAM_AT, .len = 4096, .fd = -1, .memory = page};
    const struct ob_client_range range = {.gpa = RAM_AT, .len = 4096};
    switch (which) {
    case 0:
        return ob_client_map_memory(f->client, &region, NULL);
    case 1:
        return ob_client_bar_write_many(f->client, writes, 3);
    case 2:
        return ob_client_bar_eventfds(f->client, 0, eventfds, 1);
    case 3:
        return ob_client_log_start(f->client, 4096, &range, 1);
    default:
        return ob_client_log_report(f->client, 4096, &range, bits);
    }
}

static void a_call_without_memory_changes_nothing(void **state)
{
    static const unsigned allocations[] = {2, 1, 1, 1, 1};
    struct fixture f;
    uint8_t page[4096];
    set_up_probed(&f, NULL);
    for (unsigned which = 0; which < 5; which++) {
        if (which == 4)
            start_log(&f, 4096);
        for (unsigned nth = 1; nth <= allocations[which]; nth++) {
            fail_allocation(nth);
            int err = call_that_allocates(&f, which, page);
            assert_true(allocation_failed());
            assert_int_equal(err, -ENOMEM);
            check_state(&f, OB_CLIENT_ALIVE);
            assert_int_equal(read_some(&f.remote, 1), 0);
        }
    }
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(another_version_is_not_spoken),
        TEST(a_greeting_that_makes_no_sense_ends_it),
        TEST(a_greeting_that_is_refused_ends_it),
        TEST(a_greeting_that_is_not_answered_ends_it),
        TEST(a_bar_that_can_not_be_is_refused),
        TEST(a_heartbeat_does_not_greet),
        TEST(a_remote_that_reads_slowly_is_not_hung),
        TEST(a_flood_does_not_make_a_call_longer),
        TEST(an_end_is_noticed_while_nothing_can_be_received),
        TEST(intx_is_unmasked_by_message),
        TEST(unmasking_waits_its_turn_and_nobody_for_it),
        TEST(a_region_that_the_remote_does_not_have_is_taken_back),
        TEST(memory_that_is_refused_is_not_kept),
        TEST(a_late_answer_makes_it_alive_again),
        TEST(a_report_that_came_too_late_is_made_up_for),
        TEST(many_writes_are_no_longer_than_the_remote_takes),
        TEST(writes_that_were_not_done_end_it),
        TEST(a_call_without_memory_changes_nothing),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}

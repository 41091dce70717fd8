// SPDX-License-Identifier: BSD-3-Clause
/* Calls to a remote that is slow, floods, goes away or refuses. */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/event.h"
#include "remote/client.h"
#include "remote/fixture.h"

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
        fixture_start_greeted(&f, &options);
        uint64_t before_ns = clock_now_ns();
        assert_int_equal(pthread_create(&f.remote.thread, NULL, cases[i].flood, &f.remote), 0);
        int err = fixture_read_ids(&f, &value);
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
    fixture_start_greeted(&f, &fixture_defaults);
    uint8_t *ram = fixture_lend_memory(&f);
    for (unsigned i = 0; i < 3; i++)
        fixture_ask_for_memory(&f.remote);
    assert_int_equal(shutdown(f.remote.fd, SHUT_WR), 0);
    while (ob_client_state(f.client) != OB_CLIENT_LOST)
        fixture_dispatch(&f);
    assert_int_equal(ob_client_fault(f.client)->code, -ENOTCONN);
    munmap(ram, RAM_LEN);
    fixture_stop(&f);
}

static void a_late_answer_makes_it_alive_again(void **state)
{
    const struct ob_client_options options = {.size = sizeof(options), .timeout_ms = 20};
    struct fixture f;
    struct message message;
    uint32_t value;
    fixture_start_greeted(&f, &options);
    assert_int_equal(fixture_read_ids(&f, &value), -ETIMEDOUT);
    fixture_check_state(&f, OB_CLIENT_HUNG);
    assert_int_equal(fixture_read_ids(&f, &value), -ETIMEDOUT);
    fake_remote_take(&f.remote, &message);
    assert_int_equal(fixture_read_some(&f.remote, 1), 0); /* the second was not said */
    fake_remote_say(&f.remote, message.header.id, message.header.command,
                    VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR, NULL, 0);
    fixture_dispatch(&f);
    fixture_check_state(&f, OB_CLIENT_ALIVE);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_flood_does_not_make_a_call_longer),
        TEST(an_end_is_noticed_while_nothing_can_be_received),
        TEST(a_late_answer_makes_it_alive_again),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}

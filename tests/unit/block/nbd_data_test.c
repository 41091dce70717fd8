// SPDX-License-Identifier: BSD-3-Clause
/* The data phase of NBD, with processes that die in it, and another that drains their connection. */
#include "block/nbd_data.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_LEN 8u
#define LARGE    (1u << 22)

static struct {
    unsigned count;
    int error;
} ended;

// cppcheck-suppress constParameter ; the type of a callback
static int completed(void *argument, int *error) // NOLINT(readability-non-const-parameter)
{
    ended.count++;
    ended.error = *error;
    return 1;
}

struct fixture {
    int ours, theirs;
    struct nbd_memory memory;
};

static struct fixture make(void)
{
    struct fixture fixture;
    int ends[2];
    memset(&ended, 0, sizeof(ended));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(nbd_memory_new(&fixture.memory), 0);
    fixture.ours = ends[0];
    fixture.theirs = ends[1];
    return fixture;
}

static void done(struct fixture *fixture)
{
    close(fixture->ours);
    close(fixture->theirs);
    nbd_memory_done(&fixture->memory);
}

/* proto.md, "Simple reply message". The first request's cookie is 0, and each next one counts in both halves. */
static size_t put_reply(uint8_t *at, unsigned number, uint8_t error, size_t len)
{
    const uint8_t magic[] = {0x67, 0x44, 0x66, 0x98};
    const uint64_t cookie = (uint64_t)number << 16 | number;
    memset(at, 0, 16 + len);
    memcpy(at, magic, sizeof(magic));
    at[7] = error;
    memcpy(at + 8, &cookie, sizeof(cookie));
    memset(at + 16, 'd', len);
    return 16 + len;
}

/* A flush, a read, and a write; their replies come in another order. */
static void ask(struct nbd_data *data, char *buffer)
{
    const struct nbd_command commands[] = {
        {.type = NBD_FLUSH},
        {.type = NBD_READ, .offset = 512, .len = READ_LEN, .data = buffer},
        {.type = NBD_WRITE, .flags = NBD_FUA, .offset = 1024, .len = READ_LEN, .data = buffer},
    };
    nbd_data_open(data);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(nbd_data_send(data, &commands[i], NULL), 0);
}

static size_t put_replies(uint8_t *bytes)
{
    size_t len = put_reply(bytes, 2, 0, 0);
    len += put_reply(bytes + len, 1, 0, READ_LEN);
    return len + put_reply(bytes + len, 0, 5, 0);
}

static void test_replies_in_any_order(void **state)
{
    struct fixture fixture = make();
    uint8_t bytes[128], request[512];
    char buffer[READ_LEN] = "abcdefg";
    struct nbd_data *data = nbd_data_new(fixture.ours, fixture.memory.shared, completed);
    assert_non_null(data);
    ask(data, buffer);
    assert_int_equal(read(fixture.theirs, request, sizeof(request)), 3 * 28 + READ_LEN);
    assert_memory_equal(request, "\x25\x60\x95\x13\0\0\0\3", 8);
    assert_memory_equal(request + 56, "\x25\x60\x95\x13\0\1\0\1", 8);
    assert_memory_equal(request + 84, "abcdefg", READ_LEN);
    assert_int_equal(nbd_data_at_server(data), 3);
    size_t len = put_replies(bytes);
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(write(fixture.theirs, bytes + i, 1), 1);
        nbd_data_work(data);
    }
    assert_int_equal(ended.count, 3);
    assert_int_equal(ended.error, EIO);
    assert_memory_equal(buffer, "dddddddd", READ_LEN);
    assert_int_equal(nbd_data_at_server(data), 0);
    nbd_data_free(data);
    done(&fixture);
}

/* In a process of its own, which is killed. */
static void die(struct fixture *fixture, void (*work)(struct nbd_data *data))
{
    pid_t pid = fork();
    if (pid == 0) {
        struct nbd_data *data = nbd_data_new(fixture->ours, fixture->memory.shared, completed);
        work(data);
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void ask_and_work(struct nbd_data *data)
{
    static char buffer[READ_LEN];
    ask(data, buffer);
    nbd_data_work(data);
}

static struct nbd_data *take_over(struct fixture *fixture, struct nbd_memory *memory)
{
    struct nbd_data *data = NULL;
    *memory = (struct nbd_memory){.fd = -1, .lock_fd = -1};
    assert_int_equal(nbd_memory_map(memory, fixture->memory.fd), -EAGAIN);
    close(fixture->memory.lock_fd);
    fixture->memory.lock_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(nbd_memory_map(memory, fixture->memory.fd), 0);
    assert_int_equal(nbd_data_take_over(fixture->ours, memory->shared, &data), 0);
    return data;
}

static void test_death_at_each_byte_of_the_replies(void **state)
{
    uint8_t bytes[128];
    const size_t len = put_replies(bytes);
    for (size_t cut = 0; cut <= len; cut++) {
        struct fixture fixture = make();
        struct nbd_memory memory;
        if (cut > 0)
            assert_int_equal(write(fixture.theirs, bytes, cut), (ssize_t)cut);
        die(&fixture, ask_and_work);
        struct nbd_data *data = take_over(&fixture, &memory);
        const unsigned left = (cut < 16) + (cut < 40) + (cut < 56);
        assert_int_equal(nbd_data_at_server(data), left);
        nbd_data_work(data);
        assert_int_equal(nbd_data_at_server(data), left);
        if (cut < len)
            assert_int_equal(write(fixture.theirs, bytes + cut, len - cut), (ssize_t)(len - cut));
        while (nbd_data_at_server(data) > 0 && nbd_data_work(data))
            ;
        assert_int_equal(nbd_data_at_server(data), 0);
        assert_false(nbd_data_is_gone(data));
        nbd_data_free(data);
        nbd_memory_done(&memory);
        done(&fixture);
    }
}

static void send_a_part(struct nbd_data *data)
{
    const struct nbd_command command = {.type = NBD_WRITE, .len = LARGE, .data = calloc(1, LARGE)};
    nbd_data_open(data);
    nbd_data_send(data, &(struct nbd_command){.type = NBD_FLUSH}, NULL);
    nbd_data_send(data, &command, NULL);
}

static void test_a_request_that_was_sent_in_part_has_no_reply(void **state)
{
    struct fixture fixture = make();
    struct nbd_memory memory;
    uint8_t bytes[16];
    die(&fixture, send_a_part);
    struct nbd_data *data = take_over(&fixture, &memory);
    assert_int_equal(nbd_data_at_server(data), 1);
    assert_int_equal(write(fixture.theirs, bytes, put_reply(bytes, 0, 0, 0)), 16);
    nbd_data_work(data);
    assert_int_equal(nbd_data_at_server(data), 0);
    nbd_data_free(data);
    nbd_memory_done(&memory);
    done(&fixture);
}

static void test_a_server_that_breaks_the_rules_loses_its_connection(void **state)
{
    for (unsigned at = 0; at < 16; at++) {
        struct fixture fixture = make();
        uint8_t bytes[16];
        char buffer[READ_LEN];
        struct nbd_data *data = nbd_data_new(fixture.ours, fixture.memory.shared, completed);
        assert_non_null(data);
        ask(data, buffer);
        put_reply(bytes, 0, 0, 0);
        bytes[at] ^= 0x80;
        assert_int_equal(write(fixture.theirs, bytes, 16), 16);
        nbd_data_work(data);
        const bool is_error = at >= 4 && at < 8; /* an error is none */
        assert_int_equal(nbd_data_is_gone(data), !is_error);
        assert_int_equal(ended.count, is_error ? 1 : 3);
        assert_int_equal(ended.error, is_error ? EINVAL : ENOTCONN);
        nbd_data_free(data);
        assert_int_equal(ended.count, 3);
        done(&fixture);
    }
}

static void test_a_hostile_process_before(void **state)
{
    static const uint8_t flips[] = {0x01, 0x80, 0xff};
    struct fixture fixture = make();
    uint8_t bytes[128];
    const size_t len = put_replies(bytes);
    assert_int_equal(write(fixture.theirs, bytes, 20), 20);
    die(&fixture, ask_and_work);
    assert_int_equal(write(fixture.theirs, bytes + 20, len - 20), (ssize_t)(len - 20));
    for (size_t at = 0; at < offsetof(struct nbd_shared, slots) + 4 * sizeof(struct nbd_slot); at++)
        for (size_t k = 0; k < sizeof(flips); k++) {
            struct nbd_shared *lie = malloc(sizeof(*lie));
            struct nbd_data *data = NULL;
            int ends[2];
            assert_non_null(lie);
            memcpy(lie, fixture.memory.shared, sizeof(*lie));
            ((uint8_t *)lie)[at] ^= flips[k];
            assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
            assert_int_equal(write(ends[1], bytes + 20, len - 20), (ssize_t)(len - 20));
            close(ends[1]);
            if (nbd_data_take_over(ends[0], lie, &data) == 0)
                while (nbd_data_at_server(data) > 0 && nbd_data_work(data))
                    ;
            nbd_data_free(data);
            close(ends[0]);
            free(lie);
        }
    done(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_replies_in_any_order),
        TEST(test_death_at_each_byte_of_the_replies),
        TEST(test_a_request_that_was_sent_in_part_has_no_reply),
        TEST(test_a_server_that_breaks_the_rules_loses_its_connection),
        TEST(test_a_hostile_process_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

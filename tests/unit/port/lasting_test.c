// SPDX-License-Identifier: BSD-3-Clause
/* Bytes of a stream when the process dies at any step; the next process adopts its memory. */
#include "port/lasting.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

#define SLOT 1u

static const struct lasting_sizes sizes = {
    .slots = 3, .large_slots = 1, .large_in = 64, .large_out = 64, .small_in = 16, .small_out = 16};
static const uint8_t nothing[LASTING_RECORD];

struct lab {
    struct lasting *lasting;
    struct lasting_stream *stream;
    int ours, host; /* a socket's ends */
    uint64_t committed;
};

static void begin(struct lab *lab)
{
    int ends[2];
    *lab = (struct lab){0};
    assert_int_equal(lasting_new(&sizes, &lab->lasting), 0);
    lab->stream = lasting_stream(lab->lasting, SLOT);
    lasting_begin(lab->stream);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    lab->ours = ends[0];
    lab->host = ends[1];
}

static void commit(struct lab *lab)
{
    lasting_save(lab->stream, nothing, ++lab->committed);
}

/* Another process takes over what was committed. */
static void die(struct lab *lab)
{
    struct lasting *next = NULL;
    assert_int_equal(lasting_new(&sizes, &next), 0);
    assert_int_equal(lasting_adopt(next, lasting_fd(lab->lasting), lab->committed), 0);
    lasting_free(lab->lasting);
    lab->lasting = next;
    lab->stream = lasting_stream(next, SLOT);
}

static void end(struct lab *lab)
{
    lasting_free(lab->lasting);
    close(lab->ours);
    close(lab->host);
}

/* The guest gets so many bytes; they are to be these. */
static void give(struct lab *lab, const char *text)
{
    struct iovec pieces[2];
    char got[64] = "";
    size_t len = 0;
    unsigned count = lasting_unread(lab->stream, strlen(text), pieces);
    for (unsigned i = 0; i < count; i++) {
        memcpy(got + len, pieces[i].iov_base, pieces[i].iov_len);
        len += pieces[i].iov_len;
    }
    assert_string_equal(got, text);
    lasting_give(lab->stream, strlen(text));
}

static void put(struct lab *lab, const char *text)
{
    struct iovec pieces[2];
    size_t at = 0;
    unsigned count = lasting_room(lab->stream, strlen(text), pieces);
    assert_int_not_equal(count, 0);
    for (unsigned i = 0; i < count; i++) {
        memcpy(pieces[i].iov_base, text + at, pieces[i].iov_len);
        at += pieces[i].iov_len;
    }
    lasting_put(lab->stream, strlen(text));
}

static ssize_t receive(struct lab *lab)
{
    bool more;
    return lasting_receive(lab->stream, lab->ours, &more);
}

static void say(const struct lab *lab, const char *text)
{
    assert_int_equal(send(lab->host, text, strlen(text), 0), strlen(text));
}

static void expect(const struct lab *lab, const char *text)
{
    char got[64] = "";
    assert_int_equal(recv(lab->host, got, sizeof(got), MSG_DONTWAIT), strlen(text));
    assert_string_equal(got, text);
}

static void test_received_and_not_given(void **state)
{
    struct lab lab;
    begin(&lab);
    commit(&lab);
    say(&lab, "hello");
    assert_int_equal(receive(&lab), 5);
    die(&lab);
    give(&lab, "hello");
    end(&lab);
}

static void test_given_and_not_committed(void **state)
{
    struct lab lab;
    begin(&lab);
    commit(&lab);
    say(&lab, "hello");
    assert_int_equal(receive(&lab), 5);
    give(&lab, "hel");
    commit(&lab);
    give(&lab, "lo");
    die(&lab);
    give(&lab, "lo");
    end(&lab);
}

/* A byte that the guest has, but not for certain, keeps its place. */
static void test_places_are_used_again_behind_the_commit(void **state)
{
    struct lab lab;
    begin(&lab);
    commit(&lab);
    say(&lab, "0123456789abcdefXY");
    assert_int_equal(receive(&lab), 16);
    give(&lab, "0123456789abcdef");
    assert_int_equal(receive(&lab), -ENOBUFS);
    commit(&lab);
    assert_int_equal(receive(&lab), 2);
    die(&lab);
    give(&lab, "XY");
    assert_int_equal(receive(&lab), -EAGAIN);
    end(&lab);
}

static void test_sent_in_part(void **state)
{
    struct lab lab;
    begin(&lab);
    put(&lab, "0123456789");
    commit(&lab);
    assert_int_equal(lasting_send(lab.stream, lab.ours), 10);
    put(&lab, "abcdefghij"); /* round the end of the ring */
    commit(&lab);
    assert_int_equal(lasting_send(lab.stream, lab.ours), 6);
    die(&lab);
    assert_int_equal(lasting_num_unsent(lab.stream), 4);
    assert_int_equal(lasting_send(lab.stream, lab.ours), 4);
    assert_int_equal(lasting_send(lab.stream, lab.ours), 0);
    expect(&lab, "0123456789abcdefghij");
    end(&lab);
}

static void test_put_and_not_committed(void **state)
{
    struct lab lab;
    begin(&lab);
    commit(&lab);
    put(&lab, "lost"); /* the guest's buffer is taken again */
    die(&lab);
    put(&lab, "again");
    commit(&lab);
    assert_int_equal(lasting_send(lab.stream, lab.ours), 5);
    expect(&lab, "again");
    end(&lab);
}

/* Without a record that is committed, the next process would give and send bytes twice. */
static void test_a_commit_that_is_left_out_shows(void **state)
{
    struct lab lab;
    begin(&lab);
    put(&lab, "0123456789");
    commit(&lab);
    say(&lab, "hello");
    assert_int_equal(receive(&lab), 5);
    give(&lab, "hello");
    put(&lab, "ab");
    lasting_save(lab.stream, nothing, lab.committed + 1);
    assert_int_equal(lasting_send(lab.stream, lab.ours), 12);
    die(&lab); /* more was sent than is known: the stream is not continued */
    assert_null(lasting_adopted(lab.stream));
    end(&lab);
}

static void test_ends_and_errors(void **state)
{
    struct lab lab;
    struct iovec pieces[2];
    begin(&lab);
    assert_int_equal(receive(&lab), -EAGAIN);
    assert_int_equal(lasting_room(lab.stream, 17, pieces), 0);
    close(lab.host);
    lab.host = dup(lab.ours);
    assert_int_equal(receive(&lab), 0);
    put(&lab, "x");
    assert_int_equal(lasting_send(lab.stream, lab.ours), -ENOTCONN);
    end(&lab);
}

/* A process dies at any moment of its calls, many times; the bytes are those of an undisturbed stream. */
static void test_killed_in_its_calls(void **state)
{
    static uint8_t sent[1 << 13];
    struct lab lab;
    size_t came = 0;
    begin(&lab);
    commit(&lab);
    for (size_t i = 0; i < sizeof(sent); i++)
        sent[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t said = 0; came < sizeof(sent);) {
        ssize_t len = send(lab.host, sent + said, sizeof(sent) - said, MSG_DONTWAIT);
        said += len > 0 ? (size_t)len : 0;
        pid_t pid = fork();
        if (pid == 0)
            for (;;)
                receive(&lab); /* its own positions, and the memory that is shared */
        assert_true(pid > 0);
        poll(NULL, 0, (int)(random() % 2)); /* any moment */
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        die(&lab);
        struct iovec pieces[2];
        const size_t there = lasting_num_unread(lab.stream);
        unsigned count = lasting_unread(lab.stream, there, pieces);
        for (unsigned i = 0; i < count; i++) {
            assert_memory_equal(pieces[i].iov_base, sent + came, pieces[i].iov_len);
            came += pieces[i].iov_len;
        }
        lasting_give(lab.stream, there);
        commit(&lab);
    }
    end(&lab);
}

static void test_memory_that_can_not_be_one(void **state)
{
    struct lab lab;
    begin(&lab);
    commit(&lab);
    int file = memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(lasting_adopt(lab.lasting, file, 1), -EINVAL);
    assert_int_equal(lasting_adopt(lab.lasting, lab.ours, 1), -EINVAL);
    assert_int_equal(lasting_adopt(lab.lasting, -1, 1), -EINVAL);
    struct lasting_sizes larger = sizes;
    struct lasting *other = NULL;
    larger.large_in++; /* in the same number of pages */
    assert_int_equal(lasting_new(&larger, &other), 0);
    assert_int_equal(lasting_adopt(lab.lasting, lasting_fd(other), 1), -EINVAL);
    lasting_free(other);
    close(file);
    lasting_free(NULL);
    end(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_received_and_not_given),
        cmocka_unit_test(test_given_and_not_committed),
        cmocka_unit_test(test_places_are_used_again_behind_the_commit),
        cmocka_unit_test(test_sent_in_part),
        cmocka_unit_test(test_put_and_not_committed),
        cmocka_unit_test(test_a_commit_that_is_left_out_shows),
        cmocka_unit_test(test_ends_and_errors),
        cmocka_unit_test(test_killed_in_its_calls),
        cmocka_unit_test(test_memory_that_can_not_be_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

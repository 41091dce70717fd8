// SPDX-License-Identifier: BSD-3-Clause
#include "os/closer.h"

#include "lingering.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "os/event.h"
#include "os/socket.h"

#define PATIENCE_MS 20000

/* A close(2) that waits. */
static struct {
    int fd; /* 0: none */
    sem_t begun, let_go;
} held;

int __real_close(int fd);
int __wrap_close(int fd);

int __wrap_close(int fd)
{
    if (fd > 0 && fd == held.fd) {
        held.fd = 0;
        sem_post(&held.begun);
        sem_wait(&held.let_go);
    }
    return __real_close(fd);
}

static unsigned threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    unsigned count = 0;
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

static void a_process_has_one_thread_while_it_has_users(void **state)
{
    unsigned before = threads();
    assert_int_equal(closer_start(), 0);
    assert_int_equal(closer_start(), 0);
    assert_int_equal(threads(), before + 1);
    closer_stop(0);
    assert_int_equal(threads(), before + 1);
    closer_stop(0);
    assert_int_equal(threads(), before);
    closer_stop(0); /* of nobody */
}

static void what_can_not_wait_is_closed_at_once(void **state)
{
    int open = open_descriptors();
    assert_int_equal(closer_start(), 0);
    closer_close(memfd_create("test", 0));
    closer_close(eventfd(0, 0));
    assert_int_equal(open_descriptors(), open);
    closer_stop(PATIENCE_MS);
}

/* That the test comes to its end is the proof: close(2) would wait for a day. */
static void a_socket_that_lingers_keeps_nobody_waiting(void **state)
{
    int peer[3];
    assert_int_equal(closer_start(), 0);
    for (unsigned i = 0; i < 3; i++)
        closer_close(lingering_socket(&peer[i]));
    int pair[2];
    assert_int_equal(pipe(pair), 0);
    closer_close(pair[0]); /* and nothing is held up by it */
    closer_close(pair[1]);
    for (unsigned i = 0; i < 3; i++)
        close(peer[i]);
    closer_stop(PATIENCE_MS);
}

static void what_lies_in_a_connection_is_closed_with_it(void **state)
{
    assert_int_equal(closer_start(), 0);
    for (int stays = 0; stays < 2; stays++) {
        int pair[2], peer;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        int fd = lingering_socket(&peer);
        for (int i = 0; i < 100; i++)
            assert_int_equal(socket_send(pair[0], "x", 1, fd), 1);
        close(fd); /* the last copies lie in the connection */
        if (!stays)
            close(pair[0]);
        socket_close(pair[1]);
        if (stays) {
            assert_int_equal(socket_send(pair[0], "x", 1, -1), -ENOTCONN);
            close(pair[0]);
        }
        close(peer);
    }
    closer_stop(PATIENCE_MS);
}

static void who_was_not_accepted_is_closed_with_the_listener(void **state)
{
    char path[] = "/tmp/outboard-closer-XXXXXX", name[64];
    int peer;
    assert_int_equal(closer_start(), 0);
    assert_non_null(mkdtemp(path));
    snprintf(name, sizeof(name), "%s/socket", path);
    int listener = socket_listen(name, 0600);
    assert_true(listener >= 0);
    int client = socket_connect(name, 1000);
    assert_true(client >= 0);
    int fd = lingering_socket(&peer);
    assert_int_equal(socket_send(client, "x", 1, fd), 1);
    close(fd);
    unlink(name);
    socket_listener_close(listener);
    assert_int_equal(socket_send(client, "x", 1, -1), -ENOTCONN);
    close(client);
    close(peer);
    rmdir(path);
    closer_stop(PATIENCE_MS);
}

static void what_waits_is_closed_before_the_thread_ends(void **state)
{
    int ends[2];
    unsigned before = threads();
    assert_int_equal(closer_start(), 0);
    assert_int_equal(pipe(ends), 0);
    closer_close(ends[0]);
    closer_close(ends[1]);
    closer_stop(PATIENCE_MS);
    assert_int_equal(threads(), before);
    assert_int_equal(fcntl(ends[0], F_GETFD), -1);
    assert_int_equal(fcntl(ends[1], F_GETFD), -1);
    assert_int_equal(closer_start(), 0);
    assert_int_equal(threads(), before + 1);
    closer_stop(0);
}

/* Has the thread wait in close(2) until let_go(). */
static void hold_up(int fd)
{
    sem_init(&held.begun, 0, 0);
    sem_init(&held.let_go, 0, 0);
    held.fd = fd;
    closer_close(fd);
    sem_wait(&held.begun);
}

static void let_go(void)
{
    sem_post(&held.let_go);
}

/* Nobody can join it, so that this looks until it has gone. */
static void wait_for_threads(unsigned count)
{
    for (unsigned i = 0; i < PATIENCE_MS && threads() != count; i++)
        poll(NULL, 0, 1);
    assert_int_equal(threads(), count);
}

static void the_last_user_does_not_wait_for_a_close_that_hangs(void **state)
{
    int ends[2];
    unsigned before = threads();
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(closer_start(), 0);
    hold_up(ends[0]);
    closer_stop(0); /* for ever, if it waited */
    assert_int_equal(threads(), before + 1);
    closer_close(ends[1]); /* goes with it */
    let_go();
    wait_for_threads(before);
    assert_int_equal(fcntl(ends[1], F_GETFD), -1);
}

static void a_new_user_gets_the_thread_that_hung(void **state)
{
    int ends[2];
    unsigned before = threads();
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(closer_start(), 0);
    hold_up(ends[0]);
    closer_stop(1);
    assert_int_equal(closer_start(), 0);
    assert_int_equal(threads(), before + 1);
    let_go();
    closer_close(ends[1]);
    closer_stop(0);
    wait_for_threads(before);
    assert_int_equal(fcntl(ends[1], F_GETFD), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_process_has_one_thread_while_it_has_users),
        TEST(what_can_not_wait_is_closed_at_once),
        TEST(a_socket_that_lingers_keeps_nobody_waiting),
        TEST(what_lies_in_a_connection_is_closed_with_it),
        TEST(who_was_not_accepted_is_closed_with_the_listener),
        TEST(what_waits_is_closed_before_the_thread_ends),
        TEST(the_last_user_does_not_wait_for_a_close_that_hangs),
        TEST(a_new_user_gets_the_thread_that_hung),
    };
    event_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

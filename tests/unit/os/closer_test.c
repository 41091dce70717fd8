// SPDX-License-Identifier: BSD-3-Clause
#include "os/closer.h"

#include "lingering.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "os/event.h"
#include "os/socket.h"

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

static void a_process_has_one_thread(void **state)
{
    unsigned before = threads();
    assert_int_equal(closer_start(), 0);
    assert_int_equal(closer_start(), 0);
    assert_int_equal(threads(), before + 1);
}

static void what_can_not_wait_is_closed_at_once(void **state)
{
    int open = open_descriptors();
    closer_close(memfd_create("test", 0));
    closer_close(eventfd(0, 0));
    assert_int_equal(open_descriptors(), open);
}

/* That the test comes to its end is the proof: close(2) would wait for a day. */
static void a_socket_that_lingers_keeps_nobody_waiting(void **state)
{
    int peer[3];
    for (unsigned i = 0; i < 3; i++)
        closer_close(lingering_socket(&peer[i]));
    int pair[2];
    assert_int_equal(pipe(pair), 0);
    closer_close(pair[0]); /* and nothing is held up by it */
    closer_close(pair[1]);
    for (unsigned i = 0; i < 3; i++)
        close(peer[i]);
}

static void what_lies_in_a_connection_is_closed_with_it(void **state)
{
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
}

static void who_was_not_accepted_is_closed_with_the_listener(void **state)
{
    char path[] = "/tmp/outboard-closer-XXXXXX", name[64];
    int peer;
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
}

static void the_thread_ends_once_nothing_waits(void **state)
{
    int ends[2];
    assert_int_equal(closer_start(), 0);
    unsigned with = threads();
    assert_int_equal(pipe(ends), 0);
    closer_close(ends[0]);
    closer_close(ends[1]);
    closer_stop();
    assert_int_equal(threads(), with - 1);
    assert_int_equal(fcntl(ends[0], F_GETFD), -1); /* they were closed before */
    assert_int_equal(fcntl(ends[1], F_GETFD), -1);
    closer_stop();
    assert_int_equal(closer_start(), 0);
    assert_int_equal(threads(), with);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_process_has_one_thread),
        TEST(what_can_not_wait_is_closed_at_once),
        TEST(a_socket_that_lingers_keeps_nobody_waiting),
        TEST(what_lies_in_a_connection_is_closed_with_it),
        TEST(who_was_not_accepted_is_closed_with_the_listener),
        TEST(the_thread_ends_once_nothing_waits),
    };
    event_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

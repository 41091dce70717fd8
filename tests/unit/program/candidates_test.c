// SPDX-License-Identifier: BSD-3-Clause
#include "program/candidates.h"

#include "base/limits.h"
#include "os/closer.h"
#include "os/socket.h"
#include "server/greeting.h"
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MANY (LIMIT_CANDIDATES + 12u)

struct fixture {
    char folder[32];
    char path[64];
    struct loop *loop;
    int listen_fd;
    struct candidates *candidates;
    unsigned refused;
    bool stop;
};

static void on_refused(void *argument, pid_t pid)
{
    ((struct fixture *)argument)->refused++;
    assert_int_equal(pid, getpid());
}

static void set_up(struct fixture *f)
{
    *f = (struct fixture){0};
    strcpy(f->folder, "/tmp/candidates-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof(f->path), "%s/socket", f->folder);
    f->listen_fd = socket_listen(f->path, 0600);
    assert_true(f->listen_fd >= 0);
    assert_int_equal(loop_new(&f->loop), 0);
    assert_int_equal(candidates_new(f->loop, f->listen_fd, on_refused, f, &f->candidates), 0);
}

static void tear_down(struct fixture *f)
{
    candidates_free(f->candidates);
    loop_free(f->loop);
    close(f->listen_fd);
    unlink(f->path);
    rmdir(f->folder);
}

static int dial(const struct fixture *f)
{
    int fd = socket_connect(f->path, 1000);
    assert_true(fd >= 0);
    return fd;
}

/* Lets the loop do all that there is to do now. */
static void settle(struct fixture *f)
{
    for (unsigned i = 0; i < 4 * MANY; i++)
        assert_true(loop_wait(f->loop, 0) >= 0);
}

static bool is_dropped(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void greet(int fd)
{
    const uint8_t zeroes[GREETING_LEN] = {0};
    assert_int_equal(send(fd, zeroes, sizeof(zeroes), MSG_NOSIGNAL), sizeof(zeroes));
}

static void of_many_silent_ones_the_newest_stay(void **state)
{
    struct fixture f;
    int fds[MANY];
    set_up(&f);
    for (unsigned i = 0; i < MANY; i++) {
        fds[i] = dial(&f);
        settle(&f);
    }
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(is_dropped(fds[i]), i < MANY - LIMIT_CANDIDATES);
        close(fds[i]);
    }
    tear_down(&f);
}

static void the_first_who_speaks_is_chosen_and_the_next_is_refused(void **state)
{
    struct fixture f;
    struct chosen chosen;
    set_up(&f);
    int silent = dial(&f), speaking = dial(&f), late = dial(&f);
    greet(speaking);
    assert_int_equal(candidates_wait(f.candidates, &f.stop, &chosen), 0);
    assert_ptr_equal(chosen.wire, &mpqemu_engine);
    assert_int_equal(chosen.pid, getpid());
    settle(&f);
    greet(late);
    settle(&f);
    assert_true(is_dropped(late));
    assert_int_equal(f.refused, 1);
    socket_close(chosen.fd);
    close(silent);
    close(speaking);
    close(late);
    tear_down(&f);
}

static void who_comes_when_the_peer_has_gone_is_the_next(void **state)
{
    struct fixture f;
    struct chosen chosen;
    set_up(&f);
    int first = dial(&f);
    greet(first);
    assert_int_equal(candidates_wait(f.candidates, &f.stop, &chosen), 0);
    close(first); /* which nobody has looked at when the next one comes */
    int second = dial(&f);
    greet(second);
    settle(&f);
    assert_int_equal(f.refused, 0);
    socket_close(chosen.fd);
    assert_int_equal(candidates_wait(f.candidates, &f.stop, &chosen), 0);
    assert_false(is_dropped(second));
    socket_close(chosen.fd);
    close(second);
    tear_down(&f);
}

static void a_signal_ends_the_wait(void **state)
{
    struct fixture f;
    struct chosen chosen;
    set_up(&f);
    f.stop = true;
    assert_int_equal(candidates_wait(f.candidates, &f.stop, &chosen), -ECANCELED);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(of_many_silent_ones_the_newest_stay),
        TEST(the_first_who_speaks_is_chosen_and_the_next_is_refused),
        TEST(who_comes_when_the_peer_has_gone_is_the_next),
        TEST(a_signal_ends_the_wait),
    };
    assert_int_equal(closer_start(), 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

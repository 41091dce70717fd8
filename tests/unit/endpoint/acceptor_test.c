// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/acceptor.h"

#include "support.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/socket.h"

/* A loop and timers, and a listener with a client that waits at it. */
struct scene {
    struct loop *loop;
    struct timers timers;
    char folder[32];
    struct address address;
    struct acceptor *acceptor;
    int client;
    int accepted; /* -1: none */
    struct rlimit before;
};

static void on_accepted(void *argument, int fd)
{
    struct scene *scene = argument;
    assert_int_equal(scene->accepted, -1);
    scene->accepted = fd;
}

static void set_up(struct scene *scene)
{
    *scene = (struct scene){.folder = "/tmp/outboard-XXXXXX", .accepted = -1};
    assert_non_null(mkdtemp(scene->folder));
    scene->address.kind = ADDRESS_UNIX;
    snprintf(scene->address.name, sizeof(scene->address.name), "%s/socket", scene->folder);
    timers_init(&scene->timers);
    assert_int_equal(loop_new(&scene->loop), 0);
    const struct acceptor_config config = {
        .loop = scene->loop,
        .timers = &scene->timers,
        .mode = 0600,
        .title = scene->address.name,
        .accepted = on_accepted,
        .argument = scene,
    };
    assert_int_equal(acceptor_new(&scene->address, &config, &scene->acceptor), 0);
}

/* A client comes when the process can open nothing more. */
static void exhaust(struct scene *scene)
{
    struct rlimit none;
    scene->client = socket_connect(scene->address.name, 1000);
    assert_true(scene->client >= 0);
    int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC); /* the first that is free */
    close(lowest);
    getrlimit(RLIMIT_NOFILE, &scene->before);
    none = scene->before;
    none.rlim_cur = (rlim_t)lowest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
}

static void tear_down(struct scene *scene)
{
    setrlimit(RLIMIT_NOFILE, &scene->before);
    if (scene->accepted >= 0)
        close(scene->accepted);
    close(scene->client);
    acceptor_free(scene->acceptor);
    loop_free(scene->loop);
    assert_int_equal(rmdir(scene->folder), 0);
}

static void without_descriptors_it_rests_and_then_goes_on(void **state)
{
    struct scene scene;
    set_up(&scene);
    exhaust(&scene);
    assert_int_equal(loop_wait(scene.loop, 0), 1);
    for (int i = 0; i < 100; i++) /* the client still waits, and nobody is told */
        assert_int_equal(loop_wait(scene.loop, 0), 0);
    assert_int_equal(scene.accepted, -1);
    setrlimit(RLIMIT_NOFILE, &scene.before);
    assert_true(timers_next(&scene.timers) != TIMER_NEVER);
    timers_run(&scene.timers, timers_next(&scene.timers));
    assert_int_equal(loop_wait(scene.loop, 0), 1);
    assert_true(scene.accepted >= 0);
    tear_down(&scene);
}

static void its_reserve_is_for_one_more(void **state)
{
    struct scene scene;
    set_up(&scene);
    acceptor_reserve(scene.acceptor);
    assert_false(acceptor_reserve_is_used(scene.acceptor));
    exhaust(&scene);
    assert_int_equal(loop_wait(scene.loop, 0), 1);
    assert_true(scene.accepted >= 0);
    assert_true(acceptor_reserve_is_used(scene.acceptor));
    acceptor_refill(scene.acceptor);
    assert_true(acceptor_reserve_is_used(scene.acceptor));
    close(scene.accepted);
    scene.accepted = -1;
    acceptor_refill(scene.acceptor);
    assert_false(acceptor_reserve_is_used(scene.acceptor));
    tear_down(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_descriptors_it_rests_and_then_goes_on),
        TEST(its_reserve_is_for_one_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
/* A freeze whose end hangs. Its process and its hook are real; the clock is ours. */
#include "agent/freezer.h"

#include "support.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/freeze_worker.h"
#include "base/limits.h"
#include "os/clock.h"
#include "os/closer.h"
#include "os/log.h"

static unsigned passed_s;
static unsigned thaws;

int __real_clock_gettime(clockid_t clock, struct timespec *ret_now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_now);
void __wrap_freeze_thaw_all(const struct agent_config *config, const char *note);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_now)
{
    int err = __real_clock_gettime(clock, ret_now);
    ret_now->tv_sec += passed_s;
    return err;
}

void __wrap_freeze_thaw_all(const struct agent_config *config, const char *note)
{
    thaws++;
}

struct world {
    char folder[64], hook[80], says[80], hears[80]; /* the last two are fifos of the hook */
    struct timers timers;
    struct agent_config config;
    struct agent *agent;
    int fd; /* a client's */
};

/* At the thaw the hook says a line, and waits for one. */
static void write_hook(struct world *world)
{
    snprintf(world->hook, sizeof(world->hook), "%s/hook", world->folder);
    snprintf(world->says, sizeof(world->says), "%s/says", world->folder);
    snprintf(world->hears, sizeof(world->hears), "%s/hears", world->folder);
    assert_int_equal(mkfifo(world->says, 0600), 0);
    assert_int_equal(mkfifo(world->hears, 0600), 0);
    FILE *file = fopen(world->hook, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n[ $1 = freeze ] || { echo thaw; read -r line <%s; } >%s\n",
            world->hears, world->says);
    fclose(file);
    assert_int_equal(chmod(world->hook, 0700), 0);
}

static void begin(struct world *world)
{
    struct ob_fault fault = {0};
    *world = (struct world){.folder = "/tmp/outboard-freezer-XXXXXX"};
    assert_non_null(mkdtemp(world->folder));
    write_hook(world);
    world->config = (struct agent_config){
        .timers = &world->timers, .state_dir = world->folder, .freeze_hook = world->hook};
    timers_init(&world->timers);
    assert_int_equal(closer_start(), 0);
    assert_int_equal(loop_new(&world->config.loop), 0);
    assert_int_equal(children_new(world->config.loop, &world->config.children), 0);
    assert_int_equal(agent_new(&world->config, &world->agent, &fault), 0);
    world->fd = agent_connect(world->agent, "test");
    assert_true(world->fd >= 0);
}

static void end(struct world *world)
{
    close(world->fd);
    agent_free(world->agent);
    children_free(world->config.children);
    loop_free(world->config.loop);
    closer_stop(0);
    log_end();
    unlink(world->hook);
    unlink(world->says);
    unlink(world->hears);
    assert_int_equal(rmdir(world->folder), 0);
}

/* The answer, of one line. */
static const char *ask(struct world *world, const char *request)
{
    static char answer[1024];
    ssize_t got;
    assert_int_equal(send(world->fd, request, strlen(request), 0), strlen(request));
    while ((got = recv(world->fd, answer, sizeof(answer) - 1, MSG_DONTWAIT)) < 0) {
        loop_wait(world->config.loop, 1000);
        timers_run(&world->timers, clock_now_ns());
    }
    answer[got] = '\0';
    return answer;
}

static void hook_that_hangs_at_the_end_of_a_freeze(void **state)
{
    struct world world;
    char byte;
    begin(&world);
    assert_string_equal(ask(&world, "{'execute': 'guest-fsfreeze-freeze-list', 'arguments': "
                                    "{'mountpoints': [], 'timeout': 1}}"),
                        "{\"return\": 0}\n");
    int hears = open(world.hears, O_RDWR | O_CLOEXEC);
    /* The hook opens it when the freeze's time is over. */
    int says = open(world.says, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(says, &byte, 1), 1);
    assert_string_equal(ask(&world, "{'execute': 'guest-fsfreeze-status'}"),
                        "{\"return\": \"frozen\"}\n");
    passed_s = 1 + LIMIT_AGENT_FREEZE_S;
    timers_run(&world.timers, clock_now_ns());
    assert_string_equal(ask(&world, "{'execute': 'guest-fsfreeze-status'}"),
                        "{\"return\": \"thawed\"}\n");
    assert_int_equal(thaws, 1);
    assert_non_null(
        strstr(ask(&world, "{'execute': 'guest-fsfreeze-thaw'}"), "may be inconsistent"));
    assert_int_equal(write(hears, "\n", 1), 1);
    while (read(says, &byte, 1) > 0)
        ; /* until it has ended */
    close(says);
    close(hears);
    end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hook_that_hangs_at_the_end_of_a_freeze),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
/* Clients of an agent that have more to say than one turn of the loop takes. */
#include "agent/connection.h"

#include "support.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/agent.h"
#include "os/closer.h"
#include "os/input.h"
#include "os/log.h"

#define PING   "{\"execute\": \"guest-ping\"}\n"
#define ANSWER "{\"return\": {}}\n"
#define MANY   2000

struct world {
    struct timers timers;
    struct agent_config config;
    struct agent *agent;
};

static void begin(struct world *world)
{
    struct ob_fault fault = {0};
    *world = (struct world){.config = {.timers = &world->timers, .state_dir = "/nonexistent"}};
    timers_init(&world->timers);
    assert_int_equal(closer_start(), 0);
    assert_int_equal(loop_new(&world->config.loop), 0);
    assert_int_equal(agent_new(&world->config, &world->agent, &fault), 0);
}

static void end(struct world *world)
{
    agent_free(world->agent);
    loop_free(world->config.loop);
    closer_stop(0);
    log_end(); /* a thaw opens the log */
}

static int connect_client(struct world *world)
{
    int fd = agent_connect(world->agent, "test");
    assert_true(fd >= 0);
    return fd;
}

/* In one piece: the kernel keeps more beside each piece than a request has. */
static void say_many(int fd)
{
    static char bytes[MANY * sizeof(PING)];
    size_t len = 0;
    for (int i = 0; i < MANY; i++) {
        memcpy(bytes + len, PING, strlen(PING));
        len += strlen(PING);
    }
    assert_int_equal(send(fd, bytes, len, 0), len);
}

/* How many answers are there. */
static size_t hear(int fd)
{
    static char bytes[MANY * sizeof(ANSWER)];
    ssize_t got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    return got > 0 ? (size_t)got / strlen(ANSWER) : 0;
}

static void client_with_many_requests_holds_up_nobody(void **state)
{
    struct world world;
    begin(&world);
    int greedy = connect_client(&world), other = connect_client(&world);
    say_many(greedy);
    assert_int_equal(send(other, PING, strlen(PING), 0), strlen(PING));
    loop_wait(world.config.loop, 0);
    size_t count = hear(greedy);
    assert_in_range(count, 1, INPUT_LEN / strlen(PING));
    assert_int_equal(hear(other), 1);
    while (loop_wait(world.config.loop, 0) > 0)
        count += hear(greedy);
    assert_int_equal(count + hear(greedy), MANY);
    close(greedy);
    close(other);
    end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(client_with_many_requests_holds_up_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

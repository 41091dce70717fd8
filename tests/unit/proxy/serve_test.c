// SPDX-License-Identifier: BSD-3-Clause
/* When a proxy has a cell, and what it says of it. Cells themselves are entered in tests/proxy. */
#include "proxy/serve.h"

#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/proxy.h"

#define WORDS 8

/* A program with these options, run as a child; what it has printed. */
struct program {
    const char *words[WORDS];
    const struct serve_agent *agent;
    bool prints; /* --print-cell */
    bool has_channel;
    char said[8192]; /* standard output and error */
    int status;
};

static int work(const struct program *program, int channel)
{
    struct proxy_options options;
    struct ob_fault fault = {0};
    char *argv[WORDS + 3] = {(char *)"proxy"}, text[32];
    int argc = 1;
    if (channel >= 0) {
        snprintf(text, sizeof(text), "--channel=fd:%d", channel);
        argv[argc++] = text;
    }
    for (const char *const *word = program->words; *word; word++)
        argv[argc++] = (char *)*word;
    if (proxy_options_parse(argc, argv, &options, &fault) < 0)
        return 100;
    return program->prints ? serve_print_cell(&options) : serve_proxy(&options, -1, program->agent);
}

/* Runs it with a channel that has ended, so that it ends too. */
static void run(struct program *program)
{
    int pipe_ends[2], pair[2], status;
    size_t len = 0;
    ssize_t got;
    assert_int_equal(pipe(pipe_ends), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[1]);
        dup2(pipe_ends[1], STDOUT_FILENO);
        dup2(pipe_ends[1], STDERR_FILENO);
        close(pipe_ends[0]);
        int result = work(program, program->has_channel ? pair[0] : -1);
        fflush(NULL);
        _exit(result);
    }
    close(pipe_ends[1]);
    close(pair[0]);
    close(pair[1]);
    while ((got = read(pipe_ends[0], program->said + len, sizeof(program->said) - 1 - len)) > 0)
        len += (size_t)got;
    program->said[len] = '\0';
    close(pipe_ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    program->status = WEXITSTATUS(status);
}

static void expect_said(const struct program *program, const char *part, bool expected)
{
    if ((strstr(program->said, part) != NULL) != expected)
        fail_msg("got '%s', expected '%s' %s it", program->said, part,
                 expected ? "in" : "nowhere in");
}

static int start_agent(const struct proxy_options *options, struct ob_fault *fault)
{
    puts("agent started");
    return dup(STDERR_FILENO); /* behind which it would stand */
}

static int start_no_agent(const struct proxy_options *options, struct ob_fault *fault)
{
    return ob_fault_set(fault, -ENOSPC, "the agent has no room");
}

static int join_agent(struct proxy *proxy, int fd, void **ret_link, struct ob_fault *fault)
{
    puts("agent joined");
    close(fd);
    *ret_link = proxy;
    return 0;
}

static int join_no_agent(struct proxy *proxy, int fd, void **ret_link, struct ob_fault *fault)
{
    close(fd);
    return ob_fault_set(fault, -ENOMEM, "no memory for the agent");
}

// cppcheck-suppress constParameterCallback ; the type of an agent's end
static void leave_agent(struct proxy *proxy, void *link) // cppcheck-suppress constParameter
{
    puts(link == proxy ? "agent left" : "another agent left");
}

static const struct serve_agent agent = {
    .start = start_agent, .join = join_agent, .leave = leave_agent};
static const struct serve_agent broken_agent = {
    .start = start_no_agent, .join = join_agent, .leave = leave_agent};
static const struct serve_agent lost_agent = {
    .start = start_agent, .join = join_no_agent, .leave = leave_agent};

static void print_cell_names_the_parts(void **state)
{
    struct program program = {.words = {"-stcp=tcp:127.0.0.1:1"}, .prints = true};
    run(&program);
    assert_int_equal(program.status, EXIT_SUCCESS);
    expect_said(&program, "no privileges by exec", true);
    expect_said(&program, "listed system calls only", true);
    program = (struct program){.words = {"--cell=none"}, .prints = true};
    run(&program);
    assert_string_equal(program.said, "no cell (--cell=none)\n");
}

static void print_cell_starts_no_agent(void **state)
{
    struct program program = {.words = {"--allow-agent"}, .agent = &agent, .prints = true};
    run(&program);
    assert_int_equal(program.status, EXIT_SUCCESS);
    expect_said(&program, "listed system calls only", true);
    expect_said(&program, "agent", false);
}

static void an_agent_is_started_where_the_other_end_may_use_it(void **state)
{
    static const char *const options[] = {"--allow-agent", "--trust-peer"};
    for (size_t i = 0; i < 4; i++) {
        struct program program = {.words = {options[i % 2], i < 2 ? "--cell=none" : NULL},
                                  .agent = &agent,
                                  .has_channel = true};
        run(&program);
        expect_said(&program, "agent started\nagent joined\nagent left\n", true);
        program.agent = NULL;
        run(&program);
        expect_said(&program, "agent", false);
    }
    struct program program = {
        .words = {"-stcp=tcp:127.0.0.1:1"}, .agent = &agent, .has_channel = true};
    run(&program);
    expect_said(&program, "agent", false);
}

static void an_agent_that_can_not_start_is_the_end(void **state)
{
    struct program program = {
        .words = {"--allow-agent", "--cell=none"}, .agent = &broken_agent, .has_channel = true};
    run(&program);
    assert_int_equal(program.status, EXIT_FAILURE);
    expect_said(&program, "the agent has no room", true);
    program.agent = &lost_agent;
    run(&program);
    assert_int_equal(program.status, EXIT_FAILURE);
    expect_said(&program, "no memory for the agent", true);
    expect_said(&program, "agent left", false);
}

/* A policy that can't be read is told before anything is opened or started. */
static void a_cell_that_can_not_be_prepared_is_the_end(void **state)
{
    struct program program = {.words = {"--cell-policy=/there/is/none"}, .has_channel = true};
    run(&program);
    assert_int_equal(program.status, EXIT_FAILURE);
    expect_said(&program, "can't read /there/is/none", true);
    program.prints = true;
    run(&program);
    assert_int_equal(program.status, EXIT_FAILURE);
    expect_said(&program, "can't read /there/is/none", true);
}

static void a_proxy_that_can_not_listen_fails(void **state)
{
    struct program program = {.words = {"--cell=none", "-Lunix:/dev/null:web"},
                              .has_channel = true};
    run(&program);
    assert_int_equal(program.status, EXIT_FAILURE);
    expect_said(&program, "can't listen at unix:/dev/null: ", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(print_cell_names_the_parts),
        TEST(print_cell_starts_no_agent),
        TEST(an_agent_is_started_where_the_other_end_may_use_it),
        TEST(an_agent_that_can_not_start_is_the_end),
        TEST(a_cell_that_can_not_be_prepared_is_the_end),
        TEST(a_proxy_that_can_not_listen_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/connector.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "endpoint/outside.h"
#include "os/clock.h"
#include "os/socket.h"

#define PATIENCE_NS 20000000000u
#define WORDS       8
#define TEXT_LEN    256

/* A connector of a proxy with these options, and the folder that stands for "@" in them. */
struct party {
    char folder[32];
    char texts[WORDS][TEXT_LEN];
    struct proxy_options options;
    int fd;
    uint32_t last_id;
};

static void put_folder(const struct party *party, const char *text, char ret_text[TEXT_LEN])
{
    const char *at = strchr(text, '@');
    snprintf(ret_text, TEXT_LEN, "%.*s%s%s", (int)(at ? at - text : (int)strlen(text)), text,
             at ? party->folder : "", at ? at + 1 : "");
}

static void start(struct party *party, const char *const *words)
{
    struct ob_fault fault = {0};
    char *argv[WORDS + 1] = {(char *)"proxy"};
    int argc = 1;
    *party = (struct party){.folder = "/tmp/ob-connector-XXXXXX"};
    assert_non_null(mkdtemp(party->folder));
    for (; words[argc - 1]; argc++) {
        put_folder(party, words[argc - 1], party->texts[argc - 1]);
        argv[argc] = party->texts[argc - 1];
    }
    if (proxy_options_parse(argc, argv, &party->options, &fault) < 0)
        fail_msg("%s", fault.text);
    party->fd = connector_start(&party->options, 1024);
    assert_true(party->fd >= 0);
}

/* The connector ends with its proxy, and is gone from the folder then. */
static void stop(struct party *party)
{
    int status;
    close(party->fd);
    assert_true(wait(&status) > 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    proxy_options_done(&party->options);
    assert_int_equal(rmdir(party->folder), 0);
}

static void send_request(struct party *party, const struct outside_request *request, int fd)
{
    assert_int_equal(socket_send(party->fd, request, sizeof(*request), fd), sizeof(*request));
}

/* Its first descriptor, or what it says. */
static int receive(struct party *party, struct outside_answer *ret_answer)
{
    struct received_fds fds;
    assert_int_equal(socket_wait(party->fd, POLLIN, clock_now_ns() + PATIENCE_NS), 0);
    assert_int_equal(socket_receive(party->fd, ret_answer, sizeof(*ret_answer), &fds),
                     sizeof(*ret_answer));
    for (unsigned i = 1; i < fds.count; i++)
        close(fds.fd[i]);
    return fds.count ? fds.fd[0] : ret_answer->result;
}

static int ask(struct party *party, enum outside_verb verb, const char *text)
{
    struct outside_request request = {.verb = verb, .id = ++party->last_id};
    struct outside_answer answer;
    char whole[TEXT_LEN];
    put_folder(party, text, whole);
    snprintf(request.text, sizeof(request.text), "%s", whole);
    send_request(party, &request, -1);
    int result = receive(party, &answer);
    assert_int_equal(answer.id, request.id);
    return result;
}

/* number: bytes of arguments, as the request says. */
static int ask_to_run_so_much(struct party *party, const char *service, bool declared,
                              const char *argument, int32_t number)
{
    struct outside_request request = {
        .verb = OUTSIDE_RUN, .id = ++party->last_id, .declared = declared, .number = number};
    struct outside_answer answer;
    int fd = memfd_create("arguments", MFD_CLOEXEC);
    snprintf(request.text, sizeof(request.text), "%s", service);
    if (argument)
        assert_int_equal(write(fd, argument, strlen(argument) + 1), strlen(argument) + 1);
    send_request(party, &request, fd);
    close(fd);
    return receive(party, &answer);
}

static int ask_to_run(struct party *party, const char *service, bool declared, const char *argument)
{
    int32_t number = argument ? (int32_t)strlen(argument) + 1 : 0;
    return ask_to_run_so_much(party, service, declared, argument, number);
}

static bool is_there(const struct party *party, const char *name)
{
    char path[TEXT_LEN];
    struct stat status;
    snprintf(path, sizeof(path), "%s/%s", party->folder, name);
    return lstat(path, &status) == 0;
}

static void it_listens_where_options_say_and_nowhere_else(void **state)
{
    const char *const words[] = {"--channel=unix-listen:@/channel", "--control=@/control",
                                 "-Lunix:@/forward:app", "--allow-listen=127.0.0.1:*", NULL};
    struct party party;
    struct stat status;
    char path[TEXT_LEN];
    start(&party, words);
    for (size_t i = 0; i < 3; i++) {
        static const char *const own[] = {"unix:@/channel", "unix:@/control", "unix:@/forward"};
        int fd = ask(&party, OUTSIDE_LISTEN, own[i]);
        assert_true(socket_listens(fd));
        close(fd);
    }
    put_folder(&party, "@/control", path);
    assert_int_equal(lstat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    int fd = ask(&party, OUTSIDE_LISTEN, "tcp:127.0.0.1:0");
    assert_true(socket_listens(fd));
    close(fd);
    static const char *const others[] = {"unix:@/another", "tcp:0.0.0.0:0", "tcp:localhost:0",
                                         "vsock:1:1",      "unix:",         ""};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_int_equal(ask(&party, OUTSIDE_LISTEN, others[i]), -EACCES);
    stop(&party);
}

static void it_connects_where_options_say_and_nowhere_else(void **state)
{
    const char *const words[] = {"--channel=unix:@/channel", "--service=app=unix:@/app",
                                 "--deny-connect=127.0.0.2:*", "--allow-connect=127.0.0.0/8:1",
                                 NULL};
    struct party party;
    start(&party, words);
    assert_int_equal(ask(&party, OUTSIDE_DIAL, "unix:@/channel"), -ENOENT);
    assert_int_equal(ask(&party, OUTSIDE_DIAL, "unix:@/app"), -ENOENT);
    assert_int_equal(ask(&party, OUTSIDE_DIAL, "tcp:127.0.0.1:1"), -ECONNREFUSED);
    static const char *const others[] = {"unix:@/another", "tcp:127.0.0.1:2", "tcp:127.0.0.2:1",
                                         "tcp:127.1:1",    "vsock:2:1",       "tcp:0.0.0.0:1"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_int_equal(ask(&party, OUTSIDE_DIAL, others[i]), -EACCES);
    stop(&party);
}

/* A peer's word for what a service declares is not the service's name. */
static void what_a_peer_names_is_judged_by_rules_alone(void **state)
{
    const char *const words[] = {"--channel=unix:@/channel", "--service=app=tcp:127.0.0.1:1", NULL};
    struct party party;
    start(&party, words);
    struct outside_request request = {
        .verb = OUTSIDE_DIAL, .id = 1, .by_rules = 1, .text = "tcp:127.0.0.1:1"};
    struct outside_answer answer;
    send_request(&party, &request, -1);
    assert_int_equal(receive(&party, &answer), -EACCES);
    stop(&party);
}

static void it_runs_what_services_declare_and_nothing_else(void **state)
{
    const char *const words[] = {"--channel=unix:@/channel", "--service=hello=exec:echo hello",
                                 "--service=app=unix:@/app", NULL};
    struct party party;
    struct outside_answer answer;
    char text[8] = "";
    start(&party, words);
    assert_int_equal(ask_to_run(&party, "hello", false, "true"), -EACCES);
    assert_int_equal(ask_to_run(&party, "app", true, NULL), -EACCES);
    assert_int_equal(ask_to_run(&party, "another", true, NULL), -EACCES);
    struct outside_request request = {
        .verb = OUTSIDE_RUN, .id = 77, .declared = 1, .joined = 1, .text = "hello"};
    int arguments = memfd_create("arguments", MFD_CLOEXEC);
    send_request(&party, &request, arguments);
    close(arguments);
    int fd = receive(&party, &answer);
    assert_int_equal(socket_wait(fd, POLLIN, clock_now_ns() + PATIENCE_NS), 0);
    assert_int_equal(read(fd, text, sizeof(text)), 6);
    assert_memory_equal(text, "hello\n", 6);
    assert_int_equal(receive(&party, &answer), 0);
    assert_true(answer.exited && answer.id == 77);
    close(fd);
    stop(&party);
}

static void arguments_are_run_where_that_is_allowed(void **state)
{
    const char *const words[] = {"--channel=unix:@/channel", "--allow-run", NULL};
    struct party party;
    struct outside_answer answer;
    start(&party, words);
    int nothing = ask_to_run(&party, "@run", false, "/there/is/none");
    assert_true(nothing >= 0);
    receive(&party, &answer);
    assert_true(answer.exited && child_exec_error(answer.result) == ENOENT);
    close(nothing);
    assert_int_equal(ask_to_run(&party, "@run", false, NULL), -EINVAL);
    assert_int_equal(ask_to_run_so_much(&party, "@run", false, "true", -1), -EINVAL);
    assert_int_equal(ask_to_run_so_much(&party, "@run", false, "true", 6), -EINVAL);
    assert_int_equal(ask_to_run_so_much(&party, "@run", false, "true", LIMIT_RUN_ARGUMENTS + 1),
                     -E2BIG);
    int fd = ask_to_run(&party, "@run", false, "sleep"); /* says that it wants an operand */
    assert_true(fd >= 0);
    struct outside_request request = {
        .verb = OUTSIDE_SIGNAL, .id = party.last_id, .number = SIGKILL};
    send_request(&party, &request, -1);
    receive(&party, &answer);
    assert_true(answer.exited);
    close(fd);
    stop(&party);
}

static void a_channel_without_a_device_has_none_to_open(void **state)
{
    const char *const words[] = {"--channel=unix:@/channel", NULL};
    struct party party;
    start(&party, words);
    assert_int_equal(ask(&party, OUTSIDE_OPEN, ""), -EACCES);
    int fd = ask(&party, OUTSIDE_WATCH, "");
    assert_true(fd >= 0);
    close(fd);
    stop(&party);
}

static void paths_go_with_their_listener_or_with_the_proxy(void **state)
{
    const char *const words[] = {"--channel=unix-listen:@/channel", "-Lunix:@/forward:app", NULL};
    struct party party;
    start(&party, words);
    close(ask(&party, OUTSIDE_LISTEN, "unix:@/forward"));
    close(ask(&party, OUTSIDE_LISTEN, "unix:@/channel"));
    assert_true(is_there(&party, "forward"));
    struct outside_request request = {.verb = OUTSIDE_UNLISTEN, .id = 1};
    send_request(&party, &request, -1);
    assert_int_equal(ask(&party, OUTSIDE_OPEN, ""), -EACCES); /* behind it */
    assert_false(is_there(&party, "forward"));
    assert_true(is_there(&party, "channel"));
    stop(&party);
}

static void what_is_no_request_ends_it(void **state)
{
    const char *const words[] = {"--channel=unix:@/channel", NULL};
    const struct outside_request bad[] = {
        {.verb = 0, .id = 1},
        {.verb = 99, .id = 1},
        {.verb = OUTSIDE_OPEN, .id = 0},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]) + 2; i++) {
        struct party party;
        struct outside_request request = {.verb = OUTSIDE_OPEN, .id = 1};
        char byte;
        start(&party, words);
        if (i < sizeof(bad) / sizeof(bad[0]))
            request = bad[i];
        else if (i == sizeof(bad) / sizeof(bad[0]))
            memset(request.text, 'x', sizeof(request.text)); /* without an end */
        size_t len = sizeof(request) - (i == sizeof(bad) / sizeof(bad[0]) + 1);
        assert_int_equal(send(party.fd, &request, len, MSG_NOSIGNAL), len);
        assert_int_equal(socket_wait(party.fd, POLLIN, clock_now_ns() + PATIENCE_NS), 0);
        assert_true(recv(party.fd, &byte, 1, 0) <= 0);
        stop(&party);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_listens_where_options_say_and_nowhere_else),
        TEST(it_connects_where_options_say_and_nowhere_else),
        TEST(what_a_peer_names_is_judged_by_rules_alone),
        TEST(it_runs_what_services_declare_and_nothing_else),
        TEST(arguments_are_run_where_that_is_allowed),
        TEST(a_channel_without_a_device_has_none_to_open),
        TEST(paths_go_with_their_listener_or_with_the_proxy),
        TEST(what_is_no_request_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

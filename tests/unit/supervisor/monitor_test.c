// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/monitor.h"

#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "os/closer.h"
#include "os/socket.h"

#define EVENTS 4000

struct fixture {
    struct loop *loop;
    struct timers timers;
    struct monitor *monitor;
    struct monitor *view;      /* of device "d"; NULL: none */
    struct monitor_call *call; /* not answered yet */
    char folder[32], path[64];
    int fd; /* of the client */
    char text[1 << 20];
    size_t len; /* received by the client */
};

static void on_call(void *argument, struct monitor_call *call)
{
    struct fixture *f = argument;
    if (strcmp(monitor_command(call), "later") == 0) {
        f->call = call;
        return;
    }
    if (strcmp(monitor_command(call), "free") == 0) {
        monitor_free(f->view);
        f->view = NULL;
    }
    monitor_want_events(call, true);
    json_out_string(monitor_out(call), "done");
    monitor_answer(call);
}

static struct fixture *start(void)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct ob_fault fault = {0};
    assert_non_null(f);
    assert_int_equal(closer_start(), 0);
    strcpy(f->folder, "/tmp/monitor-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof(f->path), "%s/control", f->folder);
    timers_init(&f->timers);
    assert_int_equal(loop_new(&f->loop), 0);
    const struct monitor_config config = {.loop = f->loop,
                                          .timers = &f->timers,
                                          .path = f->path,
                                          .machine = "m",
                                          .called = on_call,
                                          .argument = f};
    assert_int_equal(monitor_new(&config, &f->monitor, &fault), 0);
    f->fd = socket_connect(f->path, 1000);
    assert_true(f->fd >= 0);
    return f;
}

static void end(struct fixture *f)
{
    monitor_free(f->monitor);
    loop_free(f->loop);
    if (f->fd >= 0)
        close(f->fd);
    assert_int_equal(access(f->path, F_OK), -1);
    assert_int_equal(rmdir(f->folder), 0);
    closer_stop(1000);
    free(f);
}

/* Receives until the text holds the word. */
static void receive_until(struct fixture *f, const char *word)
{
    while (!strstr(f->text, word)) {
        ssize_t got = recv(f->fd, f->text + f->len, sizeof(f->text) - f->len - 1, MSG_DONTWAIT);
        f->len += got > 0 ? (size_t)got : 0;
        loop_wait(f->loop, 0);
    }
}

static void say(struct fixture *f, const char *text)
{
    assert_int_equal(send(f->fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static unsigned occurrences(const char *text, const char *word)
{
    unsigned number = 0;
    for (const char *at = strstr(text, word); at; at = strstr(at + 1, word))
        number++;
    return number;
}

static void test_answers_carry_the_id(void **state)
{
    struct fixture *f = start();
    say(f, "{\"execute\": \"now\", \"id\": {\"a\": [1]}} {\"execute\":\"now\"}");
    receive_until(f, "\"id\": {\"a\": [1]}}\n{\"return\": \"done\"}\n");
    assert_non_null(strstr(f->text, "\"capabilities\": [\"events\"]"));
    end(f);
}

/* A client that is slow gets fewer events, and is told how many fewer. */
static void test_events_that_are_lost_are_counted(void **state)
{
    struct fixture *f = start();
    unsigned lost = 0;
    say(f, "{\"execute\": \"now\"}");
    receive_until(f, "done");
    for (unsigned i = 0; i < EVENTS; i++)
        monitor_event(f->monitor, "TICK",
                      "{\"text\": \"a text that makes the event longer than it "
                      "would be without this text, which is long\"}");
    receive_until(f, "EVENTS_LOST");
    const char *at = strstr(f->text, "EVENTS_LOST\", \"data\": {\"count\": ");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "EVENTS_LOST\", \"data\": {\"count\": %u", &lost), 1);
    assert_true(lost > 0);
    assert_int_equal(occurrences(f->text, "\"event\": \"TICK\""), EVENTS - lost);
    end(f);
}

static void test_an_answer_to_a_client_that_has_gone(void **state)
{
    struct fixture *f = start();
    say(f, "{\"execute\": \"later\"}");
    while (!f->call)
        loop_wait(f->loop, -1);
    close(f->fd);
    f->fd = -1;
    loop_wait(f->loop, -1);
    monitor_answer(f->call);
    monitor_event(f->monitor, "TICK", NULL);
    end(f);
}

/* While a call is carried out, nothing more is read of its client. */
static void test_one_call_at_a_time(void **state)
{
    struct fixture *f = start();
    say(f, "{\"execute\": \"later\", \"id\": 1}{\"execute\": \"now\", \"id\": 2}");
    while (!f->call)
        loop_wait(f->loop, -1);
    monitor_refuse(f->call, MONITOR_GENERIC, "no %s", "way");
    receive_until(f, "\"desc\": \"no way\"}, \"id\": 1}\n{\"return\": \"done\", \"id\": 2}\n");
    end(f);
}

static void test_a_request_that_is_too_long(void **state)
{
    struct fixture *f = start();
    static char text[LIMIT_MONITOR_REQUEST + 4096];
    memset(text, 'x', sizeof(text));
    text[0] = '{';
    text[1] = '"';
    ssize_t sent = 0;
    for (size_t at = 0; at<sizeof(text); at += sent> 0 ? (size_t)sent : 0) {
        sent = send(f->fd, text + at, sizeof(text) - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        loop_wait(f->loop, 0);
        if (sent < 0 && strstr(f->text, "GenericError"))
            break;
    }
    receive_until(f, "got a request of more than 65536 bytes");
    end(f);
}

static void open_view(struct fixture *f, char path[80])
{
    struct ob_fault fault = {0};
    snprintf(path, 80, "%s.view", f->path);
    assert_int_equal(monitor_new_view(f->monitor, path, NULL, "d", &f->view, &fault), 0);
    close(f->fd);
    f->fd = socket_connect(path, 1000);
    assert_true(f->fd >= 0);
}

/* Calls by a view are about its device, whatever they say. */
static void test_a_view_names_its_device(void **state)
{
    struct fixture *f = start();
    char path[80];
    open_view(f, path);
    say(f, "{\"execute\": \"later\", \"arguments\": {\"device\": \"other\"}}");
    receive_until(f, "\"device\": \"d\"");
    while (!f->call)
        loop_wait(f->loop, -1);
    assert_string_equal(monitor_device(f->call), "d");
    assert_string_equal(monitor_text(f->call, "device"), "d");
    monitor_answer(f->call);
    receive_until(f, "{\"return\": {}}");
    monitor_free(f->view);
    assert_int_equal(access(path, F_OK), -1);
    end(f);
}

/* A device may go while a client of its view is served; an answer that comes later goes nowhere. */
static void test_a_view_that_is_freed_in_a_call(void **state)
{
    static const char *const requests[] = {"{\"execute\": \"free\"}", "{\"execute\": \"later\"}"};
    for (unsigned i = 0; i < 2; i++) {
        struct fixture *f = start();
        char path[80], byte;
        open_view(f, path);
        receive_until(f, "\"capabilities\"");
        say(f, requests[i]);
        while (f->view && !f->call)
            loop_wait(f->loop, -1);
        monitor_free(f->view);
        if (f->call)
            monitor_answer(f->call);
        while (recv(f->fd, &byte, 1, 0) > 0)
            ;
        end(f);
    }
}

static void test_clients_of_a_view_are_few(void **state)
{
    struct fixture *f = start();
    char path[80];
    int fds[LIMIT_VIEW_CLIENTS];
    open_view(f, path);
    receive_until(f, "\"capabilities\"");
    for (unsigned i = 0; i < LIMIT_VIEW_CLIENTS; i++) {
        fds[i] = socket_connect(path, 1000);
        assert_true(fds[i] >= 0);
        loop_wait(f->loop, -1);
    }
    f->len = (size_t)recv(fds[LIMIT_VIEW_CLIENTS - 1], f->text, sizeof(f->text) - 1, 0);
    f->text[f->len] = '\0';
    assert_non_null(strstr(f->text, "as many clients as this socket takes"));
    for (unsigned i = 0; i < LIMIT_VIEW_CLIENTS; i++)
        close(fds[i]);
    monitor_free(f->view);
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_answers_carry_the_id),
        TEST(test_events_that_are_lost_are_counted),
        TEST(test_an_answer_to_a_client_that_has_gone),
        TEST(test_one_call_at_a_time),
        TEST(test_a_request_that_is_too_long),
        TEST(test_a_view_names_its_device),
        TEST(test_a_view_that_is_freed_in_a_call),
        TEST(test_clients_of_a_view_are_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

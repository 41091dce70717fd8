// SPDX-License-Identifier: BSD-3-Clause
/* A proxy's life: what fails at its start, what ends it, and with which status. */
#include "proxy/proxy.h"

#include "caller.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "failing_alloc.h"

#define WORDS 12

/* A proxy by itself, whose channel is one end of a pair. */
struct alone {
    struct proxy proxy;
    struct proxy_options options;
    struct ob_fault fault;
    char text[512];
    char *argv[WORDS];
    int given, channel; /* the proxy's end and the other */
};

/* words: options, with spaces between. */
static void prepare(struct alone *alone, const char *words)
{
    int pair[2], argc = 1;
    char *rest;
    *alone = (struct alone){.channel = -1};
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    alone->channel = pair[1];
    alone->given = pair[0];
    snprintf(alone->text, sizeof(alone->text), "-c fd:%d %s", pair[0], words);
    alone->argv[0] = (char *)"proxy";
    for (char *word = strtok_r(alone->text, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        alone->argv[argc++] = word;
    assert_int_equal(proxy_options_parse(argc, alone->argv, &alone->options, &alone->fault),
                     PROXY_RUN);
}

/* connector_fd: taken; -1: none. Returns what init returns. */
static int start(struct alone *alone, int connector_fd)
{
    int err = proxy_init_in_cell(&alone->proxy, &alone->options, connector_fd, 1024, &alone->fault);
    if (err < 0)
        close(alone->given); /* which no channel has taken */
    return err;
}

static int begin(struct alone *alone, const char *words)
{
    prepare(alone, words);
    return start(alone, -1);
}

static void end(struct alone *alone)
{
    proxy_done(&alone->proxy);
    proxy_options_done(&alone->options);
    close(alone->channel);
    log_end();
}

/* Until it stops. It has the test's patience only: the alarm ends the program. */
static void run_out(struct alone *alone)
{
    alarm(20);
    while (!alone->proxy.stop)
        assert_true(proxy_turn(&alone->proxy, true) >= 0);
    alarm(0);
}

static void what_it_can_not_listen_at_is_named_and_it_comes_to_nothing(void **state)
{
    static const struct {
        const char *words, *fault;
        int err;
    } rows[] = {
        {"-L unix:/no/such/folder/s:web", "can't listen at unix:/no/such/folder/s: ", -ENOENT},
        {"-L unix:/dev/null:web", "can't listen at unix:/dev/null: ", -EEXIST},
        {"--control=/no/such/folder/control", "/no/such/folder/control", -ENOENT},
        {"--stock-qga-socket=/no/such/folder/qga",
         "can't listen at /no/such/folder/qga: ", -ENOENT},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct alone alone;
        assert_int_equal(begin(&alone, rows[i].words), rows[i].err);
        if (!strstr(alone.fault.text, rows[i].fault))
            fail_msg("got '%s', expected '%s'", alone.fault.text, rows[i].fault);
        end(&alone);
    }
}

/* After each failure, all that was made before is undone: the paths, the thread, each descriptor. */
static void allocations_that_fail_at_the_start_leave_nothing(void **state)
{
    char folder[] = "/tmp/ob-proxy-XXXXXX", words[300];
    unsigned nth = 1;
    assert_non_null(mkdtemp(folder));
    snprintf(words, sizeof(words),
             "-L unix:%s/front:web --control=%s/control --stock-qga-socket=%s/qga -R "
             "unix:/there:cat -s cat=exec:cat",
             folder, folder, folder);
    for (bool failed = true; failed;) {
        struct alone alone;
        prepare(&alone, words);
        fail_allocation(nth++);
        int err = start(&alone, -1);
        failed = allocation_failed();
        assert_true(err == 0 || err == -ENOMEM); /* 0, too, for one that it can do without */
        assert_true(failed || err == 0);
        assert_true(err == 0 || alone.fault.text[0]);
        end(&alone);
    }
    assert_int_equal(rmdir(folder), 0);
}

static void a_signal_stops_it(void **state)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct alone alone;
        assert_int_equal(begin(&alone, ""), 0);
        assert_int_equal(proxy_turn(&alone.proxy, false) >= 0, 1);
        assert_false(alone.proxy.stop);
        assert_int_equal(raise(numbers[i]), 0); /* blocked, and read by the loop */
        run_out(&alone);
        assert_int_equal(alone.proxy.exit_status, EXIT_SUCCESS);
        end(&alone);
    }
}

/* No session has stood, and the peer said nothing that would make its going an orderly end. */
static void a_channel_that_goes_before_a_session_ends_it(void **state)
{
    struct alone alone;
    assert_int_equal(begin(&alone, ""), 0);
    assert_int_equal(shutdown(alone.channel, SHUT_RDWR), 0);
    run_out(&alone);
    end(&alone);
}

static bool has_stopped(void *argument)
{
    return ((struct caller *)argument)->lab.ends[LAB_OURS].proxy.stop;
}

static int status_after(uint32_t reason)
{
    struct caller caller;
    caller_start(&caller, "");
    ob_session_end(caller.session, reason, 0);
    struct lab_end *other = &caller.lab.ends[LAB_THE_OTHER];
    struct iovec spans[8];
    while (ob_session_transmit(caller.session, spans, 8, 0) > 0) {
        ssize_t len = send(other->channel, spans[0].iov_base, spans[0].iov_len, MSG_NOSIGNAL);
        assert_true(len > 0);
        ob_session_transmitted(caller.session, len);
    }
    shutdown(other->channel, SHUT_RDWR);
    caller_until(&caller, has_stopped, &caller);
    int status = caller.lab.ends[LAB_OURS].proxy.exit_status;
    assert_int_equal(caller.lab.ends[LAB_OURS].proxy.history.ended_reason, reason);
    caller_stop(&caller);
    return status;
}

static void the_status_tells_an_orderly_end_from_another(void **state)
{
    assert_int_equal(status_after(OB_REASON_NONE), EXIT_SUCCESS);
    assert_int_equal(status_after(OB_REASON_SHUTDOWN), EXIT_FAILURE);
    assert_int_equal(status_after(OB_REASON_TIMEOUT), EXIT_FAILURE);
}

/* A proxy in a cell can do nothing without the process outside. */
static void a_connector_that_goes_is_the_end_with_failure(void **state)
{
    struct alone alone;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    prepare(&alone, "");
    assert_int_equal(start(&alone, pair[0]), 0);
    assert_true(proxy_turn(&alone.proxy, false) >= 0);
    assert_false(alone.proxy.stop);
    close(pair[1]);
    run_out(&alone);
    assert_int_equal(alone.proxy.exit_status, EXIT_FAILURE);
    end(&alone);
}

static void the_connector_is_taken_even_when_the_start_fails(void **state)
{
    struct alone alone;
    int pair[2];
    char byte;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    close(pair[1]); /* nobody answers */
    prepare(&alone, "-L unix:/dev/null:web");
    assert_true(start(&alone, pair[0]) < 0);
    end(&alone);
    assert_int_equal(read(pair[0], &byte, 1), -1);
    assert_int_equal(errno, EBADF);
}

static void a_launcher_is_told_once_that_it_is_ready(void **state)
{
    struct alone alone;
    int pair[2];
    char text[64] = {0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(begin(&alone, ""), 0);
    assert_int_equal(raise(SIGTERM), 0);
    assert_int_equal(proxy_run(&alone.proxy, pair[0]), EXIT_SUCCESS);
    assert_int_equal(recv(pair[1], text, sizeof(text) - 1, MSG_DONTWAIT), 8);
    assert_string_equal(text, "READY=1\n");
    assert_int_equal(recv(pair[1], text, sizeof(text), MSG_DONTWAIT), -1);
    close(pair[0]);
    close(pair[1]);
    end(&alone);
}

static bool peer_has_ended(void *argument)
{
    return ob_session_tag(((struct caller *)argument)->session) == 0;
}

/* Its end is told to the peer, so that both ends of each stream learn of it at once. */
static void its_end_is_told_to_the_peer(void **state)
{
    struct caller caller;
    uint8_t bytes[4096];
    ssize_t len;
    caller_start(&caller, "-s cat=exec:cat");
    assert_int_equal(caller_open(&caller, "cat", ""), CALL_ACCEPTED);
    struct lab_end *ours = &caller.lab.ends[LAB_OURS];
    proxy_done(&ours->proxy);
    proxy_options_done(&ours->options);
    caller.lab.num_proxies = 0; /* it is done */
    while ((len = recv(caller.lab.ends[LAB_THE_OTHER].channel, bytes, sizeof(bytes),
                       MSG_DONTWAIT)) > 0)
        ob_session_receive(caller.session, bytes, (size_t)len, 1);
    assert_true(peer_has_ended(&caller));
    assert_int_equal(caller.state, CALL_ENDED);
    assert_int_equal(caller.reason, OB_REASON_SHUTDOWN);
    ours->has_pair = true; /* and has closed its channel */
    caller_stop(&caller);
}

static void the_limit_of_descriptors_is_raised_and_told(void **state)
{
    struct rlimit before, after;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit lower = {.rlim_cur = 256, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &lower), 0);
    assert_int_equal(proxy_allow_descriptors(), 256);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &after), 0);
    assert_int_equal(after.rlim_cur, before.rlim_max);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void a_client_of_the_control_socket_is_adopted(void **state)
{
    struct caller caller;
    int pair[2];
    char line[100];
    caller_start(&caller, "");
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(proxy_adopt_control(&caller.lab.ends[LAB_OURS].proxy, pair[0]), 0);
    lab_send(pair[1], "WAIT\n", 5);
    lab_read_line(&caller.lab, pair[1], line, sizeof(line));
    assert_memory_equal(line, "UP ", 3);
    close(pair[1]);
    caller_stop(&caller);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_it_can_not_listen_at_is_named_and_it_comes_to_nothing),
        TEST(allocations_that_fail_at_the_start_leave_nothing),
        TEST(a_signal_stops_it),
        TEST(a_channel_that_goes_before_a_session_ends_it),
        TEST(the_status_tells_an_orderly_end_from_another),
        TEST(a_connector_that_goes_is_the_end_with_failure),
        TEST(the_connector_is_taken_even_when_the_start_fails),
        TEST(a_launcher_is_told_once_that_it_is_ready),
        TEST(its_end_is_told_to_the_peer),
        TEST(the_limit_of_descriptors_is_raised_and_told),
        TEST(a_client_of_the_control_socket_is_adopted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
/* A listener opens a stream for each connection. */
#include "proxy/listener.h"

#include "caller.h"
#include "support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "failing_alloc.h"

static struct proxy *proxy_of(struct caller *caller)
{
    return &caller->lab.ends[LAB_OURS].proxy;
}

/* "unix:@/NAME:SERVICE", where "@" is the lab's folder. */
static struct forward forward_at(struct caller *caller, const char *name, const char *service)
{
    struct forward forward = {.listen.kind = ADDRESS_UNIX};
    lab_path(&caller->lab, name, forward.listen.name);
    snprintf(forward.service, sizeof(forward.service), "%s", service);
    return forward;
}

static struct listener *listen_at(struct caller *caller, const char *name, const char *service)
{
    const struct forward forward = forward_at(caller, name, service);
    struct listener *listener = NULL;
    assert_int_equal(listener_new(proxy_of(caller), &forward, &listener), 0);
    return listener;
}

static unsigned count_listeners(struct caller *caller)
{
    const struct list *listeners = &proxy_of(caller)->listeners;
    unsigned count = 0;
    for (const struct list *link = listeners->next; link != listeners; link = link->next)
        count++;
    return count;
}

static bool exists(struct caller *caller, const char *name)
{
    char path[108];
    return access(lab_path(&caller->lab, name, path), F_OK) == 0;
}

static void each_connection_has_a_stream_of_the_service(void **state)
{
    struct caller caller;
    int clients[3];
    caller_start(&caller, "");
    listen_at(&caller, "front", "web site");
    for (size_t i = 0; i < 3; i++) {
        caller.asked = NULL;
        clients[i] = lab_connect(&caller.lab, "front");
        caller_take(&caller);
        assert_string_equal(caller.service, "web site");
        assert_string_equal(caller.metadata, ""); /* the peer does not learn who connected */
    }
    assert_int_equal(ob_stream_write(caller.asked, "hello", 5), 5);
    lab_expect_text(&caller.lab, clients[2], "hello");
    for (size_t i = 0; i < 3; i++)
        close(clients[i]);
    caller_stop(&caller);
}

/* The agent's log at the other end names the client. */
static void a_client_of_the_agent_is_described(void **state)
{
    struct caller caller;
    char expected[CALLER_NAME];
    caller_start(&caller, "");
    listen_at(&caller, "agent", "@agent");
    int client = lab_connect(&caller.lab, "agent");
    caller_take(&caller);
    assert_string_equal(caller.service, "@agent");
    snprintf(expected, sizeof(expected), "uid %u, pid %d", geteuid(), getpid());
    assert_string_equal(caller.metadata, expected);
    close(client);
    caller_stop(&caller);
}

static void without_a_service_the_client_names_it_by_socks(void **state)
{
    struct caller caller;
    caller_start(&caller, "");
    listen_at(&caller, "socks", "");
    int client = lab_connect(&caller.lab, "socks");
    lab_send(client, "\5\1\0", 3);
    lab_expect(&caller.lab, client, "\5\0", 2);
    lab_send(client, "\5\1\0\3\7example\0\120", 14);
    caller_take(&caller);
    assert_string_equal(caller.service, "tcp:example:80");
    close(client);
    caller_stop(&caller);
}

static void a_refusal_of_the_peer_ends_the_connection(void **state)
{
    struct caller caller;
    caller_start(&caller, "");
    listen_at(&caller, "front", "web");
    int client = lab_connect(&caller.lab, "front");
    caller_take_none(&caller, OB_REASON_FORBIDDEN);
    lab_expect_end(&caller.lab, client);
    close(client);
    caller_stop(&caller);
}

static void without_a_session_a_connection_ends(void **state)
{
    struct caller caller;
    caller_start(&caller, "");
    listen_at(&caller, "front", "web");
    ob_session_end(proxy_of(&caller)->session, OB_REASON_SHUTDOWN, 0);
    int client = lab_connect(&caller.lab, "front");
    lab_expect_end(&caller.lab, client);
    close(client);
    caller_stop(&caller);
}

static void the_port_that_the_kernel_chose_is_told(void **state)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct caller caller;
    struct forward forward;
    struct ob_fault fault = {0};
    struct listener *listener;
    char text[ADDRESS_TEXT_MAX];
    unsigned port;
    caller_start(&caller, "");
    assert_int_equal(forward_parse("127.0.0.1:0:web", &forward, &fault), 0);
    assert_int_equal(listener_new(proxy_of(&caller), &forward, &listener), 0);
    listener_address(listener, text);
    assert_int_equal(sscanf(text, "tcp:127.0.0.1:%u", &port), 1);
    assert_true(port > 0 && port < 65536);
    to.sin_port = htons((uint16_t)port);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&to, sizeof(to)), 0);
    caller_take(&caller);
    assert_string_equal(caller.service, "web");
    close(client);
    caller_stop(&caller);
}

static void an_address_that_is_taken_is_an_errno(void **state)
{
    struct caller caller;
    struct listener *listener = NULL;
    char path[108];
    caller_start(&caller, "");
    listen_at(&caller, "front", "web");
    struct forward forward = forward_at(&caller, "front", "web");
    assert_int_equal(listener_new(proxy_of(&caller), &forward, &listener), -EADDRINUSE);
    lab_path(&caller.lab, "file", path);
    fclose(fopen(path, "we"));
    forward = forward_at(&caller, "file", "web");
    assert_int_equal(listener_new(proxy_of(&caller), &forward, &listener), -EEXIST);
    assert_true(exists(&caller, "file")); /* and is not ours to remove */
    forward = forward_at(&caller, "no/such/folder", "web");
    assert_int_equal(listener_new(proxy_of(&caller), &forward, &listener), -ENOENT);
    assert_null(listener);
    assert_int_equal(count_listeners(&caller), 1);
    caller_stop(&caller);
}

static void a_path_has_the_mode_of_the_options_and_goes_with_its_listener(void **state)
{
    struct caller caller;
    struct stat status;
    char path[108];
    caller_start(&caller, "--socket-mode=0640");
    struct listener *first = listen_at(&caller, "first", "web");
    listen_at(&caller, "second", "web");
    assert_int_equal(stat(lab_path(&caller.lab, "first", path), &status), 0);
    assert_int_equal(status.st_mode & 07777, 0640);
    listener_free(first);
    listener_free(NULL);
    assert_false(exists(&caller, "first"));
    assert_true(exists(&caller, "second"));
    assert_int_equal(count_listeners(&caller), 1);
    listener_free_all(proxy_of(&caller));
    assert_false(exists(&caller, "second"));
    assert_int_equal(count_listeners(&caller), 0);
    caller_stop(&caller);
}

static void allocations_that_fail_leave_no_listener(void **state)
{
    struct caller caller;
    caller_start(&caller, "");
    const struct forward forward = forward_at(&caller, "front", "web");
    for (unsigned nth = 1;; nth++) {
        struct listener *listener = NULL;
        fail_allocation(nth);
        int err = listener_new(proxy_of(&caller), &forward, &listener);
        if (!allocation_failed()) {
            assert_int_equal(err, 0);
            break;
        }
        assert_int_equal(err, -ENOMEM);
        assert_null(listener);
        assert_int_equal(count_listeners(&caller), 0);
        assert_false(exists(&caller, "front"));
    }
    caller_stop(&caller);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_connection_has_a_stream_of_the_service),
        TEST(a_client_of_the_agent_is_described),
        TEST(without_a_service_the_client_names_it_by_socks),
        TEST(a_refusal_of_the_peer_ends_the_connection),
        TEST(without_a_session_a_connection_ends),
        TEST(the_port_that_the_kernel_chose_is_told),
        TEST(an_address_that_is_taken_is_an_errno),
        TEST(a_path_has_the_mode_of_the_options_and_goes_with_its_listener),
        TEST(allocations_that_fail_leave_no_listener),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

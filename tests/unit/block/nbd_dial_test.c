// SPDX-License-Identifier: BSD-3-Clause
/* A name that nobody answers for: getaddrinfo(3) is the test's own, and waits in the connector for
 * as long as the test says. */
#include "block/nbd_dial.h"

#include "support.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of this process and the connector. */
static struct lookup {
    sem_t asked;    /* getaddrinfo() has been called */
    sem_t answered; /* it may return */
    bool ends;      /* the process, instead of returning */
} * lookup;

int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict ret_list)
{
    sem_post(&lookup->asked);
    while (sem_wait(&lookup->answered) < 0) {}
    if (lookup->ends)
        _exit(EXIT_SUCCESS);
    return EAI_FAIL;
}

static void wait_for(int fd)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    while (poll(&readable, 1, -1) < 0)
        assert_int_equal(errno, EINTR);
}

static void wait_for_lookup(void)
{
    while (sem_wait(&lookup->asked) < 0)
        assert_int_equal(errno, EINTR);
}

/* The thread that nobody waits for closes what it has. */
static void wait_for_threads(int descriptors)
{
    while (open_descriptors() != descriptors)
        sched_yield();
}

static struct nbd_connector *start(const char *uri)
{
    struct nbd_connector *connector = NULL;
    struct ob_fault fault = {0};
    assert_int_equal(nbd_connector_start(uri, &connector, &fault), 0);
    return connector;
}

/* The process ends with its device, and in good order. */
static void end(struct nbd_connector *connector)
{
    int status = -1;
    nbd_connector_free(connector);
    assert_true(wait(&status) > 0);
    assert_int_equal(status, 0);
}

static void a_name_is_looked_up_by_the_connector(void **state)
{
    struct nbd_connector *connector = start("nbd://images.test");
    struct nbd_dial *dial = NULL;
    struct ob_fault fault = {0};
    int descriptors = open_descriptors();
    assert_int_equal(nbd_dial_new(connector, &dial), 0);
    wait_for_lookup();
    assert_false(nbd_dial_has_ended(dial));
    sem_post(&lookup->answered);
    wait_for(nbd_dial_fd(dial));
    assert_true(nbd_dial_has_ended(dial));
    assert_null(nbd_dial_take(dial, &fault));
    assert_int_equal(fault.code, -ECONNREFUSED);
    assert_string_equal(fault.text, "connect: Non-recoverable failure in name resolution");
    nbd_dial_free(dial);
    wait_for_threads(descriptors);
    end(connector);
}

static void a_dial_is_left_while_a_name_is_looked_up(void **state)
{
    struct nbd_connector *connector = start("nbd://images.test");
    struct nbd_dial *dial = NULL, *next = NULL;
    int descriptors = open_descriptors();
    assert_int_equal(nbd_dial_new(connector, &dial), 0);
    wait_for_lookup();
    nbd_dial_hang_up(dial);
    wait_for(nbd_dial_fd(dial));
    nbd_dial_free(dial);
    wait_for_threads(descriptors);
    /* The next one's turn comes when the name is there. */
    assert_int_equal(nbd_dial_new(connector, &next), 0);
    sem_post(&lookup->answered);
    wait_for_lookup();
    sem_post(&lookup->answered);
    wait_for(nbd_dial_fd(next));
    nbd_dial_free(next);
    wait_for_threads(descriptors);
    end(connector);
}

/* A listener, and the URI that leads to it. */
static int listen_at(char *folder, struct sockaddr_un *address, char *uri, size_t size)
{
    assert_non_null(mkdtemp(folder));
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address->sun_path, sizeof(address->sun_path), "%s/nbd", folder);
    snprintf(uri, size, "nbd+unix:///?socket=%s/nbd", folder);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)address, sizeof(*address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void a_server_that_says_nothing_is_hung_up(void **state)
{
    char folder[] = "/tmp/outboard-dial-XXXXXX", uri[256];
    struct sockaddr_un address;
    int listening = listen_at(folder, &address, uri, sizeof(uri));
    struct nbd_connector *connector = start(uri);
    struct nbd_dial *dial = NULL;
    struct ob_fault fault = {0};
    int descriptors = open_descriptors();
    assert_int_equal(nbd_dial_new(connector, &dial), 0);
    assert_true(nbd_dial_any_runs());
    int connected = accept(listening, NULL, NULL);
    assert_false(nbd_dial_has_ended(dial));
    nbd_dial_hang_up(dial);
    wait_for(nbd_dial_fd(dial));
    assert_null(nbd_dial_take(dial, &fault));
    nbd_dial_free(dial);
    while (nbd_dial_any_runs())
        sched_yield();
    close(connected);
    wait_for_threads(descriptors);
    end(connector);
    close(listening);
    unlink(address.sun_path);
    rmdir(folder);
}

static void a_server_that_is_not_there_is_a_reason(void **state)
{
    struct nbd_connector *connector = start("nbd+unix:///?socket=/nowhere/at/all");
    struct nbd_dial *dial = NULL;
    struct ob_fault fault = {0};
    int descriptors = open_descriptors();
    assert_int_equal(nbd_dial_new(connector, &dial), 0);
    wait_for(nbd_dial_fd(dial));
    assert_null(nbd_dial_take(dial, &fault));
    assert_string_equal(fault.text, "connect: No such file or directory");
    nbd_dial_free(dial);
    wait_for_threads(descriptors);
    end(connector);
}

static void a_connector_that_is_gone_is_a_reason(void **state)
{
    struct nbd_connector *connector = start("nbd://images.test");
    struct nbd_dial *dial = NULL;
    struct ob_fault fault = {0};
    int descriptors = open_descriptors();
    assert_int_equal(nbd_dial_new(connector, &dial), 0);
    wait_for_lookup();
    lookup->ends = true;
    sem_post(&lookup->answered);
    wait_for(nbd_dial_fd(dial));
    assert_null(nbd_dial_take(dial, &fault));
    assert_string_equal(fault.text, "the process that connects has given up");
    nbd_dial_free(dial);
    wait_for_threads(descriptors);
    assert_int_equal(nbd_dial_new(connector, &dial), -EPIPE);
    wait_for_threads(descriptors);
    end(connector);
    lookup->ends = false;
}

/* Sends up to two descriptors; -1: none. */
static void send_fds(int socket_fd, const int fds[2])
{
    union {
        struct cmsghdr header;
        // cppcheck-suppress unusedStructMember ; room
        char space[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    size_t len = sizeof(int) * ((fds[0] >= 0) + (fds[1] >= 0));
    struct iovec byte = {.iov_base = "", .iov_len = 1};
    struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1};
    if (len > 0) {
        control.header = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(len), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), fds, len);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(len);
    }
    assert_int_equal(sendmsg(socket_fd, &message, 0), 1);
}

/* What a device that was taken over may send: it gets nothing but its own server, and the connector
 * outlives it. */
static void a_call_without_a_socket_is_dropped(void **state)
{
    struct nbd_connector *connector = start("nbd+unix:///?socket=/nowhere/at/all");
    int request = *(const int *)connector; /* its first member */
    int pipe_fds[2], pair[2];
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    const int batches[][2] = {{-1, -1}, {pipe_fds[1], -1}, {pair[0], pair[1]}};
    for (unsigned i = 0; i < 3; i++)
        send_fds(request, batches[i]);
    struct nbd_connected connected;
    int call = nbd_connector_call(connector);
    assert_true(call >= 0);
    nbd_connector_await(call, &connected);
    assert_int_equal(connected.fd, -1);
    assert_string_equal(connected.reason, "connect: No such file or directory");
    close(call);
    for (unsigned i = 0; i < 2; i++) {
        close(pipe_fds[i]);
        close(pair[i]);
    }
    end(connector);
}

static int share_lookup(void **state)
{
    lookup = mmap(NULL, sizeof(*lookup), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return lookup == MAP_FAILED || sem_init(&lookup->asked, 1, 0) < 0 ||
           sem_init(&lookup->answered, 1, 0) < 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_name_is_looked_up_by_the_connector),  TEST(a_dial_is_left_while_a_name_is_looked_up),
        TEST(a_server_that_says_nothing_is_hung_up), TEST(a_server_that_is_not_there_is_a_reason),
        TEST(a_connector_that_is_gone_is_a_reason),  TEST(a_call_without_a_socket_is_dropped),
    };
    return cmocka_run_group_tests(tests, share_lookup, NULL);
}

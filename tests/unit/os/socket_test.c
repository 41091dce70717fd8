// SPDX-License-Identifier: BSD-3-Clause
#include "os/socket.h"

#include "lingering.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/closer.h"
#include "os/event.h"

static void make_pair(int *pair)
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
}

static void close_pair(const int *pair)
{
    close(pair[0]);
    close(pair[1]);
}

static void close_received(const struct received_fds *fds)
{
    for (unsigned i = 0; i < fds->count; i++)
        close(fds->fd[i]);
}

/* Sends a byte with descriptors, the first half of them in one control message, the rest in
 * another. */
static void send_fds(int socket, int fd, unsigned count)
{
    unsigned counts[] = {count / 2, count - count / 2};
    size_t space = CMSG_SPACE(counts[0] * sizeof(int)) + CMSG_SPACE(counts[1] * sizeof(int));
    void *control = calloc(1, space);
    assert_non_null(control);
    char byte = 'x';
    struct iovec iov = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = space};
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
    for (unsigned part = 0; part < 2; part++, cmsg = CMSG_NXTHDR(&message, cmsg)) {
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(counts[part] * sizeof(int));
        for (unsigned i = 0; i < counts[part]; i++)
            memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &fd, sizeof(int));
    }
    assert_int_equal(sendmsg(socket, &message, 0), 1);
    free(control);
}

static void receives_what_was_sent(void **state)
{
    int pair[2];
    char buf[16];
    struct received_fds fds;
    make_pair(pair);
    assert_int_equal(socket_receive(pair[1], buf, sizeof(buf), &fds), -EAGAIN);
    assert_int_equal(socket_send(pair[0], "hello", 5, -1), 5);
    assert_int_equal(socket_receive(pair[1], buf, 2, &fds), 2);
    assert_int_equal(fds.count, 0);
    assert_int_equal(socket_receive(pair[1], buf + 2, sizeof(buf) - 2, &fds), 3);
    assert_memory_equal(buf, "hello", 5);
    close_pair(pair);
}

static void takes_the_descriptors_of_every_control_message(void **state)
{
    int pair[2], on = 1;
    char byte;
    struct received_fds fds;
    make_pair(pair);
    int event = eventfd(0, 0);
    send_fds(pair[0], event, 5);
    assert_int_equal(socket_receive(pair[1], &byte, 1, &fds), 1);
    assert_int_equal(fds.count, 5);
    for (unsigned i = 0; i < fds.count; i++)
        assert_int_equal(fcntl(fds.fd[i], F_GETFD), FD_CLOEXEC);
    close_received(&fds);

    /* Credentials are a control message of another kind, in front. */
    assert_int_equal(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
    send_fds(pair[0], event, 3);
    assert_int_equal(socket_receive(pair[1], &byte, 1, &fds), 1);
    assert_int_equal(fds.count, 3);
    close_received(&fds);
    close(event);
    close_pair(pair);
}

static void too_many_descriptors_are_refused_and_closed(void **state)
{
    int pair[2];
    char byte;
    struct received_fds fds;
    make_pair(pair);
    int event = eventfd(0, 0);
    send_fds(pair[0], event, LIMIT_FDS_PER_RECEIVE);
    assert_int_equal(socket_receive(pair[1], &byte, 1, &fds), 1);
    assert_int_equal(fds.count, LIMIT_FDS_PER_RECEIVE);
    close_received(&fds);
    int open = open_descriptors();
    for (unsigned more = 1; more < 200; more *= 3) {
        send_fds(pair[0], event, LIMIT_FDS_PER_RECEIVE + more);
        assert_int_equal(socket_receive(pair[1], &byte, 1, &fds), -EPROTO);
        assert_int_equal(fds.count, 0);
        assert_int_equal(open_descriptors(), open);
    }
    close(event);
    close_pair(pair);
}

/* That it comes to its end is the proof: whoever closes the last copy waits for a day. */
static void too_many_that_linger_keep_nobody_waiting(void **state)
{
    int pair[2], peer[2];
    char byte;
    struct received_fds fds;
    make_pair(pair);
    int fd = lingering_socket(&peer[0]);
    send_fds(pair[0], fd, LIMIT_FDS_PER_MESSAGE);
    close(fd);
    assert_int_equal(socket_receive(pair[1], &byte, 1, &fds), -EPROTO);
    fd = lingering_socket(&peer[1]);
    send_fds(pair[0], fd, 3);
    close(fd);
    assert_int_equal(socket_read(pair[1], &byte, 1), 1); /* where none are wanted */
    close_pair(pair);
    close(peer[0]);
    close(peer[1]);
}

/* A message whose descriptors find no number is closed by the kernel, in the receive. */
static void room_is_kept_for_the_next_message(void **state)
{
    int pair[2];
    char byte;
    struct received_fds fds[8] = {0};
    struct rlimit before;
    getrlimit(RLIMIT_NOFILE, &before);
    make_pair(pair);
    int event = eventfd(0, EFD_CLOEXEC);
    struct rlimit few = {.rlim_cur = (rlim_t)event + 65, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    ssize_t got = 1;
    unsigned messages = 0;
    for (; messages < 8 && got == 1; messages++) {
        send_fds(pair[0], event, 16);
        got = socket_receive(pair[1], &byte, 1, &fds[messages]);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(got, -EPROTO);
    assert_in_range(messages, 2, 3); /* of four that would fit */
    while (messages-- > 0)
        close_received(&fds[messages]);
    close(event);
    close_pair(pair);
}

static void descriptors_can_be_refused(void **state)
{
    int pair[2];
    char byte = 'x';
    make_pair(pair);
    socket_refuse_fds(pair[1]);
    int event = eventfd(0, EFD_CLOEXEC);
    ssize_t sent = socket_send(pair[0], &byte, 1, event);
    if (sent == 1)
        print_message("before Linux 6.16 the kernel refuses no descriptors\n");
    else
        assert_int_equal(sent, -EPERM);
    assert_int_equal(socket_send(pair[0], &byte, 1, -1), 1);
    assert_int_equal(socket_read(pair[1], &byte, 1), 1);
    close(event);
    close_pair(pair);
}

static void one_descriptor_rides_on_what_is_sent(void **state)
{
    int pair[2];
    char buf[8];
    struct received_fds fds;
    make_pair(pair);
    int event = eventfd(0, EFD_NONBLOCK);
    assert_int_equal(socket_send(pair[0], "ab", 2, event), 2);
    assert_int_equal(socket_receive(pair[1], buf, sizeof(buf), &fds), 2);
    assert_int_equal(fds.count, 1);
    assert_int_equal(eventfd_write(fds.fd[0], 3), 0);
    eventfd_t value;
    assert_int_equal(eventfd_read(event, &value), 0);
    assert_int_equal(value, 3);
    close_received(&fds);
    close(event);
    close_pair(pair);
}

static void a_peer_that_has_gone_is_told_alike(void **state)
{
    int pair[2];
    char buf[8];
    struct received_fds fds;
    make_pair(pair);
    close(pair[0]);
    assert_int_equal(socket_receive(pair[1], buf, sizeof(buf), &fds), -ENOTCONN);
    assert_int_equal(socket_send(pair[1], "x", 1, -1), -ENOTCONN);
    close(pair[1]);
    make_pair(pair);
    assert_int_equal(socket_send(pair[1], "unread", 6, -1), 6);
    close(pair[0]); /* with bytes unread, which resets the connection */
    assert_int_equal(socket_receive(pair[1], buf, sizeof(buf), &fds), -ENOTCONN);
    close(pair[1]);
}

static void a_peer_that_does_not_read_is_not_waited_for(void **state)
{
    static char block[65536];
    int pair[2];
    make_pair(pair);
    ssize_t sent;
    do
        sent = socket_send(pair[0], block, sizeof(block), -1);
    while (sent > 0);
    assert_int_equal(sent, -EAGAIN);
    close_pair(pair);
}

static void only_connected_streams_pass_the_check(void **state)
{
    int pair[2], pipe_ends[2];
    make_pair(pair);
    assert_int_equal(socket_check(pair[0]), 0);
    close_pair(pair);
    assert_int_equal(socket_check(pair[0]), -EBADF);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
    assert_int_equal(socket_check(pair[0]), -EPROTOTYPE);
    close_pair(pair);
    assert_int_equal(pipe(pipe_ends), 0);
    assert_int_equal(socket_check(pipe_ends[0]), -ENOTSOCK);
    close_pair(pipe_ends);
    int lonely = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(socket_check(lonely), -ENOTCONN);
    close(lonely);
}

/* A folder of its own for each test that listens. */
static void in_folder(char *folder, char *path, size_t size)
{
    static const char template[] = "/tmp/outboard-test-XXXXXX";
    memcpy(folder, template, sizeof(template));
    assert_non_null(mkdtemp(folder));
    snprintf(path, size, "%s/socket", folder);
}

static void out_of_folder(const char *folder, const char *path)
{
    unlink(path);
    assert_int_equal(rmdir(folder), 0);
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void listens_and_accepts(void **state)
{
    char folder[64], path[80];
    in_folder(folder, path, sizeof(path));
    int listener = socket_listen(path, 0600);
    assert_true(listener >= 0);
    assert_int_equal(fcntl(listener, F_GETFD), FD_CLOEXEC);
    assert_int_equal(socket_accept(listener), -EAGAIN);
    int client = connect_to(path);
    int server = socket_accept(listener);
    assert_int_equal(socket_check(server), 0);
    assert_int_equal(socket_listen(path, 0600), -EADDRINUSE);
    assert_int_equal(socket_accept(listener), -EAGAIN); /* which it has not noticed */
    close(listener);
    close(server);
    close(client);
    listener = socket_listen(path, 0600); /* what is left of it is stale now */
    assert_true(listener >= 0);
    close(listener);
    out_of_folder(folder, path);
}

static void never_removes_what_is_no_socket(void **state)
{
    char folder[64], path[80];
    in_folder(folder, path, sizeof(path));
    int file = open(path, O_CREAT | O_WRONLY, 0600);
    close(file);
    assert_int_equal(socket_listen(path, 0600), -EEXIST);
    assert_int_equal(access(path, F_OK), 0);
    out_of_folder(folder, path);
}

static void impossible_paths_are_refused(void **state)
{
    char path[200];
    memset(path, 'a', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(socket_listen(path, 0600), -ENAMETOOLONG);
    assert_int_equal(socket_listen("", 0600), -ENAMETOOLONG);
    assert_int_equal(socket_listen("/no/such/folder/socket", 0600), -ENOENT);
}

static void a_look_takes_nothing(void **state)
{
    int pair[2];
    char buf[4] = {0};
    struct received_fds fds;
    make_pair(pair);
    assert_int_equal(socket_peek(pair[0], buf, 2), -EAGAIN);
    send_fds(pair[1], pair[0], 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(socket_peek(pair[0], buf, sizeof(buf)), 1);
        assert_memory_equal(buf, "x", 2);
    }
    assert_int_equal(socket_receive(pair[0], buf, sizeof(buf), &fds), 1);
    assert_int_equal(fds.count, 2);
    close_received(&fds);
    shutdown(pair[1], SHUT_WR);
    assert_int_equal(socket_peek(pair[0], buf, sizeof(buf)), -ENOTCONN);
    close_pair(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(receives_what_was_sent),
        TEST(takes_the_descriptors_of_every_control_message),
        TEST(too_many_descriptors_are_refused_and_closed),
        TEST(too_many_that_linger_keep_nobody_waiting),
        TEST(room_is_kept_for_the_next_message),
        TEST(descriptors_can_be_refused),
        TEST(one_descriptor_rides_on_what_is_sent),
        TEST(a_peer_that_has_gone_is_told_alike),
        TEST(a_peer_that_does_not_read_is_not_waited_for),
        TEST(only_connected_streams_pass_the_check),
        TEST(listens_and_accepts),
        TEST(never_removes_what_is_no_socket),
        TEST(impossible_paths_are_refused),
        TEST(a_look_takes_nothing),
    };
    closer_start();
    event_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

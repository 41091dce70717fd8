// SPDX-License-Identifier: BSD-3-Clause
/* A TCP socket whose last close waits for a day: it lingers, and its peer does not read. */
#ifndef OUTBOARD_TESTS_LINGERING_H
#define OUTBOARD_TESTS_LINGERING_H

#include "support.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* Also gives the other end, which is to outlive it. */
static inline int lingering_socket(int *ret_peer)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    const int small = 2048;
    const struct linger day = {.l_onoff = 1, .l_linger = 86400};
    static const char bytes[65536];
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    getsockname(listener, (struct sockaddr *)&address, &len);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, len), 0);
    // cppcheck-suppress nullPointer ; the address may be left out
    *ret_peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(*ret_peer >= 0);
    close(listener);
    while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        ;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &day, sizeof(day)), 0);
    return fd;
}

#endif

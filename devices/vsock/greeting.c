// SPDX-License-Identifier: BSD-3-Clause
#include "greeting.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "port/stream.h"

int greeting_parse(const char *line, size_t len, uint32_t *ret_port)
{
    static const char word[] = "CONNECT ";
    const size_t word_len = sizeof(word) - 1;
    uint64_t port = 0;
    if (len <= word_len || len - word_len > 10 || strncasecmp(line, word, word_len) != 0)
        return -EPROTO;
    for (size_t i = word_len; i < len; i++) {
        if (line[i] < '0' || line[i] > '9')
            return -EPROTO;
        port = port * 10 + (uint64_t)(line[i] - '0');
    }
    if (port >= UINT32_MAX) /* the last one means any port */
        return -EPROTO;
    *ret_port = (uint32_t)port;
    return 0;
}

int greeting_take(struct greeting *greeting, int fd, uint32_t *ret_port)
{
    char *at = greeting->line + greeting->len;
    size_t room = sizeof(greeting->line) - greeting->len;
    ssize_t there = recv(fd, at, room, MSG_PEEK | MSG_DONTWAIT);
    if (there <= 0)
        return there < 0 && (errno == EAGAIN || errno == EINTR) ? -EAGAIN : -ENOTCONN;
    const char *end = memchr(at, '\n', (size_t)there);
    size_t len = end ? (size_t)(end - at) + 1 : (size_t)there;
    const struct iovec piece = {.iov_base = at, .iov_len = len};
    if (port_stream_read(fd, &piece, 1) != (ssize_t)len)
        return -ENOTCONN;
    greeting->len += len;
    if (end)
        return greeting_parse(greeting->line, greeting->len - 1, ret_port);
    return greeting->len == sizeof(greeting->line) ? -EPROTO : -EAGAIN;
}

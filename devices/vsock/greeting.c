// SPDX-License-Identifier: BSD-3-Clause
#include "greeting.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "port/stream.h"

/* Whether the text goes on with a word, in any case. */
static bool take_word(const char **text, const char *word)
{
    const size_t len = strlen(word);
    if (strncasecmp(*text, word, len) != 0)
        return false;
    *text += len;
    return true;
}

/* A port that a connection can have: the last one means any port. */
static bool take_port(const char **text, uint32_t *ret_port)
{
    uint64_t port = 0;
    unsigned digits = 0;
    for (; **text >= '0' && **text <= '9' && digits < 10; digits++)
        port = port * 10 + (uint64_t)(*(*text)++ - '0');
    if (digits == 0 || port >= UINT32_MAX)
        return false;
    *ret_port = (uint32_t)port;
    return true;
}

/* The line ends in '\n', and a '\0' within it ends the text earlier. */
static bool is_end(const struct greeting *greeting, const char *text)
{
    return text == greeting->line + greeting->len - 1;
}

int greeting_parse(const struct greeting *greeting, uint32_t *ret_port)
{
    const char *text = greeting->line;
    uint32_t port = 0;
    if (!take_word(&text, "CONNECT ") || !take_port(&text, &port) || !is_end(greeting, text))
        return -EPROTO;
    *ret_port = port;
    return 0;
}

int greeting_parse_peer(const struct greeting *greeting, uint32_t *ret_port,
                        uint32_t *ret_peer_port)
{
    const char *text = greeting->line;
    uint32_t port = 0, peer_port = 0;
    if (!take_word(&text, "CONNECT ") || !take_port(&text, &port) || !take_word(&text, " FROM ") ||
        !take_port(&text, &peer_port) || !is_end(greeting, text))
        return -EPROTO;
    *ret_port = port;
    *ret_peer_port = peer_port;
    return 0;
}

void greeting_format(uint32_t port, uint32_t from, char ret_line[GREETING_MAX])
{
    snprintf(ret_line, GREETING_MAX, "CONNECT %u FROM %u\n", port, from);
}

bool greeting_is_consent(const struct greeting *greeting)
{
    const char *text = greeting->line;
    uint32_t port;
    return take_word(&text, "OK ") && take_port(&text, &port) && is_end(greeting, text);
}

int greeting_take(struct greeting *greeting, int fd)
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
        return 0;
    return greeting->len == sizeof(greeting->line) ? -EPROTO : -EAGAIN;
}

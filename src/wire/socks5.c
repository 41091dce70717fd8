// SPDX-License-Identifier: BSD-3-Clause
#include "wire/socks5.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/cursor.h"

#define VERSION          5
#define COMMAND_CONNECT  1
#define ADDRESS_IPV4     1
#define ADDRESS_NAME     3
#define ADDRESS_IPV6     4
#define REQUEST_HEAD_LEN 4

/*  0 version | 1 number of methods | 2 methods */
ssize_t socks5_get_greeting(const void *bytes, size_t len, enum socks5_method *ret_method)
{
    struct rd rd = rd_init(bytes, len);
    if (len >= 1 && rd_u8(&rd) != VERSION)
        return -EPROTO;
    if (len < 2)
        return -EAGAIN;
    unsigned count = rd_u8(&rd);
    if (rd.left < count)
        return -EAGAIN;
    const void *offered = memchr(rd.at, SOCKS5_NO_AUTHENTICATION, count);
    *ret_method = offered ? SOCKS5_NO_AUTHENTICATION : SOCKS5_NO_ACCEPTABLE;
    return 2 + (ssize_t)count;
}

void socks5_put_method(enum socks5_method method, uint8_t ret_bytes[SOCKS5_METHOD_LEN])
{
    ret_bytes[0] = VERSION;
    ret_bytes[1] = (uint8_t)method;
}

static uint16_t get_port(struct rd *rd)
{
    unsigned high = rd_u8(rd);
    return (uint16_t)(high << 8 | rd_u8(rd));
}

static int refuse(enum socks5_reply reply, enum socks5_reply *ret_reply)
{
    *ret_reply = reply;
    return -EPROTO;
}

static void get_number(struct rd *rd, int family, size_t len, char *ret_host)
{
    uint8_t address[16] = {0};
    rd_bytes(rd, address, len);
    inet_ntop(family, address, ret_host, SOCKS5_HOST_MAX + 1);
}

/* A name that another layer could read as something else (a NUL, a colon) is refused. */
static bool get_name(struct rd *rd, char *ret_host)
{
    unsigned len = rd_u8(rd);
    rd_bytes(rd, ret_host, len);
    ret_host[len] = '\0';
    return rd->bad || (len > 0 && strlen(ret_host) == len && !strpbrk(ret_host, ":[] "));
}

/*  0 version | 1 command | 2 reserved | 3 address type | 4 address | port */
ssize_t socks5_get_request(const void *bytes, size_t len, struct socks5_request *ret_request,
                           enum socks5_reply *ret_reply)
{
    struct rd rd = rd_init(bytes, len);
    if (len < REQUEST_HEAD_LEN)
        return -EAGAIN;
    if (rd_u8(&rd) != VERSION)
        return refuse(SOCKS5_FAILURE, ret_reply);
    if (rd_u8(&rd) != COMMAND_CONNECT)
        return refuse(SOCKS5_COMMAND_UNKNOWN, ret_reply);
    rd_skip(&rd, 1);
    struct socks5_request request;
    uint8_t type = rd_u8(&rd);
    if (type == ADDRESS_IPV4)
        get_number(&rd, AF_INET, 4, request.host);
    else if (type == ADDRESS_IPV6)
        get_number(&rd, AF_INET6, 16, request.host);
    else if (type != ADDRESS_NAME || !get_name(&rd, request.host))
        return refuse(SOCKS5_ADDRESS_UNKNOWN, ret_reply);
    request.port = get_port(&rd);
    if (rd.bad)
        return -EAGAIN;
    *ret_request = request;
    return (ssize_t)(len - rd.left);
}

/*  0 version | 1 reply | 2 reserved | 3 address type | 4 IPv4 address | 8 port */
void socks5_put_reply(enum socks5_reply reply, uint8_t ret_bytes[SOCKS5_REPLY_LEN])
{
    struct wr wr = wr_init(ret_bytes, SOCKS5_REPLY_LEN);
    wr_u8(&wr, VERSION);
    wr_u8(&wr, (uint8_t)reply);
    wr_u8(&wr, 0);
    wr_u8(&wr, ADDRESS_IPV4);
    wr_zero(&wr, 6);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "escape.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include "call.h"

/* One deed for each family, as a function has no room for its number. */
#define SOCKET_OF(name, family, type) SOCKET_FOR(name, family, type, 0)
#define SOCKET_FOR(name, family, type, protocol)                                                   \
    static long make_##name(const struct escape_world *world)                                      \
    {                                                                                              \
        return CALL(socket, family, type, protocol);                                               \
    }

SOCKET_OF(unix_stream, AF_UNIX, SOCK_STREAM)
SOCKET_OF(unix_datagram, AF_UNIX, SOCK_DGRAM)
SOCKET_OF(tcp, AF_INET, SOCK_STREAM)
SOCKET_OF(udp, AF_INET, SOCK_DGRAM)
SOCKET_FOR(raw_ip, AF_INET, SOCK_RAW, IPPROTO_ICMP)
SOCKET_OF(tcp6, AF_INET6, SOCK_STREAM)
SOCKET_OF(udp6, AF_INET6, SOCK_DGRAM)
SOCKET_OF(netlink, AF_NETLINK, SOCK_RAW)
SOCKET_OF(packet, AF_PACKET, SOCK_RAW)
SOCKET_OF(vsock, AF_VSOCK, SOCK_STREAM)
SOCKET_OF(alg, AF_ALG, SOCK_SEQPACKET)
SOCKET_FOR(key, AF_KEY, SOCK_RAW, 2 /* PF_KEY_V2 */)
SOCKET_OF(tipc, AF_TIPC, SOCK_STREAM)
SOCKET_FOR(bluetooth, AF_BLUETOOTH, SOCK_RAW, 1 /* BTPROTO_HCI */)
SOCKET_FOR(can, AF_CAN, SOCK_RAW, 1 /* CAN_RAW */)
SOCKET_OF(xdp, AF_XDP, SOCK_RAW)
SOCKET_OF(rds, AF_RDS, SOCK_SEQPACKET)

static long make_a_pair(const struct escape_world *world)
{
    int pair[2];
    return CALL(socketpair, AF_UNIX, SOCK_STREAM, 0, pair);
}

struct address {
    struct sockaddr_un unix_address;
    socklen_t len;
};

static struct address at_path(const struct escape_world *world, const char *name)
{
    return (struct address){escape_at(world, name), sizeof(struct sockaddr_un)};
}

static struct address abstract(const struct escape_world *world, const char *suffix)
{
    struct address address = {.unix_address = {.sun_family = AF_UNIX}};
    int len = snprintf(address.unix_address.sun_path + 1, sizeof(world->abstract) + 8, "%s%s",
                       world->abstract, suffix);
    address.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
    return address;
}

static long connect_to_a_path(const struct escape_world *world)
{
    struct address address = at_path(world, "stream");
    return CALL(connect, world->stream_fd, &address.unix_address, address.len);
}

static long connect_to_an_abstract_socket(const struct escape_world *world)
{
    struct address address = abstract(world, "");
    return CALL(connect, world->stream_fd, &address.unix_address, address.len);
}

static long bind_to_a_path(const struct escape_world *world)
{
    struct address address = at_path(world, "made");
    return CALL(bind, world->stream_fd, &address.unix_address, address.len);
}

static long bind_to_an_abstract_socket(const struct escape_world *world)
{
    struct address address = abstract(world, "-made");
    return CALL(bind, world->stream_fd, &address.unix_address, address.len);
}

static long listen_on_a_socket(const struct escape_world *world)
{
    struct address address = abstract(world, "-made");
    long err = CALL(bind, world->stream_fd, &address.unix_address, address.len);
    return err < 0 ? err : CALL(listen, world->stream_fd, 1);
}

/* The program's socket to its launcher: a connected one can send to other addresses too. */
static int find_notify(const struct escape_world *world)
{
    for (int fd = 3; fd < 64; fd++) {
        int type = 0;
        socklen_t len = sizeof(type);
        if (fd != world->datagram_fd && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 &&
            type == SOCK_DGRAM)
            return fd;
    }
    return world->datagram_fd;
}

static long send_to(const struct escape_world *world, struct address address)
{
    return CALL(sendto, find_notify(world), "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT,
                &address.unix_address, address.len);
}

static long send_to_a_path(const struct escape_world *world)
{
    return send_to(world, at_path(world, "datagram"));
}

static long send_to_an_abstract_socket(const struct escape_world *world)
{
    return send_to(world, abstract(world, "-d"));
}

static long send_message(const struct escape_world *world, struct address address)
{
    struct iovec iov = {.iov_base = (char[]){'x'}, .iov_len = 1};
    struct msghdr message = {.msg_name = &address.unix_address,
                             .msg_namelen = address.len,
                             .msg_iov = &iov,
                             .msg_iovlen = 1};
    return CALL(sendmsg, find_notify(world), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static long send_a_message_to_a_path(const struct escape_world *world)
{
    return send_message(world, at_path(world, "datagram"));
}

static long send_a_message_to_an_abstract_socket(const struct escape_world *world)
{
    return send_message(world, abstract(world, "-d"));
}

static long send_messages(const struct escape_world *world)
{
    struct address address = abstract(world, "-d");
    struct iovec iov = {.iov_base = (char[]){'x'}, .iov_len = 1};
    struct mmsghdr messages = {.msg_hdr = {.msg_name = &address.unix_address,
                                           .msg_namelen = address.len,
                                           .msg_iov = &iov,
                                           .msg_iovlen = 1}};
    return CALL(sendmmsg, world->datagram_fd, &messages, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static long set_an_option(const struct escape_world *world)
{
    int size = 1 << 20;
    return CALL(setsockopt, world->stream_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

/* Of the machine, where somebody listens. */
static struct sockaddr_in port_of(const struct escape_world *world)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(world->port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* A listener that is shut down is a socket like a new one, and this flag has a message connect it. */
static long connect_a_listener_by_a_message(const struct escape_world *world)
{
    struct sockaddr_in address = port_of(world);
    struct iovec iov = {.iov_base = "x", .iov_len = 1};
    const struct msghdr message = {
        .msg_name = &address, .msg_namelen = sizeof(address), .msg_iov = &iov, .msg_iovlen = 1};
    long err = CALL(shutdown, world->listener_fd, SHUT_RDWR);
    return err < 0 ? err : CALL(sendmsg, world->listener_fd, &message, MSG_FASTOPEN);
}

static long connect_a_listener_by_an_address(const struct escape_world *world)
{
    const struct sockaddr_in address = port_of(world);
    long err = CALL(shutdown, world->listener_fd, SHUT_RDWR);
    return err < 0 ? err
                   : CALL(sendto, world->listener_fd, "x", 1, MSG_FASTOPEN,
                          (const struct sockaddr *)&address, sizeof(address));
}

static long connect_by_tcp(const struct escape_world *world)
{
    const struct sockaddr_in address = port_of(world);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return fd < 0 ? -errno : CALL(connect, fd, &address, sizeof(address));
}

static long listen_by_tcp(const struct escape_world *world)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    long err = fd < 0 ? -errno : CALL(bind, fd, &address, sizeof(address));
    return err < 0 ? err : CALL(listen, fd, 1);
}

const struct escape_deed escape_sockets[] = {
    {"make a Unix stream socket", "socket", make_unix_stream, 0},
    {"make a Unix datagram socket", "socket", make_unix_datagram, 0},
    {"make a TCP socket", "socket", make_tcp, 0},
    {"make a UDP socket", "socket", make_udp, 0},
    {"make a raw IP socket", "socket/EPERM", make_raw_ip, ESCAPE_ROOT | ESCAPE_DEPENDS},
    {"make a TCP socket of IPv6", "socket", make_tcp6, ESCAPE_DEPENDS},
    {"make a UDP socket of IPv6", "socket", make_udp6, ESCAPE_DEPENDS},
    {"make a netlink socket", "socket", make_netlink, 0},
    {"make a packet socket", "socket/EPERM", make_packet, ESCAPE_ROOT | ESCAPE_DEPENDS},
    {"make a vsock socket", "socket", make_vsock, ESCAPE_DEPENDS},
    {"make a socket of the kernel's ciphers", "socket", make_alg, ESCAPE_DEPENDS},
    {"make a socket of IPsec's keys", "socket", make_key, ESCAPE_ROOT | ESCAPE_DEPENDS},
    {"make a TIPC socket", "socket", make_tipc, ESCAPE_DEPENDS},
    {"make a Bluetooth socket", "socket", make_bluetooth, ESCAPE_DEPENDS},
    {"make a CAN socket", "socket", make_can, ESCAPE_ROOT | ESCAPE_DEPENDS},
    {"make an XDP socket", "socket/EPERM", make_xdp, ESCAPE_ROOT | ESCAPE_DEPENDS},
    {"make an RDS socket", "socket", make_rds, ESCAPE_DEPENDS},
    {"connect by TCP", "socket/EACCES", connect_by_tcp, ESCAPE_DEPENDS},
    {"listen at a TCP port", "socket/EACCES", listen_by_tcp, 0},
    {"make a pair of sockets", "socketpair", make_a_pair, 0},
    {"connect to a socket by its path", "connect/ENOENT", connect_to_a_path, 0},
    {"connect to an abstract socket", "connect/EPERM", connect_to_an_abstract_socket, 0},
    {"bind a socket to a path", "bind/ENOENT", bind_to_a_path, 0},
    {"bind a socket to an abstract name", "bind", bind_to_an_abstract_socket, 0},
    {"listen on a socket", "bind", listen_on_a_socket, 0},
    {"send to a socket by its path", "sendto|ENOENT/ENOENT", send_to_a_path, 0},
    {"send to an abstract socket", "sendto|EPERM/EPERM", send_to_an_abstract_socket, 0},
    {"send a message to a socket by its path", "sendmsg/ENOENT", send_a_message_to_a_path, 0},
    {"send a message to an abstract socket", "sendmsg/EPERM", send_a_message_to_an_abstract_socket,
     0},
    {"connect a listener by a message", "sendmsg", connect_a_listener_by_a_message,
     ESCAPE_DEPENDS | ESCAPE_LISTENER},
    {"connect a listener by an address", "sendto", connect_a_listener_by_an_address,
     ESCAPE_DEPENDS | ESCAPE_LISTENER},
    {"set an option of a socket", "setsockopt", set_an_option, 0},
    {"send several messages", "sendmmsg/EPERM", send_messages, 0},
    {0},
};

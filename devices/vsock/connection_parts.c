// SPDX-License-Identifier: BSD-3-Clause
#include "connection_parts.h"

#include <errno.h>
#include <poll.h>

void connection_shut_host(struct connection *connection, uint8_t directions)
{
    if ((connection->host_shutdown & directions) == directions)
        return;
    connection->host_shutdown |= directions;
    if (connection->state == CONNECTION_OPEN)
        connection->owes |= OWES_SHUTDOWN;
}

void connection_forwarded(struct connection *connection, size_t len)
{
    connection->credit.fwd_cnt += (uint32_t)len;
    if (connection->state == CONNECTION_OPEN && credit_is_stale(&connection->credit))
        connection->owes |= OWES_CREDIT_UPDATE;
}

void connection_lose_reader(struct connection *connection)
{
    connection_forwarded(connection, connection->credit.received - connection->credit.fwd_cnt);
    backlog_clear(&connection->backlog);
    connection->blocked = false;
    connection_shut_host(connection, PACKET_NO_RECEIVE);
}

void connection_end_of_file(struct connection *connection)
{
    connection->readable = false;
    connection_shut_host(connection, PACKET_NO_SEND);
    vsock_connection_look_for_hangup(connection);
}

void vsock_connection_look_for_hangup(struct connection *connection)
{
    struct pollfd look = {.fd = connection->fd, .events = 0};
    if (connection->state != CONNECTION_OPEN || !(connection->host_shutdown & PACKET_NO_SEND) ||
        (connection->host_shutdown & PACKET_NO_RECEIVE))
        return;
    if (poll(&look, 1, 0) > 0 && (look.revents & (POLLHUP | POLLERR)))
        connection_lose_reader(connection);
}

bool connection_receive_lasting(struct connection *connection)
{
    bool more = false;
    ssize_t got = lasting_receive(connection->kept.stream, connection->fd, &more);
    if (got > 0) {
        connection->readable = more; /* else the socket is watched again */
        return true;
    }
    if (got == -ENOBUFS) /* until the guest's bytes are committed */
        return false;
    connection->readable = false;
    if (got == 0)
        connection_end_of_file(connection);
    else if (got != -EAGAIN)
        connection_shut_host(connection, PACKET_NEITHER);
    return false;
}

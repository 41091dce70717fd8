// SPDX-License-Identifier: BSD-3-Clause
#include "port/stream.h"

#include <errno.h>

#include "os/closer.h"
#include "os/socket.h"

int port_stream_start(void)
{
    return closer_start();
}

void port_stream_stop(void)
{
    closer_stop(CLOSER_PATIENCE_MS);
}

ssize_t port_stream_read(int fd, const struct iovec *pieces, unsigned count)
{
    ssize_t got = 0;
    do
        got = socket_read_pieces(fd, pieces, count);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

void port_stream_close(int fd)
{
    socket_close(fd);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "os/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/auto.h"

int notify_connect(int *ret_fd)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!path || !*path) {
        *ret_fd = -1;
        return 0;
    }
    size_t len = strlen(path);
    if (len >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, len);
    if (path[0] == '@') /* an abstract name */
        address.sun_path[0] = '\0';
    AUTO_FD fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    socklen_t address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    if (connect(fd, (const struct sockaddr *)&address, address_len) < 0)
        return -errno;
    *ret_fd = take_fd(&fd);
    return 0;
}

int notify_send_to(int fd, const char *assignments)
{
    if (fd < 0)
        return 0;
    ssize_t sent = send(fd, assignments, strlen(assignments), MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent < 0 ? -errno : 0;
}

int notify_send(const char *assignments)
{
    AUTO_FD fd = -1;
    int err = notify_connect(&fd);
    return err < 0 ? err : notify_send_to(fd, assignments);
}
